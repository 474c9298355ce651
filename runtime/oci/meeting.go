package oci

import (
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
)

// meeting is a point at which the child waits until the parent has done something for it: the child says that it is
// there and reads; a goroutine of the parent (whose thread is blocked in the clone) does the work and answers.
type meeting struct {
	what string
	work func(pid int) error

	childIn, childOut   *os.File // the child's ends: it reads the answer, it writes that it is there
	parentIn, parentOut *os.File
	done                chan error
}

// meet adds a meeting to the child's list.
func (s *start) meet(what string, work func(pid int) error) error {
	m := &meeting{what: what, work: work, done: make(chan error, 1)}
	s.meetings = append(s.meetings, m)
	var err error
	if m.parentIn, m.childOut, err = os.Pipe(); err != nil {
		return s.fail("open", "pipe", err)
	}
	if m.childIn, m.parentOut, err = os.Pipe(); err != nil {
		return s.fail("open", "pipe", err)
	}
	what = "wait for " + what
	s.write(what, "", s.File(m.childOut), "1")
	// The parent's ends are in the netpoller; the child's read must block, and end when the parent is gone.
	s.Add(what, "", unix.SYS_FCNTL, s.File(m.childIn), spawn.Int(unix.F_SETFL), spawn.Int(0))
	s.Add("close", "", unix.SYS_CLOSE, s.File(m.parentOut))
	answer := new(uint64)
	s.Add(what, "", unix.SYS_READ, s.File(m.childIn), spawn.Pointer(s.List, answer), spawn.Int(1))
	s.Check(what, "", spawn.Pointer(s.List, answer), 0xff, '1', unix.ECANCELED)
	return nil
}

// serve starts the parent's side.
func (m *meeting) serve(l *spawn.List) {
	go func() {
		var b [1]byte
		if _, err := m.parentIn.Read(b[:]); err != nil {
			m.done <- nil // the child never came so far; its own error says why
			return
		}
		pid, _ := l.Child()
		err := m.work(pid)
		b[0] = '1'
		if err != nil {
			b[0] = '0'
		}
		_, _ = m.parentOut.Write(b[:])
		m.done <- err
	}()
}

// result ends the meeting, after the clone has returned, and says what went wrong in it.
func (m *meeting) result() error {
	m.childOut.Close() // a child that died leaves the goroutine at the end of file
	return <-m.done
}

// close lets go of the pipes; more than once does no harm.
func (m *meeting) close() {
	for _, f := range []*os.File{m.childIn, m.childOut, m.parentIn, m.parentOut} {
		if f != nil {
			f.Close()
		}
	}
}
