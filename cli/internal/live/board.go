package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/cli/internal/row"
	"pier/client"
)

// Board holds the latest figures of each container that it watches. It is safe for concurrent use.
type Board struct {
	ctx   context.Context
	c     *client.Client
	once  bool
	first sync.WaitGroup // containers that have not told anything yet
	ended chan error     // why there is nothing more to see

	mu    sync.Mutex // guards the fields that follow
	order []string
	rows  map[string]*figures // by reference; nil until the first sample
}

// figures are the latest sample of a container and the one before.
type figures struct {
	row.Usage
	at                    time.Time // when it was measured
	rx, tx, read, written float64   // bytes a second since the one before
}

// NewBoard returns an empty board; once: every container gives one sample. Everything it does ends with ctx.
func NewBoard(ctx context.Context, c *client.Client, once bool) *Board {
	return &Board{ctx: ctx, c: c, once: once, rows: map[string]*figures{}, ended: make(chan error, 1)}
}

// Ended tells why the show is over: a container that was asked for cannot be watched, the daemon is gone, or, with nil,
// the last of the containers that were asked for is gone.
func (b *Board) Ended() <-chan error { return b.ended }

// Ready waits until every container that is watched has told its first figures, and returns the error of one that cannot
// be watched.
func (b *Board) Ready() error {
	b.first.Wait()
	select {
	case err := <-b.ended:
		return err
	default:
		return nil
	}
}

func (b *Board) end(err error) {
	select {
	case b.ended <- err:
	default:
	}
}

// Watch follows a container until it is gone. strict: that it cannot be followed ends the show.
func (b *Board) Watch(ref string, strict bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.order, ref) {
		return
	}
	b.order = append(b.order, ref)
	b.first.Add(1)
	told := sync.OnceFunc(b.first.Done)
	take := func(s container.StatsResponse) error {
		b.take(ref, s)
		told()
		return nil
	}
	go func() {
		defer told()
		var err error
		if b.once {
			var s container.StatsResponse
			if s, err = b.c.Resources().Stats(b.ctx, ref); err == nil {
				_ = take(s)
				return
			}
		} else {
			err = b.c.Resources().Follow(b.ctx, ref, take)
		}
		if last := b.forget(ref); strict && (err != nil || last) {
			b.end(err)
		}
	}()
}

func (b *Board) take(ref string, s container.StatsResponse) {
	f := &figures{Usage: row.UsageOf(ref, &s), at: s.Read}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.rows[ref]; old != nil {
		f.rates(&old.Usage, f.at.Sub(old.at).Seconds())
	}
	b.rows[ref] = f
}

// rates compares with an earlier sample. Counters that went back are those of a container that was started anew.
func (f *figures) rates(old *row.Usage, seconds float64) {
	if seconds <= 0 {
		return
	}
	rate := func(now, before uint64) float64 {
		if now < before {
			return 0
		}
		return float64(now-before) / seconds
	}
	f.rx, f.tx = rate(f.Rx, old.Rx), rate(f.Tx, old.Tx)
	f.read, f.written = rate(f.Read, old.Read), rate(f.Written, old.Written)
}

// forget drops a container and reports whether it was the last one.
func (b *Board) forget(ref string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.order = slices.DeleteFunc(b.order, func(r string) bool { return r == ref })
	delete(b.rows, ref)
	return len(b.order) == 0
}

// FollowStarts takes up containers that start and drops those that end; all takes up those that are made, and drops none.
func (b *Board) FollowStarts(all bool) {
	f := client.Filters{}
	f.Add("type", "container")
	go func() {
		err := b.c.System().Events(b.ctx, "", "", f, func(m events.Message) error {
			switch {
			case m.Action == events.ActionStart, all && m.Action == events.ActionCreate:
				b.Watch(m.Actor.ID, false)
			case m.Action == events.ActionDie && !all:
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
func (b *Board) hide(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rows, ref)
}

// Rows returns the lines of `stats` in that order; short cuts identifiers.
func (b *Board) Rows(o Order, short bool) []row.Stats {
	var out []row.Stats
	for _, f := range b.figures(o) {
		out = append(out, row.StatsOf(f.Usage, short))
	}
	return out
}

func (b *Board) figures(o Order) []*figures {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*figures
	for _, ref := range b.order {
		if f := b.rows[ref]; f != nil {
			out = append(out, f)
		}
	}
	o.sort(out)
	return out
}
