package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Dial connects from home as net.DialTimeout does.
func (m *Manager) Dial(kind, address string, timeout time.Duration) (c net.Conn, err error) {
	if m.resident {
		return net.DialTimeout(kind, address, timeout)
	}
	err = m.run(nil, func(*thread) error {
		c, err = net.DialTimeout(kind, address, timeout)
		return err
	})
	return c, err
}

// ListenTCP listens at an address of ns, or of home if ns is nil; kind is "tcp4" or "tcp6". Conflict where the port is
// taken, Invalid where there is no such address.
func (m *Manager) ListenTCP(ns *os.File, kind, address string) (l *net.TCPListener, err error) {
	err = m.run(ns, func(*thread) error {
		var any net.Listener
		if any, err = net.Listen(kind, address); err == nil {
			l = any.(*net.TCPListener)
		}
		return err
	})
	return l, classify(err)
}

// ListenUDP is ListenTCP for datagrams; kind is "udp4" or "udp6".
func (m *Manager) ListenUDP(ns *os.File, kind, address string) (l *net.UDPConn, err error) {
	err = m.run(ns, func(*thread) error {
		var any net.PacketConn
		if any, err = net.ListenPacket(kind, address); err == nil {
			l = any.(*net.UDPConn)
		}
		return err
	})
	return l, classify(err)
}

// Refused reports whether err says that nobody listens at the other end.
func Refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// classify gives errors of bind their kind.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return errkind.New(errkind.Conflict, "%w", err)
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EACCES):
		return errkind.New(errkind.Invalid, "%w", err)
	}
	return err
}

// Isolate moves the calling goroutine, for good, to a thread in a network namespace of its own, with its loopback up:
// a Manager made there has it as its home. The namespace ends with the goroutine and what was opened in it. It is for
// tests, which must not touch the machine's network.
func Isolate() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	t := &thread{}
	defer t.close()
	if err := t.connect(); err != nil {
		return err
	}
	return t.raiseLoopback(t.routes)
}
