package fdsock

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// NewPair makes a connected pair of stream sockets: ours is to be used here, theirs to be sent to another process, which
// makes a connection of it with FromFile. The caller closes both.
func NewPair() (ours *Conn, theirs *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	theirs = os.NewFile(uintptr(p[1]), "stream")
	mine := os.NewFile(uintptr(p[0]), "stream")
	defer mine.Close()
	if ours, err = FromFile(mine); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// FromFile makes a connection of a socket that was received. It has a descriptor of its own: f stays the caller's.
func FromFile(f *os.File) (*Conn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use %s as a connection: %w", f.Name(), err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errkind.New(errkind.Invalid, "%s is no unix socket", f.Name())
	}
	return NewConn(u), nil
}

// WriteNow writes as much of p as c takes without waiting, and returns how much that was. What kept it from taking more
// shows in the next Write.
func WriteNow(c *net.UnixConn, p []byte) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Write(func(fd uintptr) bool {
		taken, err := unix.SendmsgN(int(fd), p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == nil {
			n = taken
		}
		return true
	})
	return n
}
