package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Dial connects from home to an address and port; kind is "tcp" or "udp". Only the socket is made on a thread of the
// Manager: waiting for the other side holds none.
func (m *Manager) Dial(kind string, to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	var f *os.File
	err := m.run(nil, func(*thread) (err error) {
		f, err = connect(kind, to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	defer f.Close() // net.FileConn makes a duplicate
	if err := connected(f, timeout); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return c, nil
}

// connect makes a socket that is on its way to to.
func connect(kind string, to netip.AddrPort) (*os.File, error) {
	domain, addr := sockaddr(to)
	fd, err := socket(kind, domain)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, addr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), kind+" to "+to.String()), nil
}

// connected waits for the end of what connect began.
func connected(f *os.File, timeout time.Duration) error {
	if err := f.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return Settled(f)
}

// socket makes a socket that does not block; kind is "tcp" or "udp".
func socket(kind string, domain int) (fd int, err error) {
	how := unix.SOCK_DGRAM
	if kind == "tcp" {
		how = unix.SOCK_STREAM
	}
	return unix.Socket(domain, how|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

func sockaddr(a netip.AddrPort) (domain int, s unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
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
	return raiseLoopback()
}
