package custody

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/lib/errkind"
)

// Attach joins the streams of a task, before or after its start: attached before, it misses nothing. ctx bounds the call,
// not the stream.
func (c *Custodian) Attach(ctx context.Context, a shim.Attach) (Stream, error) {
	inc, err := c.living(ctx)
	if err != nil {
		return nil, err
	}
	s := c.newStream(a)
	within, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	for err = s.connect(within, inc, nil); isLost(err); err = s.connect(within, inc, nil) {
		var lost error
		if inc, lost = c.next(within, inc); lost != nil {
			break
		}
	}
	if err != nil {
		s.stop()
		return nil, c.explain(ctx, within, answerLimit, err)
	}
	c.mu.Lock()
	c.streams[s] = struct{}{}
	c.mu.Unlock()
	return s, nil
}

func (c *Custodian) newStream(a shim.Attach) *stream {
	s := &stream{custodian: c, asked: a}
	s.ctx, s.stop = context.WithCancel(c.ctx)
	return s
}

// join connects a stream whose task is about to begin at inc: by a socket that goes along with the request for the process,
// or, where inc is too old for that (nil), by a request of its own. The caller closes the socket.
func (s *stream) join(ctx context.Context, inc *incarnation) (*shim.Joined, *os.File, error) {
	if !inc.hello.Joins {
		within, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		return nil, nil, s.connect(within, inc, nil)
	}
	ours, theirs, err := fdsock.NewPair()
	if err != nil {
		return nil, nil, err
	}
	if err := s.use(ours, &inc.hello, shim.Position{Patient: true}); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return &shim.Joined{Stdout: s.asked.Stdout, Stderr: s.asked.Stderr}, theirs, nil
}

// stream is an attached task. Read, Write and CloseWrite each belong to one goroutine at a time.
type stream struct {
	custodian *Custodian
	asked     shim.Attach
	ctx       context.Context // ends with Close
	stop      context.CancelFunc
	patient   atomic.Bool
	over      atomic.Bool                // nothing is to be resumed any more
	forgotten atomic.Bool                // the task is deleted
	at        atomic.Pointer[shim.Hello] // the program at the other end
	closing   sync.Once

	mu   sync.Mutex   // guards conn, which Close and Read share
	conn *fdsock.Conn // nil until there is one

	// of Read
	from    shim.Hello // the program at the other end
	pos     shim.Position
	kind    byte
	left    int    // bytes of the frame that are still to come
	pending []byte // for a reader with a small buffer
	failure error  // how it ended
	code    *int   // of the task, where the last frame told

	// of Write and CloseWrite
	inputMu sync.Mutex
	input   *os.File
	task    shim.Task
	ended   bool // CloseWrite was called
}

// connect makes the connection with inc, which has all tasks; resume is nil the first time. It is lost where another program
// answers: the socket's name passes from one supervisor to the next, who may not have been given this task yet, and would
// take the stream for one of a task that is still to begin.
func (s *stream) connect(ctx context.Context, inc *incarnation, resume *shim.Position) error {
	conn, err := dial(ctx, s.custodian.socket())
	if err != nil {
		return &lostError{err}
	}
	r := s.asked
	r.Resume = resume
	payload, err := json.Marshal(&shim.Request{Kind: shim.KindAttach, Attach: &r})
	if err != nil {
		conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().SetDeadline(time.Unix(1, 0)) })
	var answer *response
	if resume != nil { // asked first: a task goes on once all its streams have come, be they dropped again or not
		err = inc.isAt(conn)
	}
	if err == nil {
		answer, err = roundTrip(conn, payload, nil)
	}
	switch {
	case !stop():
		err = ctx.Err()
	case err != nil:
		err = &lostError{err}
	case answer.Error != nil:
		err = answer.Error
	case answer.Attached == nil || answer.Hello == nil:
		err = errkind.New(errkind.Unsupported, "attach to task %s: the supervisor gave no position", r.ID)
	case *answer.Hello != inc.hello:
		err = &lostError{fmt.Errorf("attach to task %s: another supervisor answered", r.ID)}
	case resume != nil && *answer.Hello == s.from:
		// The program that cut us off is still there, so it did so on purpose.
		err = errkind.New(errkind.Timeout, "stream of task %s: it was not read for too long and was dropped", r.ID)
	}
	if err != nil {
		conn.Close()
		return err
	}
	return s.use(conn, answer.Hello, *answer.Attached)
}

// use has s read from conn, whose other end the program named hello has, beginning at pos.
func (s *stream) use(conn *fdsock.Conn, hello *shim.Hello, pos shim.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		conn.Close()
		return os.ErrClosed
	}
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.from, s.pos = conn, *hello, pos
	s.at.Store(hello)
	s.patient.Store(pos.Patient)
	return nil
}

// carriedBy corrects which program is at the other end of a joined stream that nobody reads yet: the supervisor may have been
// upgraded since it was last asked who it is. nil: it did not say.
func (s *stream) carriedBy(hello *shim.Hello) {
	if hello == nil {
		return
	}
	s.mu.Lock()
	s.from = *hello
	s.mu.Unlock()
	s.at.Store(hello)
}

// Read: see Stream.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		s.pending = s.pending[n:]
		return n, nil
	}
	if len(p) <= shim.FrameHeader {
		if len(p) == 0 {
			return 0, nil
		}
		buf := make([]byte, 4<<10)
		n, err := s.read(buf)
		s.pending = buf[:n]
		if n > 0 {
			return s.Read(p)
		}
		return 0, err
	}
	return s.read(p)
}

// read fills p with one frame: what has come of the supervisor's, under a header of its own.
func (s *stream) read(p []byte) (int, error) {
	for s.failure == nil {
		n, err := s.receive(p)
		if err == nil {
			return n, nil
		}
		switch {
		case s.ctx.Err() != nil:
			s.failure = os.ErrClosed
		case errors.Is(err, errCut):
			s.failure = s.resume()
		default:
			s.failure = err
		}
	}
	s.over.Store(true)
	return 0, s.failure
}

// errCut is a connection that ended without a last frame.
var errCut = errors.New("cut off")

func (s *stream) receive(p []byte) (int, error) {
	s.mu.Lock()
	conn := s.conn.NetConn()
	s.mu.Unlock()
	for s.left == 0 {
		var header [shim.FrameHeader]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return 0, errCut
		}
		s.kind, s.left = header[0], int(binary.BigEndian.Uint32(header[4:]))
		switch s.kind {
		case shim.FrameStdout, shim.FrameStderr:
		case shim.FrameEnd:
			s.readCode(conn)
			return 0, io.EOF
		default:
			why := make([]byte, min(s.left, 4<<10))
			if _, err := io.ReadFull(conn, why); err != nil {
				return 0, errCut
			}
			return 0, errkind.New(errkind.Unavailable, "stream of task %s: %s", s.asked.ID, why)
		}
	}
	n, err := conn.Read(p[shim.FrameHeader:][:min(s.left, len(p)-shim.FrameHeader)])
	if n == 0 && err != nil {
		return 0, errCut
	}
	s.left -= n
	if s.kind == shim.FrameStdout {
		s.pos.Stdout += uint64(n)
	} else {
		s.pos.Stderr += uint64(n)
	}
	clear(p[:shim.FrameHeader])
	p[0] = s.kind
	binary.BigEndian.PutUint32(p[4:], uint32(n))
	return shim.FrameHeader + n, nil
}

// readCode reads what the last frame tells, where it tells anything.
func (s *stream) readCode(conn io.Reader) {
	var code [4]byte
	if s.left != len(code) {
		return
	}
	if _, err := io.ReadFull(conn, code[:]); err == nil {
		n := int(binary.BigEndian.Uint32(code[:]))
		s.code = &n
	}
}

// ExitCode: see Stream.
func (s *stream) ExitCode() (code int, known bool) {
	if s.code == nil {
		return 0, false
	}
	return *s.code, true
}

// deleteLimit is how long the deletion of a task waits for streams to be resumed.
const deleteLimit = 3 * time.Second

// resumeLimit is how long a stream looks for the next supervisor.
const resumeLimit = 30 * time.Second

// resume continues with the next supervisor where the last one stopped.
func (s *stream) resume() error {
	s.mu.Lock()
	s.conn.Close()
	s.mu.Unlock()
	s.left = 0
	ctx, cancel := context.WithTimeout(s.ctx, resumeLimit)
	defer cancel()
	for {
		at := s.pos
		inc, err := s.custodian.living(ctx)
		if err == nil && s.forgotten.Load() {
			return errkind.New(errkind.Unavailable, "stream of task %s: the supervisor died before all was sent, and the task is gone", s.asked.ID)
		}
		if err == nil {
			err = s.connect(ctx, inc, &at)
		}
		if !isLost(err) {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return errkind.New(errkind.Unavailable, "stream of task %s: the supervisor is gone", s.asked.ID)
		}
	}
}

// awaitStreams gives streams that were cut off by the end of a supervisor the time to be resumed: a task that is deleted
// has no more output for them. Those that have not come by then will not try.
func (c *Custodian) awaitStreams(ctx context.Context, ref shim.TaskRef) {
	for deadline := time.Now().Add(deleteLimit); ; {
		late := c.cutOff(ref)
		if len(late) == 0 {
			return
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			for _, s := range late {
				s.forgotten.Store(true)
			}
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// cutOff are the streams of ref, and of its execs, that are not at the living supervisor.
func (c *Custodian) cutOff(ref shim.TaskRef) (late []*stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renewed {
		return nil
	}
	for s := range c.streams {
		if its := s.asked.TaskRef; its != ref && (ref.Exec != "" || its.ID != ref.ID) || s.over.Load() {
			continue
		}
		if at := s.at.Load(); at == nil || at.Pid != c.current.pid || at.Generation != c.current.generation {
			late = append(late, s)
		}
	}
	return late
}

// Write: see Stream.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.openInput(); err != nil {
		return 0, err
	}
	n, err := s.input.Write(p)
	if err != nil {
		err = errkind.New(errkind.Conflict, "write to task %s: %w", s.asked.ID, err)
	}
	return n, err
}

func (s *stream) openInput() error {
	s.inputMu.Lock()
	defer s.inputMu.Unlock()
	if s.input != nil {
		return nil
	}
	if s.ended || !s.asked.Stdin {
		return errkind.New(errkind.Conflict, "write to task %s: the stream has no input", s.asked.ID)
	}
	task, f, err := s.custodian.input(s.ctx, s.asked.TaskRef)
	if err != nil {
		return err
	}
	s.input, s.task = f, task
	return nil
}

// CloseWrite: see Stream.
func (s *stream) CloseWrite() error {
	s.inputMu.Lock()
	defer s.inputMu.Unlock()
	if s.ended || !s.asked.Stdin {
		return nil
	}
	s.ended = true
	if s.input != nil {
		s.input.Close()
	}
	// The task may begin only later, and outlive this stream.
	s.custodian.work.Go(s.endInput)
	return nil
}

// endInput closes standard input if this stream's end is its end.
func (s *stream) endInput() {
	c := s.custodian
	task, f, err := s.task, s.input, error(nil)
	if f == nil {
		if task, f, err = c.input(s.ctx, s.asked.TaskRef); err != nil {
			return // the stream ended before the task began
		}
		f.Close()
	}
	if !task.Stdio.StdinOnce || task.Terminal {
		return
	}
	if err := c.plain(c.ctx, &shim.Request{Kind: shim.KindStdin, Stdin: &s.asked.TaskRef}); err != nil && !errkind.Is(err, errkind.NotFound) {
		c.log.Warn("close standard input", "task", s.asked.TaskRef, "err", err)
	}
}

// Close: see Stream.
func (s *stream) Close() error {
	c := s.custodian
	c.mu.Lock()
	_, open := c.streams[s]
	delete(c.streams, s)
	c.mu.Unlock()
	if open {
		s.cut()
	}
	return nil
}

// cut ends the stream. Custodian.streams does not have it any more.
func (s *stream) cut() {
	s.closing.Do(func() {
		s.stop() // a Write that waits for the task returns
		s.mu.Lock()
		if s.conn != nil {
			s.conn.Close()
		}
		s.mu.Unlock()
		if s.custodian.ctx.Err() == nil { // the client left, not we
			_ = s.CloseWrite()
		}
	})
}
