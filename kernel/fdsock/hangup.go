package fdsock

import "golang.org/x/sys/unix"

// HungUp reports whether the other side has closed and has left nothing to read. It does not wait.
func (c *Conn) HungUp() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true // we have closed it
	}
	var n int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, failed = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}); err != nil {
		return true
	}
	return failed == nil && n == 0 || failed == unix.ECONNRESET
}

// AwaitHangUp returns nil when the other side has closed, and takes nothing from the socket. A frame that arrives, and a
// read deadline, end it with an error. It may not run at the same time as Receive.
func (c *Conn) AwaitHangUp() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var failed error
	if err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, failed = unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN && failed != unix.EINTR
	}); err != nil {
		return err
	}
	if failed == unix.ECONNRESET {
		return nil
	}
	if failed == nil && n > 0 {
		return unix.EBUSY
	}
	return failed
}
