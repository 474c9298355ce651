package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"pier/cli/internal/live"
	"pier/cli/internal/row"
	"pier/cli/internal/table"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newStats(a *app) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use: "stats [OPTIONS] [CONTAINER...]", Short: "Display a live stream of container(s) resource usage statistics",
		Example: "  pier stats                               all that run, in place; q ends it, c m i b p n sort\n" +
			"  pier stats --no-stream --sort mem        once, the largest first\n  pier stats --format '{{.Name}} {{.CPUPerc}}' web",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			err := a.stats(ctx, c, args, o)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all containers (default shows just running)")
	f.BoolVar(&o.once, "no-stream", false, "Disable streaming stats and only pull the first result")
	f.BoolVar(&o.full, "no-trunc", false, "Do not truncate output")
	f.StringVar(&o.format, "format", "", formatHelp)
	f.StringVar(&o.sort, "sort", "", `Sort by "name", "cpu", "mem", "net", "block" or "pids" ("-cpu": the other way round)`)
	return cmd
}

type statsOptions struct {
	all, once, full bool
	format, sort    string
}

// stats watches the named containers, or all that run, those that start later too.
func (a *app) stats(ctx context.Context, c *client.Client, refs []string, o statsOptions) error {
	order, err := live.ParseOrder(o.sort)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := live.NewBoard(ctx, c, o.once)
	named := len(refs) > 0
	if !named {
		if !o.once {
			b.FollowStarts(o.all)
		}
		list, err := c.Containers().List(ctx, client.ListOptions{All: o.all})
		if err != nil {
			return err
		}
		for i := range list {
			refs = append(refs, list[i].ID)
		}
	}
	for _, ref := range refs {
		b.Watch(ref, named)
	}
	if err := b.Ready(); err != nil {
		return err
	}
	print := func(w io.Writer, order live.Order) error {
		var text bytes.Buffer // one write: no half table
		err := table.Render(&text, o.format, live.Columns, row.StatsHead(), b.Rows(order, !o.full))
		if err == nil {
			_, err = text.WriteTo(w)
		}
		return err
	}
	if _, isTerminal := terminal.Of(a.Out); o.once || !isTerminal || a.env("TERM") == "dumb" {
		return repeat(ctx, b, o.once, func() error { return print(a.Out, order) })
	}
	if err := print(io.Discard, order); err != nil { // a wrong template
		return err
	}
	v := &live.Stats{Board: b, Order: order, Short: !o.full, Format: o.format, Colour: a.colours()}
	return errors.Join(a.show(ctx, v, b.Ended()), print(a.Out, v.Order)) // the last figures stay
}

// show runs a live view. A signal that ends it becomes the exit code.
func (a *app) show(ctx context.Context, v live.View, over <-chan error) error {
	err := live.Show(ctx, a.In, a.Out, v, over)
	var ended *live.Ended
	if errors.As(err, &ended) {
		return &exitError{code: ended.Code()}
	}
	return err
}

// repeat prints one table, or one below the other every second.
func repeat(ctx context.Context, b *live.Board, once bool, print func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := print(); err != nil || once {
			return err
		}
		select {
		case <-tick.C:
		case err := <-b.Ended():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
