package engine

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/lifecycle"
	"pier/lib/errkind"
)

func itoa(n int) string { return strconv.Itoa(n) }

// waiter waits for a container to be in a certain way. It costs no goroutine.
type waiter struct {
	want func(r *row) bool
	met  chan struct{} // closed when want held once
	then int           // the exit code at that moment
}

// await registers a waiter; the condition counts from now on. forgetWaiter ends it.
func (c *ctr) await(want func(r *row) bool) *waiter {
	w := &waiter{want: want, met: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.row(); want(r) {
		w.then = r.Life.ExitCode
		close(w.met)
		return w
	}
	if c.waiters == nil {
		c.waiters = map[*waiter]struct{}{}
	}
	c.waiters[w] = struct{}{}
	return w
}

func (c *ctr) forgetWaiter(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiters, w)
}

// notify wakes the waiters whose condition holds. The worker calls it after every change, once the record is written.
func (c *ctr) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.row()
	for w := range c.waiters {
		if w.want(r) {
			w.then = r.Life.ExitCode
			close(w.met)
			delete(c.waiters, w)
		}
	}
}

// awaitEnd waits for the end of the present run. Only the worker calls it, before it sends the signal.
func (c *ctr) awaitEnd() *waiter {
	return c.await(func(r *row) bool { return !r.Life.State.Alive() })
}

// within waits at most d, or without bound for a negative d, and reports whether the condition was met. Only the end of
// ctx is an error.
func (w *waiter) within(ctx context.Context, d time.Duration) (met bool, err error) {
	var late <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-w.met:
		return true, nil
	case <-late:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Wait answers once on the channel when the condition holds: not-running ("" too) at once where it does not run, and
// otherwise at the end of this run, or of the next where it is about to be started again; next-exit at the end of the current or the next run, removed when the container is gone. The wait is registered when
// Wait returns: what happens after is not missed. The channel is buffered and closed after its value; when ctx ends it
// is closed without one.
func (cs *Containers) Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan WaitResult, error) {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	var want func(r *row) bool
	switch cond {
	case "", container.WaitConditionNotRunning:
		before := c.row().Life.FinishedAt
		want = func(r *row) bool {
			s := r.Life.State
			if s.Alive() || s == lifecycle.Restarting { // one that its policy starts again has ended all the same
				return !r.Life.FinishedAt.Equal(before)
			}
			return s != lifecycle.Removing || r.gone
		}
	case container.WaitConditionNextExit:
		before := c.row().Life.FinishedAt
		want = func(r *row) bool { return r.gone || !r.Life.FinishedAt.Equal(before) }
	case container.WaitConditionRemoved:
		want = func(r *row) bool { return r.gone }
	default:
		return nil, errkind.New(errkind.Invalid, "invalid condition: %q", cond)
	}
	w := c.await(want)
	out := make(chan WaitResult, 1)
	cs.e.bg.Go(func() {
		defer close(out)
		defer c.forgetWaiter(w)
		select {
		case <-w.met:
			out <- WaitResult{ExitCode: w.then}
		case <-ctx.Done():
		case <-cs.e.ctx.Done():
		}
	})
	return out, nil
}
