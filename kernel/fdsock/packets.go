package fdsock

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Packets makes a pair of connected sockets that keep the bounds of messages (SOCK_SEQPACKET): one for us, one for a program
// that we start. The caller closes both.
func Packets() (ours *net.UnixConn, theirs *os.File, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	f := os.NewFile(uintptr(p[0]), "packets")
	theirs = os.NewFile(uintptr(p[1]), "packets")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// ReceivePacket reads one message from c into buf, with its files, which belong to the caller. What is longer than buf is cut
// off. No bytes and no error: the other side has closed.
func ReceivePacket(c *net.UnixConn, buf []byte) (n int, files []*os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	files, parseErr := parseFiles(oob[:oobn])
	if err == nil {
		err = parseErr
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return 0, nil, err
	}
	return n, files, nil
}
