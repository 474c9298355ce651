package engine

import (
	"context"

	"pier/api/shim"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/streams"
	"pier/lib/errkind"
)

// Streams are the containers' terminals, pipes and logs.
type Streams struct{ e *Engine }

// Stream is an attached terminal or set of pipes. Reads give Docker's stream frames (raw bytes where Terminal) and end
// with io.EOF when the process is gone or the detach keys were typed; writes are the process's input.
type Stream = streams.Stream

// Attach joins a container's streams; one that does not run yet is joined when it starts, so that no byte is missed.
func (st *Streams) Attach(ctx context.Context, ref string, o AttachOptions) (*Stream, error) {
	e := st.e
	c, err := e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	keys, err := streams.ParseKeys(o.DetachKeys)
	if err != nil {
		return nil, err
	}
	var s *Stream
	err = c.do(ctx, func() error {
		switch c.row().Life.State {
		case lifecycle.Paused:
			return errkind.New(errkind.Conflict, "container %s is paused, unpause the container before attach", ref)
		case lifecycle.Restarting:
			return errkind.New(errkind.Conflict, "container %s is restarting, wait until the container is running", ref)
		}
		c.released.Wait() // or we would join what has just ended
		var err error
		s, err = e.attach(c, o, keys)
		return err
	})
	if err != nil {
		if s != nil {
			_ = s.Close()
		}
		return nil, err
	}
	if o.Logs {
		logs, err := st.Logs(ctx, ref, LogsOptions{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1, Until: e.o.Clock.Now()})
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.Precede(logs.Reader(ctx))
	}
	e.say(c, "attach", nil)
	return s, nil
}

// attach opens the stream of a container's process. It is closed when the container is removed.
func (e *Engine) attach(c *ctr, o AttachOptions, keys []byte) (*Stream, error) {
	tty := c.row().Config.Tty
	if !o.Stream {
		return streams.Said(tty, nil), nil
	}
	live, err := e.o.Custody.Attach(e.ctx, shim.Attach{TaskRef: shim.TaskRef{ID: c.id}, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr})
	if err != nil {
		return nil, err
	}
	s := streams.Live(live, tty, o.Stdin, keys, func() { e.say(c, "detach", nil) })
	c.streams.Add(s, func() bool { return c.row().Life.State.Alive() })
	return s, nil
}

// Resize sets the size of a container's terminal in cells. Without a terminal there is nothing to do, and as with Docker
// no error. Conflict where the container does not run.
func (st *Streams) Resize(ctx context.Context, ref string, width, height uint16) error {
	c, err := st.e.index.Find(ref)
	if err != nil {
		return err
	}
	if !c.row().Life.State.Alive() {
		return errkind.New(errkind.Conflict, "container %s is not running", ref)
	}
	if c.row().Config.Tty {
		if err := st.e.o.Custody.Resize(ctx, shim.Resize{TaskRef: shim.TaskRef{ID: c.id}, Width: width, Height: height}); err != nil {
			return err
		}
	}
	st.e.say(c, "resize", map[string]string{"height": itoa(int(height)), "width": itoa(int(width))})
	return nil
}
