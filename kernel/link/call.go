package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// nobody is who a Call's socket belongs to: the user that has no rights, on every Linux.
const nobody = 65534

// Call is one TCP connection to an address inside the network namespace of a process, from that address or, for loopback,
// from loopback: no packet of it leaves the namespace. To the namespace's packet filters (skuid, owner) it is user 65534,
// whatever pierd is.
type Call struct {
	// Process is the one whose namespace it is, as pidfd.Open gives it; borrowed.
	Process *os.File
	To      netip.AddrPort
	// Say is what to send where the connection is there at once, as it is on loopback; nil for nothing.
	Say []byte

	// Err is why there is no connection: NotFound where the process is gone, Invalid where To is no address of the namespace,
	// else what the kernel says. Refused knows it where nobody listens.
	Err error
	// Connected tells that the connection is there, and that Say was sent. Without it Conn has to be Settled.
	Connected bool

	fd int
}

// Conn is the connection of a call without Err: it belongs to the caller, who closes it, and keeps the namespace alive.
// Deadlines work on it. Either it or Drop is called, once.
func (c *Call) Conn() *os.File { return os.NewFile(uintptr(c.fd), "tcp to "+c.To.String()) }

// Drop closes the connection of a call without Err whose Conn nobody wants.
func (c *Call) Drop() { _ = unix.Close(c.fd) }

// PlaceCalls begins all calls, one after the other, on a thread that visits their namespaces. It waits for no other side.
// Linux >= 5.8 (setns on a process).
func PlaceCalls(calls []Call) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // others read from it in which namespace this program is
			PlaceCalls(calls)
			runtime.UnlockOSThread()
			return
		}
		if placeCalls(calls) == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with the goroutine: nobody else may run where it is
	}()
	<-done
}

// placeCalls returns an error where the thread did not come home.
func placeCalls(calls []Call) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		for i := range calls {
			calls[i].Err = fmt.Errorf("open the network namespace: %w", err)
		}
		return nil
	}
	defer home.Close()
	for i := range calls {
		c := &calls[i]
		if c.Err = enter(c.Process); c.Err == nil {
			c.Err = c.place()
		}
	}
	return setns(home)
}

// enter moves the thread into the network namespace of a process.
func enter(process *os.File) error {
	raw, err := process.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return err
	}
	if errors.Is(failed, unix.ESRCH) {
		return errkind.New(errkind.NotFound, "enter the network namespace of a process: it has ended")
	}
	return failed
}

// place begins the call; the thread is inside the namespace.
func (c *Call) place() (err error) {
	domain, to := sockaddr(c.To)
	if c.fd, err = socket("tcp", domain); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.Drop()
		}
	}()
	if err := unix.Fchown(c.fd, nobody, nobody); err != nil { // which the packets say from the first one
		return err
	}
	if !c.To.Addr().IsLoopback() {
		// What is not this namespace's own cannot be bound; and where a sysctl lets it be, nobody can answer there.
		_, own := sockaddr(netip.AddrPortFrom(c.To.Addr(), 0))
		if err := unix.Bind(c.fd, own); err != nil {
			return errkind.New(errkind.Invalid, "%s is no address of the container", c.To.Addr())
		}
	}
	if err := unix.Connect(c.fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	// On loopback all three packets have been exchanged by now, though connect did not wait for them.
	if there, err := reached(c.fd); err != nil || !there {
		return err
	}
	if len(c.Say) > 0 { // a new socket takes it whole
		if _, err := unix.SendmsgN(c.fd, c.Say, nil, nil, unix.MSG_NOSIGNAL); err != nil {
			return err
		}
	}
	c.Connected = true
	return nil
}

// Settled waits until conn, of a Call, is connected, or for its deadline. Where nobody listens, Refused says so of the error.
func Settled(conn *os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) (there bool) {
		there, failed = reached(int(fd))
		return there || failed != nil // if not, the runtime waits and calls again
	})
	return errors.Join(err, failed)
}

// reached reports whether a socket is connected. One that the kernel, by a port of its own choice, connected to itself
// (RFC 9293, 3.5, simultaneous open) was refused: nobody else listens there.
func reached(fd int) (there bool, err error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p, 0); n == 0 || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		return false, err
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return false, err
	}
	if peer, err := unix.Getpeername(fd); err == nil && same(own, peer) {
		return false, unix.ECONNREFUSED
	}
	return true, nil
}

func same(a, b unix.Sockaddr) bool {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		b, ok := b.(*unix.SockaddrInet4)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	case *unix.SockaddrInet6:
		b, ok := b.(*unix.SockaddrInet6)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	}
	return false
}
