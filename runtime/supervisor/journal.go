package supervisor

import (
	"os"
	"path/filepath"
	"time"

	"pier/api/shim"
	"pier/kernel/page"
)

// The journal is one mapped page per task. Every store is visible to a successor at once, in order, whatever happens to
// this process. Words:
//
//	0        layout version
//	1        flags
//	2, 3, 4  pid (0: not made yet), start time (0: has not executed its program yet), wall clock of the start in ns
//	5        length of the record
//	6, 7     exit: 1 << 63 | unknown << 33 | OOM << 32 | code (0: none yet), wall clock of the exit in ns
//	8..15    slot of standard output
//	16..23   slot of standard error
//	24..495  the record (see record), JSON
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

	flagStdinClosed = 1
	flagFrozen      = 2
	flagTracers     = 4
	flagDoomed      = 8 // everything in the container is to be killed

	exitSet     = 1 << 63
	exitUnknown = 1 << 33
	exitOOM     = 1 << 32
)

type journal struct{ page *page.Page }

func openJournal(path string) (*journal, error) {
	p, err := page.Open(path)
	if err != nil {
		return nil, err
	}
	j := &journal{page: p}
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
func (j *journal) convert(dir string) error {
	if n := j.page.Load(wordRecordLen); n > uint64(len(j.room())) { // it reaches into the notes
		if err := os.WriteFile(filepath.Join(dir, "task.json"), j.page.Bytes(wordRecord)[:n], 0o600); err != nil {
			return err
		}
		j.page.Store(wordRecordLen, 0)
		clear(j.page.Bytes(wordNotes))
	}
	for i := range 2 {
		s := j.slot(i)
		s.page.Store(s.first+7, s.done())
	}
	return nil
}

// room is where the record lies.
func (j *journal) room() []byte { return j.page.Bytes(wordRecord)[:(wordNotes-wordRecord)*8] }

func (j *journal) flag(f uint64) bool { return j.page.Load(wordFlags)&f != 0 }

// setFlag is called with Supervisor.mu held.
func (j *journal) setFlag(f uint64, on bool) {
	v := j.page.Load(wordFlags) &^ f
	if on {
		v |= f
	}
	j.page.Store(wordFlags, v)
}

// pidWord is where the kernel stores the number of the process before that makes its first step.
func (j *journal) pidWord() *int32 { return j.page.Int32(wordPid) }

// runWord is where the kernel stores that the process was about to execute its program. One that is gone and is not noted
// here has never run it.
func (j *journal) runWord() *uint64 { return j.page.Uint64(wordRun) }

func (j *journal) ran() bool { return j.page.Load(wordRun) != 0 }

// started notes the process. The start time is the last word: where it is set, the program was executed.
func (j *journal) started(pid int, startTime uint64, at time.Time) {
	j.page.Store(wordPid, uint64(pid))
	j.page.Store(wordStartedAt, uint64(at.UnixNano()))
	j.page.Store(wordStartTime, startTime)
}

func (j *journal) process() (pid int, startTime uint64, at time.Time) {
	return int(j.page.Load(wordPid)), j.page.Load(wordStartTime), time.Unix(0, int64(j.page.Load(wordStartedAt)))
}

// setRecord stores the record. It reports false if text is too long for the page.
func (j *journal) setRecord(text []byte) bool {
	if len(text) > len(j.room()) {
		return false
	}
	copy(j.room(), text)
	j.page.Store(wordRecordLen, uint64(len(text)))
	return true
}

// record returns a copy of what setRecord stored, nil if nothing is there.
func (j *journal) record() []byte {
	n := j.page.Load(wordRecordLen)
	if room := j.room(); n <= uint64(len(room)) {
		return append([]byte(nil), room[:n]...)
	}
	return nil
}

// exited notes how the process ended, in one store after all else.
func (j *journal) exited(e *shim.Exit) {
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

// exit returns what exited noted, nil if the task has not ended.
func (j *journal) exit(ref shim.TaskRef) *shim.Exit {
	v := j.page.Load(wordExit)
	if v&exitSet == 0 {
		return nil
	}
	pid, _, _ := j.process()
	return &shim.Exit{TaskRef: ref, Pid: pid, Code: int(int32(uint32(v))), Unknown: v&exitUnknown != 0, OOM: v&exitOOM != 0,
		At: time.Unix(0, int64(j.page.Load(wordExitedAt)))}
}

func (j *journal) slot(stream int) *slot {
	return &slot{page: j.page, first: wordSlots + stream*slotWords}
}

// slot is the part of the journal that one output stream owns. Words:
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
type slot struct {
	page  *page.Page
	first int
}

const (
	loggedBit = 1 << 32
	ringBit   = 1 << 33
	bytesMask = loggedBit - 1
)

type intent struct {
	bytes     int
	logged    bool
	ring      bool
	logBefore int64
	time      time.Time
}

func (s *slot) done() uint64 { return s.page.Load(s.first) }

// inLog is word 7.
func (s *slot) inLog() uint64 { return s.page.Load(s.first + 7) }

// pass moves word 7 on to a later position.
func (s *slot) pass(to uint64) { s.page.Store(s.first+7, max(to, s.inLog())) }

// begin notes the intent to log the next bytes.
func (s *slot) begin(bytes int, last byte, logBefore int64, at time.Time) {
	s.page.Store(s.first+3, uint64(logBefore))
	s.page.Store(s.first+4, uint64(at.UnixNano()))
	s.intend(uint64(bytes), last)
}

// beginRing notes the intent to take out the next bytes, which are in the ring already.
func (s *slot) beginRing(bytes int, last byte) { s.intend(uint64(bytes)|ringBit, last) }

func (s *slot) intend(what uint64, last byte) {
	s.page.Store(s.first+1, s.done())
	s.page.Store(s.first+5, uint64(last))
	s.page.Store(s.first+6, uint64(^last)*0x0101010101010101) // whichever byte of the word comes first in memory
	s.page.Store(s.first+2, what)
}

// logged notes that the log holds the intent's bytes.
func (s *slot) logged() { s.page.Store(s.first+2, s.page.Load(s.first+2)|loggedBit) }

// marker is where the call that empties the FIFO stores the last byte.
func (s *slot) marker() *byte { return s.page.Byte(s.first + 6) }

// commit ends the intent after the FIFO was emptied. Cut off in the middle it can be done again.
func (s *slot) commit() {
	what, done := s.page.Load(s.first+2), s.page.Load(s.first+1)
	done += what & bytesMask
	s.page.Store(s.first, done)
	if what&ringBit == 0 {
		s.page.Store(s.first+7, done)
	}
	s.page.Store(s.first+2, 0)
}

// drop ends the intent without having done it.
func (s *slot) drop() { s.page.Store(s.first+2, 0) }

// unfinished returns the intent that a predecessor left between begin and the emptying of the FIFO, nil if there is none.
func (s *slot) unfinished() *intent {
	n := s.page.Load(s.first + 2)
	if n == 0 {
		return nil
	}
	if *s.marker() == byte(s.page.Load(s.first+5)) {
		s.commit()
		return nil
	}
	return &intent{bytes: int(n & bytesMask), logged: n&loggedBit != 0, ring: n&ringBit != 0,
		logBefore: int64(s.page.Load(s.first + 3)), time: time.Unix(0, int64(s.page.Load(s.first+4)))}
}

func (j *journal) note(stream int) *ringNote {
	return &ringNote{page: j.page, first: wordNotes + stream*slotWords}
}

// ringNote is the part of the journal that says what is about to be taken from a stream's ring to the log. Words:
//
//	0  1 while that is under way, 2 once the log has it, 0 when slot word 7 says so too
//	1  the position in the stream up to which it goes
//	2  size of the log before
//	3  the time in the log lines, ns
//	4  the position in the stream from which it goes
type ringNote struct {
	page  *page.Page
	first int
}

const (
	noteBegun   = 1
	noteWritten = 2
)

type ringIntent struct {
	from, to  uint64
	logBefore int64
	time      time.Time
	written   bool
}

func (n *ringNote) begin(from, to uint64, logBefore int64, at time.Time) {
	n.page.Store(n.first+4, from)
	n.page.Store(n.first+1, to)
	n.page.Store(n.first+2, uint64(logBefore))
	n.page.Store(n.first+3, uint64(at.UnixNano()))
	n.page.Store(n.first, noteBegun)
}

func (n *ringNote) written() { n.page.Store(n.first, noteWritten) }

func (n *ringNote) end() { n.page.Store(n.first, 0) }

// unfinished returns what a predecessor left between begin and end, nil if there is nothing.
func (n *ringNote) unfinished() *ringIntent {
	state := n.page.Load(n.first)
	if state == 0 {
		return nil
	}
	return &ringIntent{from: n.page.Load(n.first + 4), to: n.page.Load(n.first + 1), logBefore: int64(n.page.Load(n.first + 2)),
		time: time.Unix(0, int64(n.page.Load(n.first+3))), written: state == noteWritten}
}
