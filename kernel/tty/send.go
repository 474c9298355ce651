package tty

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// Send hands a terminal's master to whoever listens on the unix socket at path, as OCI runtimes do it (--console-socket):
// one message with the descriptor, its payload the master's name. The caller still closes master.
func Send(path string, master *os.File) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return fmt.Errorf("send terminal: %w", err)
	}
	defer conn.Close()
	err = fd.With(master, func(n int) error {
		_, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(n), nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("send terminal to %s: %w", path, err)
	}
	return nil
}

// Receive takes the master that a runtime sends on conn (Send's other side). The caller closes it.
func Receive(conn *net.UnixConn) (*os.File, error) {
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, flags, _, err := conn.ReadMsgUnix(name, rights)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 || flags&unix.MSG_CTRUNC != 0 {
		return nil, errkind.New(errkind.Invalid, "receive terminal: the message holds no single descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errkind.New(errkind.Invalid, "receive terminal: the message holds no single descriptor")
	}
	return master(fds[0])
}

// Adopt makes a master of f, which came from another program and is closed.
func Adopt(f *os.File) (*os.File, error) {
	defer f.Close()
	var own int
	err := fd.With(f, func(n int) (err error) {
		own, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return master(own)
}

// master makes a descriptor a file that is fit for the netpoller.
func master(n int) (*os.File, error) {
	if err := unix.SetNonblock(n, true); err != nil {
		unix.Close(n)
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	unix.CloseOnExec(n)
	return os.NewFile(uintptr(n), "ptmx"), nil
}
