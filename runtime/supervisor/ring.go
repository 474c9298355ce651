package supervisor

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"pier/kernel/pipe"
	"pier/runtime/logging"
)

// A ring takes what cannot stay in the FIFO and not go to the log yet: the beginning of a line that is longer than the
// FIFO, and, where the task must not wait for its log, all output. It lies in the task's folder; the journal says what of
// it is to be logged. So it survives the supervisor as the FIFO does.

const (
	// ringAt is how long the beginning of a line becomes before it leaves the FIFO, in bytes.
	ringAt = pipe.Size / 4
	// longest is how much of a line waits in the ring: a little less than what is cut, wherever the cut falls.
	longest = logging.MaxLine - 8
	// drainLimit is how long the end of a task waits for a log that it does not wait for otherwise.
	drainLimit = 5 * time.Second
)

// ringSize is the capacity of the stream's ring.
func (s *stream) ringSize() int {
	if n := s.task.record.Task.Log.Buffer; n > 0 {
		return int(max(n, 2*pipe.WideSize))
	}
	return logging.MaxLine
}

func (s *stream) openRing() (err error) {
	if s.ring == nil {
		s.ring, err = logging.OpenRing(s.task.path(s.name()+".ring"), s.ringSize())
	}
	return err
}

// inRing is how many bytes of the stream wait in the ring.
func (s *stream) inRing() int { return int(s.slot.Done() - s.slot.InLog()) }

// toRing puts the beginning of text, which is part of a line, in the ring and notes the intent to take it out of the
// FIFO. It returns how many bytes that is; not ok: they must go to the log as they are.
func (s *stream) toRing(text []byte) (n int, ok bool) {
	n = min(len(text), longest-s.inRing())
	err := s.openRing()
	if err == nil && n > 0 {
		err = s.ring.Write(text[:n], s.slot.Done())
	}
	if err != nil {
		s.task.sup.log.Warn("a long line is torn", "task", s.task.ref, "err", err)
	}
	if err != nil || n <= 0 {
		return 0, false
	}
	s.slot.BeginRing(n, text[n-1])
	return n, true
}

// logRing takes entries from the ring to the log, with all set the rest of a line too, and returns how many bytes that
// was. Where there is an outlet, only that calls it.
func (s *stream) logRing(w *tools, all bool) int {
	from, complete, err := s.peekRing(w, logging.MaxPortion)
	if err == nil && bytes.IndexByte(w.line, '\n') < 0 && !complete {
		from, complete, err = s.peekRing(w, logging.MaxLine+1)
	}
	if err != nil {
		s.report(err)
		s.movePast(s.slot.Done())
		return 0
	}
	if len(w.line) == 0 {
		return 0
	}
	// A line that fills half the ring does not wait for its end either.
	all = all && complete || len(w.line) > s.ringSize()/2 && bytes.IndexByte(w.line, '\n') < 0
	n, err := s.task.log.Append(&w.encoded, w.line, s.name(), all, func(n int, size int64, at time.Time) {
		s.note.Begin(from, from+uint64(n), size, at)
	}, s.note.Written)
	if n > 0 {
		s.report(err)
		s.movePast(from + uint64(n))
		s.note.End()
	}
	return n
}

// peekRing copies up to limit bytes that wait in the ring to w.line, and says whether that was all.
func (s *stream) peekRing(w *tools, limit uint64) (from uint64, complete bool, err error) {
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	from, done := s.slot.InLog(), s.slot.Done()
	to := min(done, from+limit)
	w.line = w.line[:0]
	if from < to {
		w.line, err = s.ring.Append(w.line, from, to)
	}
	return from, to == done, err
}

func (s *stream) movePast(to uint64) {
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	s.slot.Pass(to)
}

// finishNote does what a predecessor had begun to take from the ring to the log.
func (s *stream) finishNote(w *tools) {
	n := s.note.Unfinished()
	from := s.slot.InLog()
	var err error
	switch {
	case n == nil:
		return
	case n.Written:
	case n.To <= from: // dropped meanwhile
		err = s.task.log.CutTo(n.LogBefore)
	default:
		if n.From != from { // its beginning was dropped meanwhile: what the log has of it is another text
			err = s.task.log.CutTo(n.LogBefore)
		}
		if err == nil {
			w.line, err = s.ring.Append(w.line[:0], from, n.To)
		}
		if err == nil {
			err = s.task.log.Complete(&w.encoded, w.line, s.name(), n.Time, n.LogBefore)
		}
		s.note.Written()
	}
	s.report(err)
	s.slot.Pass(n.To)
	s.note.End()
}

// outlet takes a stream's output from its ring to its log, in a goroutine of its own: whatever the log does, the stream
// goes on.
type outlet struct {
	stream  *stream
	wake    chan struct{} // has a value when something was put in the ring
	dropped atomic.Int64  // bytes that the ring had no room for and the log does not know of
	ending  atomic.Bool
	ended   chan struct{}
}

func newOutlet(s *stream) *outlet {
	return &outlet{stream: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// take puts text in the ring, in the place of the oldest lines if need be, and notes the intent to take it out of the
// FIFO.
func (o *outlet) take(text []byte) {
	s := o.stream
	err := o.makeRoom(len(text))
	if err == nil {
		err = s.ring.Write(text, s.slot.Done())
	}
	if err != nil {
		s.task.sup.log.Error("output of task is lost", "task", s.task.ref, "err", err)
		o.dropped.Add(int64(s.inRing() + len(text)))
		s.slot.Begin(len(text), text[len(text)-1], 0, time.Time{})
		s.slot.Logged()
		return
	}
	s.slot.BeginRing(len(text), text[len(text)-1])
}

// makeRoom drops whole lines from the ring until n bytes find room.
func (o *outlet) makeRoom(n int) error {
	s := o.stream
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	over := s.inRing() + n - s.ring.Size()
	if over <= 0 {
		return nil
	}
	from, done := s.slot.InLog(), s.slot.Done()
	to := min(from+uint64(over), done)
	var piece []byte
	for at := to - 1; at < done; { // to the end of the line that is cut into
		var err error
		if piece, err = s.ring.Append(piece[:0], at, min(at+ringAt, done)); err != nil {
			return fmt.Errorf("make room: %w", err)
		}
		if i := bytes.IndexByte(piece, '\n'); i >= 0 {
			to = at + uint64(i) + 1
			break
		}
		at += uint64(len(piece))
	}
	s.slot.Pass(to)
	o.dropped.Add(int64(to - from))
	return nil
}

// more says that something was put in the ring.
func (o *outlet) more() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outlet) run() {
	defer close(o.ended)
	for {
		ending := o.ending.Load() // asked before looking: what was put in before is seen
		for n := 1; n > 0; {
			o.stream.work(func(w *tools) {
				if lost := o.dropped.Swap(0); lost > 0 {
					o.stream.task.log.Miss(int(lost), "the log is too slow, and max-buffer-size was reached")
				}
				n = o.stream.logRing(w, ending)
			})
		}
		if ending {
			return
		}
		<-o.wake
	}
}

// finish has the rest taken to the log and waits for that, but not for ever.
func (o *outlet) finish() {
	o.ending.Store(true)
	o.more()
	t := time.NewTimer(drainLimit)
	defer t.Stop()
	select {
	case <-o.ended:
	case <-t.C:
		o.stream.task.sup.log.Error("log of task is not written in time", "task", o.stream.task.ref, "log", o.stream.task.log.Path())
	}
}

// settled calls f once the logs of t are not written any more: at once, as a rule.
func (t *task) settled(f func()) {
	var late sync.WaitGroup
	some := false
	for _, s := range t.streams {
		if s.outlet == nil {
			continue
		}
		select {
		case <-s.outlet.ended:
		default:
			some = true
			late.Go(func() { <-s.outlet.ended })
		}
	}
	if !some {
		f()
		return
	}
	go func() {
		late.Wait()
		f()
	}()
}
