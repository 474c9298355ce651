package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/index"
	"pier/daemon/engine/internal/lifecycle"
)

// Run is a process that was made and joined, and is being started. Whoever has it calls Close. Its methods are for one
// goroutine, but for Close.
type Run struct {
	ID       string // the container's, or the exec's
	Warnings []string
	// Stream is joined so that no byte is missed; no keys detach from it.
	Stream *Stream

	started <-chan error // gets one value; nil: it has started
	ended   <-chan struct{}
	code    func() int // valid once ended is closed
	closing <-chan struct{}
	forget  func()
}

// Started waits until the process runs, or says why it does not. It is to be called once.
func (r *Run) Started() error {
	if r.started == nil {
		return nil
	}
	return <-r.started
}

// Wait waits for the end of the process, for left, and for the daemon's. known: the first of them came first. A
// container that goes with its process is gone by then.
func (r *Run) Wait(left <-chan struct{}) (exitCode int, known bool) {
	select {
	case <-r.ended:
		return r.code(), true
	case <-left:
	case <-r.closing:
	}
	return 0, false
}

// Close leaves the process; it runs on.
func (r *Run) Close() {
	_ = r.Stream.Close()
	if r.forget != nil {
		r.forget()
	}
}

// Run is Create, Attach, Wait and Start in one, with less to wait for: the container's network and root file system are
// made while its streams are joined. Errors are those of Create and Attach; a container that could not start stays, as
// it does after Start.
func (cs *Containers) Run(ctx context.Context, r CreateRequest, o AttachOptions) (*Run, error) {
	e := cs.e
	created, err := cs.Create(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := e.index.Find(created.ID)
	if err != nil {
		return nil, err
	}
	over := c.await(func(r *row) bool { return r.Gone || !r.Host.AutoRemove && !r.Life.FinishedAt.IsZero() })
	started, joined := make(chan error, 1), make(chan error, 1)
	c.work.Post(func() {
		if c.row().Gone {
			started <- index.NotFound(c.id)
			return
		}
		c.joining = joined
		err := e.apply(c, lifecycle.Input{Kind: lifecycle.Start}, c.id)
		c.joining = nil
		started <- err
	})
	stream, err := e.attach(c, o, nil)
	joined <- err
	close(joined) // a start that is tried again asks again
	if err != nil {
		over.Forget()
		return nil, err
	}
	stream.Hold()
	e.say(c, "attach", nil)
	return &Run{ID: c.id, Warnings: created.Warnings, Stream: stream, started: started, closing: e.ctx.Done(),
		ended: over.Met(), code: func() int { return over.Then().Life.ExitCode }, forget: func() { over.Forget() }}, nil
}

// joined waits for the streams of a run, which must miss nothing of what the process writes.
func (c *ctr) joined() error {
	if c.joining == nil {
		return nil
	}
	return <-c.joining
}

// Run is Create and a Start that is not detached in one.
func (xs *Execs) Run(ctx context.Context, ref string, r container.ExecCreateRequest) (*Run, error) {
	created, err := xs.Create(ctx, ref, r)
	if err != nil {
		return nil, err
	}
	x, err := xs.e.execs.Get(created.ID)
	if err != nil {
		return nil, err
	}
	stream, err := xs.Start(ctx, x.ID, ExecStartOptions{})
	if err != nil {
		return nil, err
	}
	stream.Hold()
	return &Run{ID: x.ID, Stream: stream, ended: x.Ended(), code: x.Code, closing: xs.e.ctx.Done()}, nil
}
