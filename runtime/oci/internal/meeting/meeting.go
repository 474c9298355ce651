// Package meeting lets a child that works through its list of system calls wait for its parent: the child says that it is
// there and reads; a goroutine of the parent (whose thread is blocked in the clone) does the work and answers.
//
// Start reading at New.
package meeting

import (
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/runtime/oci/internal/calls"
)

// Meeting is one point at which a child waits. The steps come in this order: Arrive and Await add to the child's list,
// Serve before that is run, Result after it has been, Close at any time after New.
type Meeting struct {
	what string
	work func(pid int) error

	childIn, childOut   *os.File // the child's ends: it reads the answer, it writes that it is there
	parentIn, parentOut *os.File
	done                chan error
}

// New arranges a meeting at which work is done for the child of number pid, which waits all the while. what says in errors
// what the child waits for.
func New(what string, work func(pid int) error) (m *Meeting, err error) {
	m = &Meeting{what: what, work: work, done: make(chan error, 1)}
	if m.parentIn, m.childOut, err = os.Pipe(); err != nil {
		return nil, err
	}
	if m.childIn, m.parentOut, err = os.Pipe(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// What is what the child waits for.
func (m *Meeting) What() string { return m.what }

// Arrive adds that the child says it is there. The parent's work begins.
func (m *Meeting) Arrive(b *calls.Builder) {
	what := "wait for " + m.what
	b.Write(what, "", b.File(m.childOut), "1")
	// The parent's ends are in the netpoller; the child's read must block, and end when the parent is gone.
	b.Add(what, "", unix.SYS_FCNTL, b.File(m.childIn), spawn.Int(unix.F_SETFL), spawn.Int(0))
}

// Await adds the child's wait for the end of the work.
func (m *Meeting) Await(b *calls.Builder) {
	what := "wait for " + m.what
	b.Add("close", "", unix.SYS_CLOSE, b.File(m.parentOut)).Tolerate(unix.EBADF)
	answer := new(uint64)
	b.Add(what, "", unix.SYS_READ, b.File(m.childIn), spawn.Pointer(b.List, answer), spawn.Int(1))
	b.Check(what, "", spawn.Pointer(b.List, answer), 0xff, '1', unix.ECANCELED)
}

// Serve starts the parent's side of the meeting that l holds.
func (m *Meeting) Serve(l *spawn.List) {
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

// Result ends the meeting, after the clone has returned, and says what went wrong in it.
func (m *Meeting) Result() error {
	m.childOut.Close() // a child that died leaves the goroutine at the end of file
	return <-m.done
}

// Descriptors are the child's own ends, which it needs until it has met its parent.
func (m *Meeting) Descriptors() []int { return []int{calls.FD(m.childIn), calls.FD(m.childOut)} }

// Close lets go of the pipes; more than once does no harm.
func (m *Meeting) Close() {
	for _, f := range []*os.File{m.childIn, m.childOut, m.parentIn, m.parentOut} {
		if f != nil {
			f.Close()
		}
	}
}
