package supervisor

import (
	"time"

	"pier/api/shim"
	"pier/kernel/page"
)

// The journal is one mapped page per task. Every store is visible to a successor at once, in order, whatever happens to
// this process. Words:
//
//	0        layout version
//	1        flags
//	2, 3, 4  pid (0: not started yet), start time, wall clock of the start in ns
//	5        length of the record
//	6, 7     exit: 1 << 63 | unknown << 33 | OOM << 32 | code (0: none yet), wall clock of the exit in ns
//	8..15    slot of standard output
//	16..23   slot of standard error
//	24..     the record (see record), JSON
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

	journalVersion = 1

	flagStdinClosed = 1
	flagFrozen      = 2
	flagTracers     = 4

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
	if p.Load(wordVersion) == 0 {
		p.Store(wordVersion, journalVersion)
	}
	return &journal{page: p}, nil
}

func (j *journal) flag(f uint64) bool { return j.page.Load(wordFlags)&f != 0 }

// setFlag is called with Supervisor.mu held.
func (j *journal) setFlag(f uint64, on bool) {
	v := j.page.Load(wordFlags) &^ f
	if on {
		v |= f
	}
	j.page.Store(wordFlags, v)
}

// started notes the process. The pid is the last word: where it is set, the others are.
func (j *journal) started(pid int, startTime uint64, at time.Time) {
	j.page.Store(wordStartTime, startTime)
	j.page.Store(wordStartedAt, uint64(at.UnixNano()))
	j.page.Store(wordPid, uint64(pid))
}

func (j *journal) process() (pid int, startTime uint64, at time.Time) {
	return int(j.page.Load(wordPid)), j.page.Load(wordStartTime), time.Unix(0, int64(j.page.Load(wordStartedAt)))
}

// setRecord stores the record. It reports false if text is too long for the page.
func (j *journal) setRecord(text []byte) bool {
	if len(text) > len(j.page.Bytes(wordRecord)) {
		return false
	}
	copy(j.page.Bytes(wordRecord), text)
	j.page.Store(wordRecordLen, uint64(len(text)))
	return true
}

// record returns a copy of what setRecord stored, nil if nothing is there.
func (j *journal) record() []byte {
	n := j.page.Load(wordRecordLen)
	if room := j.page.Bytes(wordRecord); n <= uint64(len(room)) {
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
//	0  bytes of the stream that are done with: sent, logged and out of the FIFO
//	1  the same at the time of the intent
//	2  the intent: number of bytes that are about to be logged and taken out; 0: none. Above bit 32: 1 once logged
//	3  size of the log before
//	4  the time in the log lines, ns
//	5  the last of the intent's bytes
//	6  its complement, until the FIFO is emptied: then that very system call stores the last byte here
type slot struct {
	page  *page.Page
	first int
}

const loggedBit = 1 << 32

type intent struct {
	bytes     int
	logged    bool
	logBefore int64
	time      time.Time
}

func (s *slot) done() uint64 { return s.page.Load(s.first) }

func (s *slot) begin(bytes int, last byte, logBefore int64, at time.Time) {
	s.page.Store(s.first+1, s.done())
	s.page.Store(s.first+3, uint64(logBefore))
	s.page.Store(s.first+4, uint64(at.UnixNano()))
	s.page.Store(s.first+5, uint64(last))
	s.page.Store(s.first+6, uint64(^last)*0x0101010101010101) // whichever byte of the word comes first in memory
	s.page.Store(s.first+2, uint64(bytes))
}

// logged notes that the log holds the intent's bytes.
func (s *slot) logged() { s.page.Store(s.first+2, s.page.Load(s.first+2)|loggedBit) }

// marker is where the call that empties the FIFO stores the last byte.
func (s *slot) marker() *byte { return s.page.Byte(s.first + 6) }

// commit ends the intent after the FIFO was emptied.
func (s *slot) commit() {
	s.page.Store(s.first, s.page.Load(s.first+1)+s.page.Load(s.first+2)&(loggedBit-1))
	s.page.Store(s.first+2, 0)
}

// drop ends the intent without its bytes, which are lost.
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
	return &intent{bytes: int(n & (loggedBit - 1)), logged: n&loggedBit != 0, logBefore: int64(s.page.Load(s.first + 3)),
		time: time.Unix(0, int64(s.page.Load(s.first+4)))}
}
