package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// workers bounds the threads of one Manager. The kernel serialises most of the work by one lock, so that more do not
// help.
const workers = 4

// Manager works on network namespaces: its home, which is that of the thread that called New, and others. It is safe
// for concurrent use. Its threads are made when needed and end with Close.
type Manager struct {
	home *os.File
	jobs chan job
	quit chan struct{}

	spare spareList

	mu      sync.Mutex // guards the fields that follow
	running int
	idle    int
	closed  bool
	done    sync.WaitGroup
}

// job is one piece of work for a thread; ns nil means home.
type job struct {
	ns   *os.File
	work func(*thread) error
	done chan error
}

// thread is what a worker goroutine knows of its operating-system thread.
type thread struct {
	m      *Manager
	routes *netlink.Handle // in the home namespace, for what is seldom done
	// sockets is another connection at home, for messages that the library does not build.
	sockets map[int]*nl.SocketHandle
	sysctl  *os.File // /proc/sys, verified
}

// New returns a Manager whose home is the calling thread's network namespace. The caller closes it.
func New() (*Manager, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &Manager{home: home, jobs: make(chan job), quit: make(chan struct{})}, nil
}

// Close ends the threads, once those that work are done. Namespaces and links stay.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	close(m.quit)
	m.mu.Unlock()
	m.spare.close()
	m.done.Wait()
	return m.home.Close()
}

// Do calls f on a thread inside ns, or inside home if ns is nil. Sockets that f opens belong to that namespace; f must
// not start goroutines that rely on it, nor call the Manager. The error is f's own.
func (m *Manager) Do(ns *os.File, f func() error) error {
	return m.run(ns, func(*thread) error { return f() })
}

func (m *Manager) run(ns *os.File, work func(*thread) error) error {
	j := job{ns: ns, work: work, done: make(chan error, 1)}
	m.mu.Lock()
	if m.idle == 0 && m.running < workers && !m.closed {
		m.running++
		m.idle++
		m.done.Go(m.worker)
	}
	m.idle--
	m.mu.Unlock()
	select {
	case m.jobs <- j:
		return <-j.done
	case <-m.quit:
		return errkind.New(errkind.Unavailable, "network: the manager is closed")
	}
}

// worker serves jobs on a thread of its own until Close. The thread ends with the goroutine, which stays locked to it:
// no other goroutine may run in its namespace. After a failure to come home the next job gets a new one.
func (m *Manager) worker() {
	runtime.LockOSThread()
	t := &thread{m: m}
	defer t.close()
	err := t.open()
	for {
		var j job
		select {
		case j = <-m.jobs:
		case <-m.quit:
			return
		}
		if err != nil {
			j.done <- err
		} else {
			err = t.serve(j)
		}
		m.mu.Lock()
		if err != nil {
			m.running--
			m.mu.Unlock()
			return
		}
		m.idle++
		m.mu.Unlock()
	}
}

func (t *thread) open() error {
	if err := setns(t.m.home); err != nil {
		return err
	}
	return t.connect()
}

// connect opens what the thread needs in the namespace that it is in.
func (t *thread) connect() (err error) {
	if t.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	t.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	t.sysctl, err = openSysctl()
	return err
}

func (t *thread) close() {
	if t.routes != nil {
		t.routes.Close()
	}
	for _, s := range t.sockets {
		s.Close()
	}
	if t.sysctl != nil {
		_ = t.sysctl.Close()
	}
}

// serve does one job and brings the thread home. Its error means that the thread is lost; the job's own goes to the
// one who waits.
func (t *thread) serve(j job) error {
	if j.ns != nil {
		if err := setns(j.ns); err != nil {
			j.done <- err
			return nil
		}
	}
	err := j.work(t)
	back := setns(t.m.home)
	j.done <- errors.Join(err, back)
	return back
}

func setns(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}
