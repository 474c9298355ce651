package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"pier/cli/internal/table"
	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/id"
)

func newStats(a *app) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use: "stats [OPTIONS] [CONTAINER...]", Short: "Display a live stream of container(s) resource usage statistics",
		ValidArgsFunction: a.completeContainers(false),
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
	return cmd
}

type statsOptions struct {
	all, once, full bool
	format          string
}

const statsColumns = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"

// statsRow is one line. Its fields are docker's.
type statsRow struct{ BlockIO, CPUPerc, Container, ID, MemPerc, MemUsage, Name, NetIO, PIDs string }

func statsHead() statsRow {
	return statsRow{BlockIO: "BLOCK I/O", CPUPerc: "CPU %", Container: "CONTAINER", ID: "CONTAINER ID", MemPerc: "MEM %",
		MemUsage: "MEM USAGE / LIMIT", Name: "NAME", NetIO: "NET I/O", PIDs: "PIDS"}
}

// stats watches the named containers, or all that run, those that start later too.
func (a *app) stats(ctx context.Context, c *client.Client, refs []string, o statsOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &board{ctx: ctx, c: c, o: o, rows: map[string]*statsRow{}, ended: make(chan error, 1)}
	named := len(refs) > 0
	if !named {
		if !o.once {
			b.followStarts()
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
		b.watch(ref, named)
	}
	b.first.Wait() // every container has a figure before the first table
	if err := b.failure(); err != nil {
		return err
	}
	if o.once {
		return table.Render(a.Out, o.format, statsColumns, statsHead(), b.table())
	}
	return a.redraw(b, named)
}

// redraw prints the table once a second: in place on a terminal, one below the other elsewhere.
func (a *app) redraw(b *board, named bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	_, live := terminal.Of(a.Out)
	if live {
		a.printf("\x1b[2J")
	}
	for {
		rows := b.table()
		if named && len(rows) == 0 {
			return nil
		}
		var text bytes.Buffer
		if err := table.Render(&text, b.o.format, statsColumns, statsHead(), rows); err != nil {
			return err
		}
		if live {
			a.printf("\x1b[H%s\x1b[J", strings.ReplaceAll(text.String(), "\n", "\x1b[K\n"))
		} else {
			a.printf("%s", text.String())
		}
		select {
		case <-tick.C:
		case err := <-b.ended:
			return err
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
	}
}

// board holds the latest row of each container.
type board struct {
	ctx   context.Context
	c     *client.Client
	o     statsOptions
	first sync.WaitGroup // containers that have not told anything yet
	ended chan error     // why there is nothing more to see

	mu    sync.Mutex
	order []string
	rows  map[string]*statsRow // by reference; nil until the first sample
}

func (b *board) end(err error) {
	select {
	case b.ended <- err:
	default:
	}
}

func (b *board) failure() error {
	select {
	case err := <-b.ended:
		return err
	default:
		return nil
	}
}

// watch follows a container until it is gone. strict: that it cannot be is an error.
func (b *board) watch(ref string, strict bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.order, ref) {
		return
	}
	b.order = append(b.order, ref)
	b.first.Add(1)
	told := sync.OnceFunc(b.first.Done)
	take := func(s container.StatsResponse) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.rows[ref] = statsRowOf(ref, &s, !b.o.full)
		told()
		return nil
	}
	go func() {
		defer told()
		var err error
		if b.o.once {
			var s container.StatsResponse
			if s, err = b.c.Resources().Stats(b.ctx, ref); err == nil {
				_ = take(s)
				return
			}
		} else {
			err = b.c.Resources().Follow(b.ctx, ref, take)
		}
		b.forget(ref)
		if err != nil && strict {
			b.end(err)
		}
	}()
}

func (b *board) forget(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.order = slices.DeleteFunc(b.order, func(r string) bool { return r == ref })
	delete(b.rows, ref)
}

// followStarts takes up containers that begin and drops those that end.
func (b *board) followStarts() {
	f := client.Filters{}
	f.Add("type", "container")
	go func() {
		err := b.c.System().Events(b.ctx, "", "", f, func(m events.Message) error {
			switch {
			case m.Action == events.ActionStart, b.o.all && m.Action == events.ActionCreate:
				b.watch(m.Actor.ID, false)
			case m.Action == events.ActionDie && !b.o.all:
				b.hide(m.Actor.ID)
			}
			return nil
		})
		if err != nil && b.ctx.Err() == nil {
			b.end(err)
		}
	}()
}

// hide leaves out a container that has ended until it runs again: then a sample shows it.
func (b *board) hide(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rows, ref)
}

// table returns the rows in the order in which the containers came.
func (b *board) table() []statsRow {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []statsRow
	for _, ref := range b.order {
		if row := b.rows[ref]; row != nil {
			out = append(out, *row)
		}
	}
	return out
}

// statsRowOf words one sample. One of a container that does not run is all zeros.
func statsRowOf(ref string, s *container.StatsResponse, short bool) *statsRow {
	r := &statsRow{Container: ref, ID: s.ID, Name: strings.TrimPrefix(s.Name, "/"), MemPerc: "0.00%"}
	if short {
		r.ID = id.Short(r.ID)
	}
	r.CPUPerc = fmt.Sprintf("%.2f%%", cpuShare(s))
	used, limit := usedMemory(&s.MemoryStats), float64(s.MemoryStats.Limit)
	r.MemUsage = units.BytesSize(used) + " / " + units.BytesSize(limit)
	if limit > 0 {
		r.MemPerc = fmt.Sprintf("%.2f%%", used/limit*100)
	}
	var rx, tx, read, written uint64
	for _, n := range s.Networks {
		rx, tx = rx+n.RxBytes, tx+n.TxBytes
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			read += e.Value
		case "write":
			written += e.Value
		}
	}
	r.NetIO = table.Size(int64(rx)) + " / " + table.Size(int64(tx))
	r.BlockIO = table.Size(int64(read)) + " / " + table.Size(int64(written))
	r.PIDs = fmt.Sprint(s.PidsStats.Current)
	return r
}

// cpuShare is in hundredths of one processor: two busy ones are 200.
func cpuShare(s *container.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	there := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	if used <= 0 || there <= 0 {
		return 0
	}
	return used / there * float64(max(s.CPUStats.OnlineCPUs, 1)) * 100
}

// usedMemory leaves out what the kernel would drop first: the page cache of files that nobody has used twice.
func usedMemory(m *container.MemoryStats) float64 {
	for _, name := range []string{"total_inactive_file", "inactive_file"} { // cgroup v1, v2
		if cache, ok := m.Stats[name]; ok && cache < m.Usage {
			return float64(m.Usage - cache)
		}
	}
	return float64(m.Usage)
}
