package streams

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"pier/api/docker"
	"pier/daemon/engine/custody"
)

// Stream is an attached terminal or set of pipes. Reads give Docker's stream frames (raw bytes where Terminal) and end
// with io.EOF when the process is gone or the detach keys were typed; writes are the process's input. One reader and
// one writer may work at the same time; Close may come at any time, from anybody, and must come once.
type Stream struct {
	Terminal bool

	out      io.Reader
	live     custody.Stream                // nil where only the past was asked for
	past     atomic.Pointer[io.PipeReader] // the log read before; nil where none was asked for
	input    bool
	escape   *docker.Escape // nil: no keys detach
	detached func()
	ended    func() // runs before the end of output is told
	in       *Set   // nil: in none
	begun    bool   // what it is attached to has started; guarded by in.mu
	closed   atomic.Bool
	once     sync.Once
}

// Live is the stream of a process, which it closes. input: writes are passed on. Of a terminal, keys detach, which calls
// detached; none do where there are none.
func Live(live custody.Stream, terminal, input bool, keys []byte, detached func()) *Stream {
	s := &Stream{Terminal: terminal, input: input, live: live, out: live}
	if terminal {
		s.out, s.escape, s.detached = Unframe(live), &docker.Escape{Keys: keys}, detached
	}
	return s
}

// Said is a stream whose output is text alone.
func Said(terminal bool, text []byte) *Stream {
	return &Stream{Terminal: terminal, out: bytes.NewReader(text)}
}

// Precede has past read first. It comes before the first Read; the Stream closes past.
func (s *Stream) Precede(past *io.PipeReader) {
	s.out = io.MultiReader(past, s.out)
	if s.past.Store(past); s.closed.Load() { // by the container's removal meanwhile
		_ = past.Close()
	}
}

// Hold has no keys detach. It comes before the first Write.
func (s *Stream) Hold() { s.escape = nil }

// BeforeEnd has f called before the end of output is told. It comes before the first Read.
func (s *Stream) BeforeEnd(f func()) { s.ended = f }

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
		if s.in != nil {
			s.in.remove(s)
		}
	})
	return err
}

// Set is the streams that are attached to one container. The zero value has none. Safe for concurrent use.
type Set struct {
	mu  sync.Mutex // guards all, and Stream.begun of those in it
	all map[*Stream]struct{}
}

// Add puts s in, until it is closed. begun: what it is attached to runs already.
func (t *Set) Add(s *Stream, begun func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[*Stream]struct{}{}
	}
	s.in, s.begun = t, begun()
	t.all[s] = struct{}{}
}

func (t *Set) remove(s *Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, s)
}

// Begin notes that the process runs which the streams have waited for.
func (t *Set) Begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.all {
		s.begun = true
	}
}

// Close ends what is attached to a container that will not run (again). A stream whose process has started ends
// by itself, once its reader has got all of the output; with force it is cut off.
func (t *Set) Close(force bool) {
	var closing []*Stream
	t.mu.Lock()
	for s := range t.all {
		if force || !s.begun {
			closing = append(closing, s)
		}
	}
	t.mu.Unlock()
	for _, s := range closing {
		_ = s.Close()
	}
}
