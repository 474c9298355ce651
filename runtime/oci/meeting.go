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
func (t *task) meet(what string, work func(pid int) error) error {
	m, err := t.arrange(what, work)
	if err == nil {
		m.arrive(t.builder)
		m.await(t.builder)
	}
	return err
}

// arrange makes a meeting to which arrive and await are yet to be added.
func (t *task) arrange(what string, work func(pid int) error) (*meeting, error) {
	m := &meeting{what: what, work: work, done: make(chan error, 1)}
	t.meetings = append(t.meetings, m)
	var err error
	if m.parentIn, m.childOut, err = os.Pipe(); err != nil {
		return nil, t.fail("open", "pipe", err)
	}
	if m.childIn, m.parentOut, err = os.Pipe(); err != nil {
		return nil, t.fail("open", "pipe", err)
	}
	return m, nil
}

// arrive adds that the child says it is there. The parent's work begins.
func (m *meeting) arrive(b *builder) {
	what := "wait for " + m.what
	b.write(what, "", b.File(m.childOut), "1")
	// The parent's ends are in the netpoller; the child's read must block, and end when the parent is gone.
	b.Add(what, "", unix.SYS_FCNTL, b.File(m.childIn), spawn.Int(unix.F_SETFL), spawn.Int(0))
}

// await adds the child's wait for the end of the work.
func (m *meeting) await(b *builder) {
	what := "wait for " + m.what
	b.Add("close", "", unix.SYS_CLOSE, b.File(m.parentOut)).Tolerate(unix.EBADF)
	answer := new(uint64)
	b.Add(what, "", unix.SYS_READ, b.File(m.childIn), spawn.Pointer(b.List, answer), spawn.Int(1))
	b.Check(what, "", spawn.Pointer(b.List, answer), 0xff, '1', unix.ECANCELED)
}

// serve starts the parent's side.
func (m *meeting) serve(l *spawn.List) {
	go func() {
		var b [1]byte
		if _, err := m.parentIn.Read(b[:]); err != nil {
			m.done <- nil // the child never came so far; its own error says why
			return
		}
		pid := l.Child()
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
