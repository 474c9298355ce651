package link

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Making an empty namespace is half the work of a start with a network and all without. So a Manager that has made one
// keeps a few more for the next ones. They hold nothing but their loopback, nobody can find them, and they
// are gone with the process, however it ends.
const (
	spares = 2
	// spareDelay keeps the making of spares out of the way of what the last namespace was made for. It does not begin
	// anew with every start, so that starts in a row find spares too.
	spareDelay = 8 * time.Millisecond
)

// spareList holds namespaces as blank leaves them.
type spareList struct {
	mu     sync.Mutex // guards the fields that follow
	list   []*os.File
	refill *time.Timer // pending, or nil
	closed bool
}

// take returns a spare, or nil.
func (l *spareList) take() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.list)
	if n == 0 {
		return nil
	}
	ns := l.list[n-1]
	l.list = l.list[:n-1]
	return ns
}

// put keeps ns, unless there are enough, and reports whether more are wanted.
func (l *spareList) put(ns *os.File) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.list) >= spares {
		_ = ns.Close()
		return false
	}
	l.list = append(l.list, ns)
	return len(l.list) < spares
}

// later calls f once after spareDelay; calls until then are one with the first.
func (l *spareList) later(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.refill != nil {
		return
	}
	l.refill = time.AfterFunc(spareDelay, func() {
		l.mu.Lock()
		l.refill = nil
		l.mu.Unlock()
		f()
	})
}

func (l *spareList) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.refill != nil {
		l.refill.Stop()
	}
	for _, ns := range l.list {
		_ = ns.Close()
	}
	l.list = nil
}

// makeSpares fills the list, one namespace at a time, so that other work on the thread is not held up.
func (m *Manager) makeSpares() {
	for more := true; more; {
		var ns *os.File
		err := m.run(nil, func(t *thread) (err error) {
			ns, err = t.blank()
			return err
		})
		if err != nil {
			return // the next start says why
		}
		more = m.spare.put(ns)
	}
}

// initial is what every namespace has before its first device, which takes some of it over.
var initial = [...][2]string{
	{"net.ipv6.conf.default.accept_ra", "0"}, {"net.ipv6.conf.default.disable_ipv6", "1"},
	// No capability is needed for ports below 1024 or for ping in a namespace of one's own.
	{"net.ipv4.ip_unprivileged_port_start", "0"}, {"net.ipv4.ping_group_range", "0 2147483647"},
}

// blank takes the thread into a new namespace, with its loopback up, and returns it.
func (t *thread) blank() (_ *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	for _, c := range initial {
		if err = t.set(c[0], c[1]); err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 in this kernel
			_ = ns.Close()
			return nil, err
		}
	}
	if err = raiseLoopback(); err != nil {
		_ = ns.Close()
		return nil, err
	}
	return ns, nil
}

// fresh takes the thread into a namespace as blank makes it.
func (t *thread) fresh() (*os.File, error) {
	ns := t.m.spare.take()
	if ns == nil {
		return t.blank()
	}
	if err := setns(ns); err != nil {
		_ = ns.Close()
		return nil, err
	}
	return ns, nil
}
