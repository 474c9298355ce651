package supervisor

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
)

const (
	// StallLimit is how long an attached stream that is not patient may take nothing while output waits for it.
	StallLimit = 10 * time.Second
	// resumeLimit is how long output waits for streams that are to be resumed after a supervisor was replaced.
	resumeLimit = 3 * time.Second
	// patientLimit is the same for patient streams: longer than pierd tries to resume one.
	patientLimit = 40 * time.Second
	// lastSend is how long the end of a task waits for a stream before what is left is kept for it.
	lastSend = 100 * time.Millisecond
)

// hub is the list of a task's attached streams.
type hub struct {
	mu      sync.Mutex // guards what follows
	streams []*attacher
	sent    [3]uint64 // by frame kind: how much output has been handed to the streams
	started bool      // streams that join from now on are not patient, in a container
	exec    bool      // all streams are patient
	loose   bool      // the task waits for no stream without limit, as it does not for its log
	closed  bool      // the task has ended
	ending  bool      // it has exited, the last output is on its way
	missing waiting   // streams still to be resumed
}

// waiting counts streams that were cut off by the replacement of a supervisor.
type waiting struct {
	Patient int `json:"patient,omitempty"`
	Others  int `json:"others,omitempty"`
}

// expect makes awaitResumed wait for streams.
func (h *hub) expect(w waiting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing = w
}

// awaitResumed holds output back until the streams are there again: patient ones for patientLimit while lively says that
// somebody is there to resume them, others, and at the end of the task all, for resumeLimit. A client may have left
// meanwhile: then nobody comes.
func (h *hub) awaitResumed(lively func() bool) {
	begin := time.Now()
	for {
		h.mu.Lock()
		missing := h.missing
		h.mu.Unlock()
		late := time.Since(begin) > resumeLimit
		if missing == (waiting{}) || late && (missing.Patient == 0 || !lively()) || time.Since(begin) > patientLimit {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// join adds a and returns where its stream begins. It refuses when the hub has closed, or with a reason when the stream
// came too late to be continued.
func (h *hub) join(a *attacher, resume *shim.Position) (at shim.Position, open bool, failure string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at = shim.Position{Stdout: h.sent[shim.FrameStdout], Stderr: h.sent[shim.FrameStderr], Patient: h.exec || !h.started}
	if resume != nil {
		missed := a.want[shim.FrameStdout] && resume.Stdout < at.Stdout || a.want[shim.FrameStderr] && resume.Stderr < at.Stderr
		at = *resume
		if count := &h.missing.Others; !at.Patient {
			*count = max(*count-1, 0)
		} else {
			h.missing.Patient = max(h.missing.Patient-1, 0)
		}
		if missed {
			return at, false, "the stream was not read in time and has missed output"
		}
	}
	a.pos[shim.FrameStdout], a.pos[shim.FrameStderr], a.patient, a.loose = at.Stdout, at.Stderr, at.Patient, h.loose
	if h.closed {
		return at, false, ""
	}
	if h.ending {
		a.hurry()
	}
	h.streams = append(slices.Clip(h.streams), a) // readers of the old list are not disturbed
	return at, true, ""
}

func (h *hub) leave(a *attacher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams = slices.DeleteFunc(slices.Clone(h.streams), func(b *attacher) bool { return a == b })
}

// count returns the streams that a successor should wait for.
func (h *hub) count() waiting {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.missing
	for _, a := range h.streams {
		if a.patient {
			n.Patient++
		} else {
			n.Others++
		}
	}
	return n
}

// begin says that the task runs: who joins from now on has missed something.
func (h *hub) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = true
}

// send hands data, which begins at position from of the output, to all streams that want it.
func (h *hub) send(kind byte, from uint64, data []byte) {
	if len(data) == 0 {
		return
	}
	h.mu.Lock()
	h.sent[kind] = from + uint64(len(data))
	streams := h.streams
	h.mu.Unlock()
	for _, a := range streams {
		a.send(kind, from, data)
	}
}

// hurry makes every blocked send give up soon and keep the rest; the task has exited.
func (h *hub) hurry() {
	h.mu.Lock()
	h.ending = true
	streams := h.streams
	h.mu.Unlock()
	for _, a := range streams {
		a.hurry()
	}
}

// close ends all streams with a last frame of kind.
func (h *hub) close(kind byte, payload []byte) {
	h.mu.Lock()
	h.closed = true
	streams := h.streams
	h.mu.Unlock()
	for _, a := range streams {
		a.end(kind, payload)
	}
}

// attacher is one attached stream on its connection.
type attacher struct {
	conn    *net.UnixConn
	want    [3]bool   // by frame kind
	pos     [3]uint64 // the next byte of output it wants; belongs to the stream of that kind once joined
	patient bool
	loose   bool // it has a limit though it is patient

	hasty  atomic.Bool // the task has exited: keep what cannot be sent at once
	mu     sync.Mutex  // one frame at a time; guards what follows
	dead   bool
	kept   []byte // what follows on the wire
	header [shim.FrameHeader]byte
}

// send writes one frame, or the part of it that the stream has not got yet, waiting as long as the stream may be waited
// for.
func (a *attacher) send(kind byte, from uint64, data []byte) {
	if !a.want[kind] {
		return
	}
	end := from + uint64(len(data))
	if end <= a.pos[kind] {
		return
	}
	if a.pos[kind] > from {
		data = data[a.pos[kind]-from:]
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead {
		return
	}
	a.pos[kind] = end
	a.header = [shim.FrameHeader]byte{kind}
	binary.BigEndian.PutUint32(a.header[4:], uint32(len(data)))
	if len(a.kept) > 0 {
		a.kept = append(append(a.kept, a.header[:]...), data...)
		return
	}
	a.write(net.Buffers{a.header[:], data})
}

// write is called with mu held.
func (a *attacher) write(b net.Buffers) {
	for len(b) > 0 {
		switch { // a patient one has no deadline as a rule, until hurry sets one
		case a.hasty.Load():
			a.hurry()
		case !a.patient || a.loose:
			_ = a.conn.SetWriteDeadline(time.Now().Add(StallLimit))
		}
		n, err := b.WriteTo(a.conn) // takes what was written out of b
		switch {
		case err == nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && a.hasty.Load():
			for _, part := range b {
				a.kept = append(a.kept, part...)
			}
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && n > 0: // slow, but it moves
		default:
			a.drop()
			return
		}
	}
}

// drop ends the stream in the middle. pierd sees a connection cut off by a supervisor that lives.
func (a *attacher) drop() {
	a.dead, a.kept = true, nil
	a.conn.Close()
}

// leave is drop for one that may have ended. After the end the connection is closed by whoever sends the rest.
func (a *attacher) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.dead {
		a.drop()
	}
}

// hurry does not wait for mu: a blocked send holds it. Where nobody sends, the next one who does hurries.
func (a *attacher) hurry() {
	a.hasty.Store(true)
	if a.mu.TryLock() {
		a.mu.Unlock()
		return
	}
	_ = a.conn.SetWriteDeadline(time.Now().Add(lastSend))
}

// end sends what was kept and the last frame. What is not taken at once is sent by a goroutine of its own for as long as
// the other side stays.
func (a *attacher) end(kind byte, payload []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead {
		return
	}
	a.dead = true
	a.header = [shim.FrameHeader]byte{kind}
	binary.BigEndian.PutUint32(a.header[4:], uint32(len(payload)))
	rest := append(append(a.kept, a.header[:]...), payload...)
	a.kept = nil
	if rest = rest[fdsock.WriteNow(a.conn, rest):]; len(rest) == 0 {
		a.conn.Close()
		return
	}
	_ = a.conn.SetWriteDeadline(time.Now().Add(lastSend))
	n, err := a.conn.Write(rest)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		a.conn.Close()
		return
	}
	rest = rest[n:]
	_ = a.conn.SetWriteDeadline(time.Time{})
	go func() {
		_, _ = a.conn.Write(rest)
		a.conn.Close()
	}()
}
