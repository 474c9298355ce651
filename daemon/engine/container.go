package engine

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pier/daemon/engine/internal/checkpoint"
	"pier/daemon/engine/internal/files"
	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/index"
	"pier/daemon/engine/internal/queue"
	"pier/daemon/engine/internal/rows"
	"pier/daemon/engine/internal/streams"
	"pier/daemon/engine/internal/waiters"
	"pier/lib/clock"
	"pier/lib/errkind"
)

// row is a container's record. A row that readers can see is never changed: whoever changes one copies it first (see
// ctr.change).
type row = rows.Row

// ctr is one container in memory. Changes happen in its worker; anybody may read the current row and health.
type ctr struct {
	id     string
	work   queue.Queue // its worker
	now    atomic.Pointer[row]
	health health.Monitor // started and stopped by the worker

	// The worker's own.
	restart clock.Timer      // pending restart, or nil
	root    *os.File         // the mounted root, kept so that its unmounting is on nobody's path; or nil
	joining <-chan error     // gets one value when the streams of a run are joined, and is closed; or nil
	from    *checkpoint.Kept // from which it is being started, or nil

	files    files.Keep     // open views of its files, opened by the worker; a new start waits for them
	released sync.WaitGroup // background cleaning after an exit; a new start waits for it

	waiters waiters.Waiters[*row]
	streams streams.Set
}

func newCtr(r *row) *ctr {
	c := &ctr{id: r.ID}
	c.now.Store(r)
	c.health.Recall(r.Health)
	return c
}

func (c *ctr) row() *row { return c.now.Load() }

// change publishes a copy of the row that f has changed. Only the worker calls it.
func (c *ctr) change(f func(r *row)) *row {
	next := *c.row()
	f(&next)
	c.now.Store(&next)
	return &next
}

// queueLimit is how long an operation waits for those before it. They all end in less, unless the machine or the
// supervisor is stuck.
const queueLimit = 30 * time.Second

// do runs f in the worker and returns its error. A caller that goes away does not stop f. Where f cannot begin for
// queueLimit it never does, and the error is Timeout.
func (c *ctr) do(ctx context.Context, f func() error) error {
	err := c.work.Do(ctx, queueLimit, func() error {
		if c.row().Gone {
			return index.NotFound(c.id)
		}
		return f()
	})
	if err == queue.ErrBusy {
		return errkind.New(errkind.Timeout, "container %s is busy: %w for %v; the log of pierd and State in /proc/PID/status of "+
			"the supervisor (pier-runtime supervise) tell why", c.id, err, queueLimit)
	}
	return err
}

// runs reports whether what runs of c is what did when r was its row.
func (c *ctr) runs(r *row) bool {
	now := c.row()
	return now.Life.State.Alive() && now.Pid == r.Pid && now.StartTime == r.StartTime
}
