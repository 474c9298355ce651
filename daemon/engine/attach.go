package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/streams"
	"pier/lib/errkind"
)

// Streams are the containers' terminals, pipes and logs.
type Streams struct{ e *Engine }

// Stream is an attached terminal or set of pipes. Reads give Docker's stream frames (raw bytes where Terminal) and end
// with io.EOF when the process is gone or the detach keys were typed; writes are the process's input. One reader and
// one writer may work at the same time; Close may come at any time, from anybody, and must come once.
type Stream struct {
	Terminal bool

	out      io.Reader
	live     custody.Stream                // nil where only the past was asked for
	past     atomic.Pointer[io.PipeReader] // the log read before; nil where none was asked for
	input    bool
	escape   *streams.Escape // nil: no keys detach
	detached func()
	ended    func() // runs before the end of output is told
	leave    func()
	closed   atomic.Bool
	once     sync.Once
	begun    bool // what it is attached to has started; guarded by ctr.mu
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if err == nil {
		return n, nil
	}
	if s.closed.Load() && n == 0 {
		return 0, io.EOF
	}
	if errors.Is(err, io.EOF) && s.ended != nil {
		s.ended()
	}
	return n, err
}

// Write implements io.Writer: bytes for standard input. They are discarded where none is open.
func (s *Stream) Write(p []byte) (int, error) {
	if !s.input || s.live == nil {
		return len(p), nil
	}
	pass, detach := p, false
	if s.escape != nil {
		pass, detach = s.escape.Filter(p)
	}
	if len(pass) > 0 {
		if _, err := s.live.Write(pass); err != nil {
			return 0, err
		}
	}
	if detach {
		s.detached()
		_ = s.Close()
		return len(p), io.ErrClosedPipe
	}
	return len(p), nil
}

// CloseWrite ends the input; output goes on.
func (s *Stream) CloseWrite() error {
	if !s.input || s.live == nil {
		return nil
	}
	return s.live.CloseWrite()
}

// Close leaves; the process runs on. Further calls do nothing.
func (s *Stream) Close() error {
	var err error
	s.once.Do(func() {
		s.closed.Store(true)
		if s.live != nil {
			err = s.live.Close()
		}
		if past := s.past.Load(); past != nil {
			_ = past.Close()
		}
		if s.leave != nil {
			s.leave()
		}
	})
	return err
}

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
		s, err = e.attach(c, shim.TaskRef{ID: c.id}, c.row().Config.Tty, o, keys, nil)
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
		past := logs.Reader(ctx)
		s.out = io.MultiReader(past, s.out)
		if s.past.Store(past); s.closed.Load() { // by the container's removal meanwhile
			_ = past.Close()
		}
	}
	e.say(c, "attach", nil)
	return s, nil
}

// attach opens the stream of a container's process or of an exec in it. It is closed when the container is removed. For
// meanwhile see custody.Custodian.Attach.
func (e *Engine) attach(c *ctr, task shim.TaskRef, tty bool, o AttachOptions, keys []byte, meanwhile func()) (*Stream, error) {
	s := &Stream{Terminal: tty, input: o.Stdin, out: bytes.NewReader(nil)}
	s.leave = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.streams, s)
	}
	if !o.Stream {
		return s, nil
	}
	live, err := e.o.Custody.Attach(e.ctx, shim.Attach{TaskRef: task, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr}, meanwhile)
	if err != nil {
		return nil, err
	}
	s.live, s.out = live, live
	if tty {
		s.out = streams.Unframe(live)
		s.escape = &streams.Escape{Keys: keys}
		s.detached = func() {
			if task.Exec != "" {
				e.say(c, "exec_detach", map[string]string{"execID": task.Exec})
			} else {
				e.say(c, "detach", nil)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == nil {
		c.streams = map[*Stream]struct{}{}
	}
	s.begun = c.row().Life.State.Alive()
	c.streams[s] = struct{}{}
	return s, nil
}

// beginStreams notes that the process runs which the attached streams have waited for.
func (c *ctr) beginStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.streams {
		s.begun = true
	}
}

// closeStreams ends what is attached to a container that will not run (again). A stream whose process has started ends
// by itself, once its reader has got all of the output; with force it is cut off.
func (c *ctr) closeStreams(force bool) {
	var closing []*Stream
	c.mu.Lock()
	for s := range c.streams {
		if force || !s.begun {
			closing = append(closing, s)
		}
	}
	c.mu.Unlock()
	for _, s := range closing {
		_ = s.Close()
	}
}

// Resize sets the size of a container's terminal in cells. Conflict where it does not run.
func (st *Streams) Resize(ctx context.Context, ref string, width, height uint16) error {
	c, err := st.e.index.Find(ref)
	if err != nil {
		return err
	}
	if !c.row().Life.State.Alive() {
		return errkind.New(errkind.Conflict, "container %s is not running", ref)
	}
	if err := st.e.o.Custody.Resize(ctx, shim.Resize{TaskRef: shim.TaskRef{ID: c.id}, Width: width, Height: height}); err != nil {
		return err
	}
	st.e.say(c, "resize", map[string]string{"height": itoa(int(height)), "width": itoa(int(width))})
	return nil
}
