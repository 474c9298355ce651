package tty

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
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
