package fdsock

import (
	"net"

	"golang.org/x/sys/unix"
)

// Unread reports whether something that was written to a unix stream socket waits for the other side to read it
// (SIOCOUTQ, see unix(7)). What a side that is gone has not read counts as read.
func Unread(c *net.UnixConn) (bool, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var failed error
	if err := raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
		return false, err
	}
	return n > 0, failed
}
