package engine

import (
	"context"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/waiters"
	"pier/lib/errkind"
)

func itoa(n int) string { return strconv.Itoa(n) }

// waiter waits for a container to be in a certain way.
type waiter = waiters.Waiter[*row]

// await registers a waiter; the condition counts from now on. Its Forget ends it.
func (c *ctr) await(want func(r *row) bool) *waiter { return c.waiters.Await(c.row, want) }

// awaitEnd waits for the end of the present run. Only the worker calls it, before it sends the signal.
func (c *ctr) awaitEnd() *waiter {
	return c.await(func(r *row) bool { return !r.Life.State.Alive() })
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
			return s != lifecycle.Removing || r.Gone
		}
	case container.WaitConditionNextExit:
		before := c.row().Life.FinishedAt
		want = func(r *row) bool { return r.Gone || !r.Life.FinishedAt.Equal(before) }
	case container.WaitConditionRemoved:
		want = func(r *row) bool { return r.Gone }
	default:
		return nil, errkind.New(errkind.Invalid, "invalid condition: %q", cond)
	}
	w := c.await(want)
	out := make(chan WaitResult, 1)
	cs.e.bg.Go(func() {
		defer close(out)
		defer w.Forget()
		select {
		case <-w.Met():
			out <- WaitResult{ExitCode: w.Then().Life.ExitCode}
		case <-ctx.Done():
		case <-cs.e.ctx.Done():
		}
	})
	return out, nil
}
