package fdsock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// NewDeposit makes a pair of sockets for what has to outlive its owner. What is Put into one end stays open as long as keep,
// the other one, does: whatever becomes of who has put it there, and without anybody having read it. Neither is in the
// netpoller, so a message wakes nobody. The caller closes both.
func NewDeposit() (keep, put *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a deposit: %w", err)
	}
	_ = unix.SetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1) // without it nobody learns who has sent what
	return os.NewFile(uintptr(p[0]), "deposit"), os.NewFile(uintptr(p[1]), "deposit"), nil
}

// Put leaves a message of a kind with files, which stay the caller's. It never waits.
func Put(put *os.File, kind byte, files ...*os.File) error {
	err := fd.All(append([]*os.File{put}, files...), func(fds []int) error {
		return unix.Sendmsg(fds[0], []byte{kind}, unix.UnixRights(fds[1:]...), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return fmt.Errorf("put %d files in a deposit: %w", len(files), err)
	}
	return nil
}

// Deposited is one message in a deposit.
type Deposited struct {
	Kind  byte
	Files []*os.File
	// Sender is a pidfd of the process that sent it; nil where the kernel cannot tell (Linux < 6.5), or not any more, because
	// the process is reaped (Linux < 6.17).
	Sender *os.File
}

// Close closes the files that are still there.
func (d *Deposited) Close() {
	for _, f := range append(d.Files, d.Sender) {
		if f != nil {
			f.Close()
		}
	}
}

// Look returns what is in a deposit, and leaves it there for who looks next. One looks at a time. The caller closes what it
// gets.
func Look(keep *os.File) (all []Deposited, err error) {
	err = fd.With(keep, func(n int) error {
		if err := unix.SetsockoptInt(n, unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err != nil {
			return err
		}
		oob := make([]byte, unix.CmsgSpace(MaxFiles*4)+unix.CmsgSpace(4))
		for {
			var kind [1]byte
			k, oobn, _, _, err := unix.Recvmsg(n, kind[:], oob, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN || err == nil && k == 0 { // nothing more; nobody is left who could put something there
				return nil
			}
			if err != nil {
				return err
			}
			d := Deposited{Kind: kind[0]}
			d.Files, err = parseFiles(oob[:oobn])
			d.Sender = parseSender(oob[:oobn])
			all = append(all, d)
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		for i := range all {
			all[i].Close()
		}
		return nil, fmt.Errorf("look into a deposit: %w", err)
	}
	return all, nil
}

// parseSender returns the pidfd among control messages, nil if there is none.
func parseSender(oob []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		h := &messages[i].Header
		if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_PIDFD {
			continue
		}
		h.Type = unix.SCM_RIGHTS // the same form
		fds, err := unix.ParseUnixRights(&messages[i])
		if err == nil && len(fds) == 1 && int32(fds[0]) >= 0 { // else it is an error's number
			return os.NewFile(uintptr(fds[0]), "sender")
		}
	}
	return nil
}

// Copy returns a descriptor of its own of what keep has open.
func Copy(keep *os.File) (c *os.File, err error) {
	err = fd.With(keep, func(n int) error {
		own, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			c = os.NewFile(uintptr(own), keep.Name())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", keep.Name(), err)
	}
	return c, nil
}
