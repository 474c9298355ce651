package supervisor

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pier/api/shim"
	"pier/kernel/pipe"
	"pier/runtime/logging"
	"pier/runtime/supervisor/internal/journal"
)

// stream carries one output of a task from its FIFO to the attached streams and the log. One goroutine runs it, to which the
// fields belong; where there is an outlet, a second one takes what is in the ring to the log. note is that one's. Both use
// ring, at disjoint positions, and slot, whose word for what is logged ringMu guards. lossy and finishing are anybody's.
type stream struct {
	task   *task
	kind   byte // shim.FrameStdout or shim.FrameStderr
	fifo   *os.File
	master *os.File // the terminal whose output passes through fifo, nil without one
	slot   *journal.Slot

	wide  bool            // the FIFO was full once, and has been widened
	held  int             // bytes at the head of fifo that were sent already; they wait for the end of their line
	redo  *journal.Intent // left by a predecessor
	lossy atomic.Bool     // a log error was reported

	ringMu sync.Mutex    // guards which part of the ring is to be logged
	ring   *logging.Ring // nil until it is needed
	note   *journal.Note
	outlet *outlet // nil: the stream writes its log itself, and the task waits for it

	repair chan struct{} // the task's, if redo or note is what it waits for; nil once closed

	passed time.Time     // when output was last passed on
	looked time.Time     // what passed was at the last lookAgain
	pause  time.Duration // until the next look, 0 for none

	finishing atomic.Bool // the task has exited: take what is there and end
	ended     chan struct{}
}

func newStream(t *task, kind byte, fifo, master *os.File) *stream {
	s := &stream{task: t, kind: kind, fifo: fifo, master: master, ended: make(chan struct{})}
	s.slot = t.journal.Slot(int(kind) - shim.FrameStdout)
	s.note = t.journal.Note(int(kind) - shim.FrameStdout)
	if s.redo = s.slot.Unfinished(); s.redo != nil && s.redo.Ring { // written to the ring again, to the same place
		s.slot.Drop()
		s.redo = nil
	}
	t.hub.sent[kind] = s.slot.Done()
	if t.log == nil {
		return s
	}
	if s.note.Unfinished() != nil || s.redo != nil && !s.redo.Logged {
		s.repair = make(chan struct{})
		t.repair = s.repair
	}
	if t.record.Task.Log.Buffer > 0 {
		s.outlet = newOutlet(s)
	}
	return s
}

func (s *stream) name() string {
	if s.kind == shim.FrameStderr {
		return "stderr"
	}
	return "stdout"
}

// run ends when finish was called and everything is out, or the files were closed.
func (s *stream) run() {
	defer close(s.ended)
	defer s.repaired()
	s.task.hub.awaitResumed(func() bool { return !s.finishing.Load() && s.task.sup.watched() })
	if repair := s.task.repair; repair != nil && s.repair == nil {
		<-repair
	}
	s.takeUpRing()
	var err error
	for {
		// The callback runs at once, and then each time something has arrived.
		err = pipe.Wait(s.source(), func() bool {
			s.work(s.drain)
			s.lookAgain()
			return false
		})
		if s.finishing.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		s.wakeAt(time.Time{})
	}
	if s.finishing.Load() {
		s.work(s.drainLast)
		if s.outlet != nil {
			s.outlet.finish()
		}
	} else if err != nil {
		s.task.sup.log.Warn("output of task is not read any more", "task", s.task.ref, "stream", s.name(), "err", err)
	}
}

// takeUpRing continues with what a predecessor left in the ring.
func (s *stream) takeUpRing() {
	if s.task.log == nil || s.outlet == nil && s.inRing() == 0 && s.note.Unfinished() == nil {
		return
	}
	if err := s.openRing(); err != nil {
		s.report(err)
		s.slot.Pass(s.slot.Done())
		if s.outlet != nil { // it has nothing to work with
			close(s.outlet.ended)
			s.outlet = nil
		}
		return
	}
	if s.redo == nil {
		s.work(s.finishNote)
		s.repaired()
	}
	if s.outlet != nil {
		go s.outlet.run()
	}
}

// finish makes run take what is there and end.
func (s *stream) finish() {
	s.finishing.Store(true)
	_ = s.source().SetReadDeadline(time.Unix(1, 0)) // wakes Wait
}

func (s *stream) source() *os.File {
	if s.master != nil {
		return s.master
	}
	return s.fifo
}

const (
	lookSoon = time.Millisecond
	lookLate = 250 * time.Millisecond
)

// lookAgain has the FIFO looked at after a while if the beginning of a line stays in it. The kernel does not tell a
// waiting reader of a write that finds the FIFO not empty and fills it up before it is done (pipe_write wakes readers when
// it returns, or when it blocks and the FIFO was empty): without a second look both would wait for each other for ever.
func (s *stream) lookAgain() {
	switch {
	case s.master != nil: // whose output is moved here by this goroutine
	case s.held == 0 && s.pause == 0:
	case s.held == 0:
		s.pause = 0
		s.wakeAt(time.Time{})
	default:
		s.pause = min(2*s.pause, lookLate)
		if s.passed != s.looked {
			s.looked, s.pause = s.passed, lookSoon
		}
		s.wakeAt(time.Now().Add(s.pause))
	}
}

// wakeAt ends Wait at t, the zero time for never, unless finish has done so already.
func (s *stream) wakeAt(t time.Time) {
	_ = s.source().SetReadDeadline(t)
	if s.finishing.Load() {
		_ = s.source().SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *stream) work(f func(*tools)) {
	if err := s.task.sup.tools.do(f); err != nil {
		s.task.sup.log.Error("read output of task", "task", s.task.ref, "err", err)
	}
}

// drain moves output on until nothing new is there.
func (s *stream) drain(w *tools) { s.move(w, false) }

// drainLast is drain when no more will come: the rest of a line goes out too.
func (s *stream) drainLast(w *tools) { s.move(w, true) }

// flushing says what becomes of a line whose end is not there.
type flushing int

const (
	stay  flushing = iota // it stays in the FIFO
	leave                 // it goes to the ring
	end                   // it goes to the log: there will be no more
)

func (s *stream) move(w *tools, last bool) {
	var err error
	for more := false; ; { // more: the last pass logged something, and whole lines may be left that did not fit
		moved := 0
		if s.master != nil {
			if moved, err = pipe.Move(s.master, s.fifo, pipe.Size); err != nil {
				s.task.sup.log.Error("read terminal of task", "task", s.task.ref, "err", err)
			}
		}
		text, err := w.scratch.Peek(s.fifo)
		if err != nil {
			s.task.sup.log.Error("read output of task", "task", s.task.ref, "err", err)
			return
		}
		// What cannot grow, because the FIFO is full or more pieces are in it than one look sees, does not stay in it.
		flush := stay
		if last && moved == 0 {
			flush = end
		}
		if s.held > 0 && len(text) <= s.held && flush == stay && !more {
			if pipe.Buffered(s.fifo) <= len(text) && !pipe.Full(s.fifo) {
				return
			}
			flush = leave
		}
		if len(text) == 0 {
			if s.redo != nil {
				s.finishIntent(w, nil)
			}
			if moved > 0 {
				continue
			}
			if flush == end && s.outlet == nil && s.task.log != nil && s.inRing() > 0 {
				s.logRing(w, true)
			}
			return
		}
		if len(text) >= pipe.Size && !s.wide { // for one that is busy it saves switches to and fro
			s.wide = true
			pipe.Widen(s.fifo)
		}
		fresh := len(text) - s.held
		more = s.pass(w, text, flush)
		s.rest(fresh)
	}
}

const (
	// A writer of many small pieces is looked at once in restTime at most, unless the FIFO fills up meanwhile.
	restTime  = 500 * time.Microsecond
	restBelow = pipe.Size / 4
)

// rest lets small pieces of output gather when they follow each other closely: each look costs a dozen system calls.
func (s *stream) rest(fresh int) {
	now := time.Now()
	if fresh < restBelow && now.Sub(s.passed) < 2*restTime && !s.finishing.Load() {
		time.Sleep(restTime)
		now = now.Add(restTime)
	}
	s.passed = now
}

// pass sends what is new in text, the content of the FIFO, and then logs and consumes what need not wait for more. It
// reports whether it consumed anything.
func (s *stream) pass(w *tools, text []byte, flush flushing) bool {
	hub := &s.task.hub
	hub.send(s.kind, s.slot.Done()+uint64(s.held), text[s.held:])
	s.held = len(text)

	n := len(text)
	switch {
	case s.redo != nil:
		n = s.finishIntent(w, text)
	case s.task.log == nil:
		s.slot.Begin(n, text[n-1], 0, time.Time{})
	case s.outlet != nil:
		s.outlet.take(text)
	default:
		n = s.logPortion(w, text, flush)
	}
	if n == 0 {
		return false
	}
	if err := w.scratch.Consume(s.fifo, n, s.slot.Marker()); err != nil {
		s.task.sup.log.Error("consume output of task", "task", s.task.ref, "err", err)
	}
	s.slot.Commit()
	s.held -= n
	if s.outlet != nil {
		s.outlet.more()
	}
	return true
}

// logPortion notes the intent and appends to the log, or puts a line without its end in the ring. It returns how many
// bytes of text have found a place.
func (s *stream) logPortion(w *tools, text []byte, flush flushing) int {
	before := s.inRing()
	if before > 0 && flush != end && before+len(text) <= longest && bytes.IndexByte(text, '\n') < 0 {
		if n, ok := s.toRing(text); ok {
			return n
		}
		flush = end
	}
	line, err := s.withRing(w, text)
	if err != nil {
		s.report(err)
		before, line = 0, text
	}
	put := func(all bool) int {
		n, err := s.task.log.Append(&w.encoded, line, s.name(), all, func(n int, size int64, at time.Time) {
			s.slot.Begin(n-before, text[n-before-1], size, at)
		}, s.slot.Logged)
		if n == 0 {
			return 0
		}
		s.report(err) // a full disk must not stop the container
		return n - before
	}
	if n := put(flush == end); n > 0 {
		return n
	}
	if flush == stay && len(text) < ringAt {
		return 0
	}
	if n, ok := s.toRing(text); ok {
		return n
	}
	return put(true)
}

// withRing returns text with what is before it in the ring.
func (s *stream) withRing(w *tools, text []byte) (line []byte, err error) {
	if s.inRing() == 0 {
		return text, nil
	}
	if w.line, err = s.ring.Append(w.line[:0], s.slot.InLog(), s.slot.Done()); err != nil {
		return text, err
	}
	w.line = append(w.line, text...)
	return w.line, nil
}

// finishIntent does what a predecessor had begun: the log gets what is missing in it. The encoding is the same again
// because the time is kept.
func (s *stream) finishIntent(w *tools, text []byte) int {
	r := s.redo
	s.redo = nil
	defer s.repaired()
	if r.Bytes > len(text) { // nobody held the FIFO for a while and its content is gone
		s.slot.Drop()
		return 0
	}
	if log := s.task.log; log != nil && !r.Logged {
		line, err := s.withRing(w, text[:r.Bytes])
		if err == nil {
			err = log.Complete(&w.encoded, line, s.name(), r.Time, r.LogBefore)
		}
		s.report(err)
		s.slot.Logged()
	}
	return r.Bytes
}

// repaired lets the task's other stream write to the log.
func (s *stream) repaired() {
	if s.repair != nil {
		close(s.repair)
		s.repair = nil
	}
}

// report says once that lines are lost, and once that they are not any more.
func (s *stream) report(err error) {
	switch {
	case err != nil && s.lossy.CompareAndSwap(false, true):
		s.task.sup.log.Error("log lines of task are lost", "task", s.task.ref, "log", s.task.log.Path(), "err", err)
		s.task.tellTrouble(err.Error())
	case err == nil && s.lossy.CompareAndSwap(true, false):
		s.task.sup.log.Info("log of task is written again", "task", s.task.ref, "log", s.task.log.Path())
		s.task.tellTrouble("")
	}
}

// linger reads and forgets what processes left behind by an exec still write, so that they never block, until the last
// of them has closed its output. It owns f.
func linger(f *os.File) {
	r, err := pipe.Reopen(f, os.O_RDONLY) // this one sees the end when there are no writers
	f.Close()
	if err != nil {
		return
	}
	defer r.Close()
	buf := make([]byte, 4<<10)
	for {
		if _, err := r.Read(buf); err != nil {
			return
		}
	}
}
