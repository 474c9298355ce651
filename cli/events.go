package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/table"
	"pier/client"
)

func newEvents(a *app) *cobra.Command {
	var since, until, format string
	var filters []string
	cmd := &cobra.Command{
		Use: "events [OPTIONS]", Short: "Get real time events from the server", Args: noArgs,
		RunE: a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
			conditions, err := client.ParseFilters(filters)
			if err != nil {
				return err
			}
			if since, err = request.Moment(since, time.Now()); err != nil {
				return err
			}
			if until, err = request.Moment(until, time.Now()); err != nil {
				return err
			}
			print, err := a.eventPrinter(format)
			if err != nil {
				return err
			}
			err = c.System().Events(ctx, since, until, conditions, print)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}),
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "Show all events created since timestamp")
	f.StringVar(&until, "until", "", "Stream events until this timestamp")
	f.StringVar(&format, "format", "", `Format output: "json" or a Go template`)
	f.VarP(request.ListOf("filter", &filters), "filter", "f", "Filter output based on conditions provided")
	return cmd
}

func (a *app) eventPrinter(format string) (func(events.Message) error, error) {
	switch format {
	case "":
		return func(m events.Message) error {
			var line bytes.Buffer
			switch {
			case m.TimeNano != 0:
				fmt.Fprintf(&line, "%s ", time.Unix(0, m.TimeNano).Format("2006-01-02T15:04:05.000000000Z07:00"))
			case m.Time != 0:
				fmt.Fprintf(&line, "%s ", time.Unix(m.Time, 0).Format("2006-01-02T15:04:05.000000000Z07:00"))
			}
			fmt.Fprintf(&line, "%s %s %s", m.Type, m.Action, m.Actor.ID)
			if len(m.Actor.Attributes) > 0 {
				var pairs []string
				for k, v := range m.Actor.Attributes {
					pairs = append(pairs, k+"="+v)
				}
				slices.Sort(pairs)
				fmt.Fprintf(&line, " (%s)", strings.Join(pairs, ", "))
			}
			line.WriteByte('\n')
			_, err := a.Out.Write(line.Bytes())
			return err
		}, nil
	case "json":
		e := json.NewEncoder(a.Out)
		return func(m events.Message) error { return e.Encode(m) }, nil
	}
	t, err := table.Parse(format)
	if err != nil {
		return nil, err
	}
	return func(m events.Message) error { return table.Execute(a.Out, t, m) }, nil
}
