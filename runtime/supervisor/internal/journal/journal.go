// Package journal keeps what a supervisor must not forget of a task: one mapped page, of which every store is visible to a
// successor at once, in order, whatever happens to this process.
//
// Start reading at Journal.
package journal

import (
	"os"
	"path/filepath"
	"time"

	"pier/api/shim"
	"pier/kernel/page"
)

// The words of the page:
//
//	0        layout version
//	1        flags
//	2, 3, 4  pid (0: not made yet), start time (0: has not executed its program yet), wall clock of the start in ns
//	5        length of the record
//	6, 7     exit: 1 << 63 | unknown << 33 | OOM << 32 | code (0: none yet), wall clock of the exit in ns
//	8..15    slot of standard output
//	16..23   slot of standard error
//	24..495  the record (see SetRecord), JSON
//	496..502 note on the ring of standard output
//	503      not zero: the process has come to executing its program; zero again where that was not possible
//	504..511 note on the ring of standard error
const (
	wordVersion   = 0
	wordFlags     = 1
	wordPid       = 2
	wordStartTime = 3
	wordStartedAt = 4
	wordRecordLen = 5
	wordExit      = 6
	wordExitedAt  = 7
	wordSlots     = 8
	slotWords     = 8
	wordRecord    = 24
	wordNotes     = 496
	wordRun       = 503

	journalVersion = 2
	beforeRings    = 1 // a version whose slots had no word for what is logged, and no notes

	exitSet     = 1 << 63
	exitUnknown = 1 << 33
	exitOOM     = 1 << 32
)

// The flags of a task.
const (
	StdinClosed = 1 // its standard input was closed for good
	Frozen      = 2 // it was frozen
	Tracers     = 4 // something in the container may trace what appears there
	Doomed      = 8 // everything in the container is to be killed
)

// Journal is the page of one task. It belongs to one process at a time; what may be called at the same time is the caller's
// affair. Nothing may be called after Close.
type Journal struct{ page *page.Page }

// Open maps the journal at path, which is made where it is missing.
func Open(path string) (*Journal, error) {
	p, err := page.Open(path)
	if err != nil {
		return nil, err
	}
	j := &Journal{page: p}
	if p.Load(wordVersion) == beforeRings {
		if err := j.convert(filepath.Dir(path)); err != nil {
			_ = p.Close()
			return nil, err
		}
	}
	p.Store(wordVersion, journalVersion)
	return j, nil
}

// convert makes a journal of the version beforeRings one of ours: no stream has anything in a ring.
func (j *Journal) convert(dir string) error {
	if n := j.page.Load(wordRecordLen); n > uint64(len(j.room())) { // it reaches into the notes
		if err := os.WriteFile(filepath.Join(dir, "task.json"), j.page.Bytes(wordRecord)[:n], 0o600); err != nil {
			return err
		}
		j.page.Store(wordRecordLen, 0)
		clear(j.page.Bytes(wordNotes))
	}
	for i := range 2 {
		s := j.Slot(i)
		s.page.Store(s.first+7, s.Done())
	}
	return nil
}

// room is where the record lies.
func (j *Journal) room() []byte { return j.page.Bytes(wordRecord)[:(wordNotes-wordRecord)*8] }

// Close unmaps the page. The file stays.
func (j *Journal) Close() error { return j.page.Close() }

// Flag reports whether f is set.
func (j *Journal) Flag(f uint64) bool { return j.page.Load(wordFlags)&f != 0 }

// SetFlag sets or clears f. Of two calls at the same time one is lost.
func (j *Journal) SetFlag(f uint64, on bool) {
	v := j.page.Load(wordFlags) &^ f
	if on {
		v |= f
	}
	j.page.Store(wordFlags, v)
}

// PidWord is where the kernel stores the number of the process before that makes its first step.
func (j *Journal) PidWord() *int32 { return j.page.Int32(wordPid) }

// RunWord is where the kernel stores that the process was about to execute its program. One that is gone and is not noted
// here has never run it.
func (j *Journal) RunWord() *uint64 { return j.page.Uint64(wordRun) }

// Ran reports whether the process was about to execute its program.
func (j *Journal) Ran() bool { return j.page.Load(wordRun) != 0 }

// Started notes the process. The start time is the last word: where it is set, the program was executed.
func (j *Journal) Started(pid int, startTime uint64, at time.Time) {
	j.page.Store(wordPid, uint64(pid))
	j.page.Store(wordStartedAt, uint64(at.UnixNano()))
	j.page.Store(wordStartTime, startTime)
}

// Process is the process as far as it is noted: pid 0 where it was not made yet, start time 0 where it is not known to have
// executed its program.
func (j *Journal) Process() (pid int, startTime uint64, at time.Time) {
	return int(j.page.Load(wordPid)), j.page.Load(wordStartTime), time.Unix(0, int64(j.page.Load(wordStartedAt)))
}

// SetRecord stores the record. It reports false if text is too long for the page.
func (j *Journal) SetRecord(text []byte) bool {
	if len(text) > len(j.room()) {
		return false
	}
	copy(j.room(), text)
	j.page.Store(wordRecordLen, uint64(len(text)))
	return true
}

// Record returns a copy of what SetRecord stored, nil if nothing is there.
func (j *Journal) Record() []byte {
	n := j.page.Load(wordRecordLen)
	if room := j.room(); n <= uint64(len(room)) {
		return append([]byte(nil), room[:n]...)
	}
	return nil
}

// Exited notes how the process ended, in one store after all else.
func (j *Journal) Exited(e *shim.Exit) {
	v := uint64(exitSet) | uint64(uint32(e.Code))
	if e.Unknown {
		v |= exitUnknown
	}
	if e.OOM {
		v |= exitOOM
	}
	j.page.Store(wordExitedAt, uint64(e.At.UnixNano()))
	j.page.Store(wordExit, v)
}

// Exit returns what Exited noted, nil if the task has not ended.
func (j *Journal) Exit(ref shim.TaskRef) *shim.Exit {
	v := j.page.Load(wordExit)
	if v&exitSet == 0 {
		return nil
	}
	pid, _, _ := j.Process()
	return &shim.Exit{TaskRef: ref, Pid: pid, Code: int(int32(uint32(v))), Unknown: v&exitUnknown != 0, OOM: v&exitOOM != 0,
		At: time.Unix(0, int64(j.page.Load(wordExitedAt)))}
}

// Slot is the part of an output stream: 0 standard output, 1 standard error.
func (j *Journal) Slot(stream int) *Slot {
	return &Slot{page: j.page, first: wordSlots + stream*slotWords}
}

// Slot is the part of the journal that one output stream owns. Words:
//
//	0  bytes of the stream that are done with: sent, out of the FIFO, and in the log or the ring
//	1  the same at the time of the intent
//	2  the intent: number of bytes that are about to be logged and taken out; 0: none. Bit 32: set once they are logged.
//	   Bit 33: they do not go to the log but to the ring
//	3  size of the log before
//	4  the time in the log lines, ns
//	5  the last of the intent's bytes
//	6  its complement, until the FIFO is emptied: then that very system call stores the last byte here
//	7  bytes of the stream that are in the log, or lost. The ring holds what is between this and word 0
type Slot struct {
	page  *page.Page
	first int
}

const (
	loggedBit = 1 << 32
	ringBit   = 1 << 33
	bytesMask = loggedBit - 1
)

// Intent is what was about to be done with the next bytes of a stream.
type Intent struct {
	Bytes     int
	Logged    bool // the log holds them
	Ring      bool // they go to the ring, not to the log
	LogBefore int64
	Time      time.Time // in the log's lines
}

// Done is word 0.
func (s *Slot) Done() uint64 { return s.page.Load(s.first) }

// InLog is word 7.
func (s *Slot) InLog() uint64 { return s.page.Load(s.first + 7) }

// Pass moves word 7 on to a later position.
func (s *Slot) Pass(to uint64) { s.page.Store(s.first+7, max(to, s.InLog())) }

// Begin notes the intent to log the next bytes.
func (s *Slot) Begin(bytes int, last byte, logBefore int64, at time.Time) {
	s.page.Store(s.first+3, uint64(logBefore))
	s.page.Store(s.first+4, uint64(at.UnixNano()))
	s.intend(uint64(bytes), last)
}

// BeginRing notes the intent to take out the next bytes, which are in the ring already.
func (s *Slot) BeginRing(bytes int, last byte) { s.intend(uint64(bytes)|ringBit, last) }

func (s *Slot) intend(what uint64, last byte) {
	s.page.Store(s.first+1, s.Done())
	s.page.Store(s.first+5, uint64(last))
	s.page.Store(s.first+6, uint64(^last)*0x0101010101010101) // whichever byte of the word comes first in memory
	s.page.Store(s.first+2, what)
}

// Logged notes that the log holds the intent's bytes.
func (s *Slot) Logged() { s.page.Store(s.first+2, s.page.Load(s.first+2)|loggedBit) }

// Marker is where the call that empties the FIFO stores the last byte.
func (s *Slot) Marker() *byte { return s.page.Byte(s.first + 6) }

// Commit ends the intent after the FIFO was emptied. Cut off in the middle it can be done again.
func (s *Slot) Commit() {
	what, done := s.page.Load(s.first+2), s.page.Load(s.first+1)
	done += what & bytesMask
	s.page.Store(s.first, done)
	if what&ringBit == 0 {
		s.page.Store(s.first+7, done)
	}
	s.page.Store(s.first+2, 0)
}

// Drop ends the intent without having done it.
func (s *Slot) Drop() { s.page.Store(s.first+2, 0) }

// Unfinished returns the intent that a predecessor left between begin and the emptying of the FIFO, nil if there is none.
func (s *Slot) Unfinished() *Intent {
	n := s.page.Load(s.first + 2)
	if n == 0 {
		return nil
	}
	if *s.Marker() == byte(s.page.Load(s.first+5)) {
		s.Commit()
		return nil
	}
	return &Intent{Bytes: int(n & bytesMask), Logged: n&loggedBit != 0, Ring: n&ringBit != 0,
		LogBefore: int64(s.page.Load(s.first + 3)), Time: time.Unix(0, int64(s.page.Load(s.first+4)))}
}

// Note is the note on the ring of an output stream, by the numbers of Slot.
func (j *Journal) Note(stream int) *Note {
	return &Note{page: j.page, first: wordNotes + stream*slotWords}
}

// Note is the part of the journal that says what is about to be taken from a stream's ring to the log. Words:
//
//	0  1 while that is under way, 2 once the log has it, 0 when slot word 7 says so too
//	1  the position in the stream up to which it goes
//	2  size of the log before
//	3  the time in the log lines, ns
//	4  the position in the stream from which it goes
type Note struct {
	page  *page.Page
	first int
}

const (
	noteBegun   = 1
	noteWritten = 2
)

// RingIntent is what was about to be taken from a ring to the log.
type RingIntent struct {
	From, To  uint64 // positions in the stream
	LogBefore int64
	Time      time.Time // in the log's lines
	Written   bool      // the log has it
}

// Begin notes that what lies from from to to is about to be logged.
func (n *Note) Begin(from, to uint64, logBefore int64, at time.Time) {
	n.page.Store(n.first+4, from)
	n.page.Store(n.first+1, to)
	n.page.Store(n.first+2, uint64(logBefore))
	n.page.Store(n.first+3, uint64(at.UnixNano()))
	n.page.Store(n.first, noteBegun)
}

// Written notes that the log has it.
func (n *Note) Written() { n.page.Store(n.first, noteWritten) }

// End ends the note, once Slot.Pass says so too.
func (n *Note) End() { n.page.Store(n.first, 0) }

// Unfinished returns what a predecessor left between begin and end, nil if there is nothing.
func (n *Note) Unfinished() *RingIntent {
	state := n.page.Load(n.first)
	if state == 0 {
		return nil
	}
	return &RingIntent{From: n.page.Load(n.first + 4), To: n.page.Load(n.first + 1), LogBefore: int64(n.page.Load(n.first + 2)),
		Time: time.Unix(0, int64(n.page.Load(n.first+3))), Written: state == noteWritten}
}
