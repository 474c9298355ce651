// Package fdsock sends frames and open files over a unix stream socket.
//
// A frame is four bytes of length, big endian, then the payload. Files ride on the first byte of their frame; the
// receiver gets its own descriptors of the same open files, close-on-exec.
//
// Start reading at Conn.
package fdsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// MaxFiles is how many files one frame can carry (SCM_MAX_FD).
const MaxFiles = 253

const headerSize = 4

// Conn is one end of a socket. One goroutine may send while another receives; further ones wait their turn.
type Conn struct {
	conn    *net.UnixConn
	sending sync.Mutex // one frame at a time
	reading sync.Mutex // one frame at a time
}

// NewConn takes over c: Close closes it, and nobody else reads or writes it before Receive or Send are done with.
func NewConn(c *net.UnixConn) *Conn { return &Conn{conn: c} }

// NetConn returns the socket, for deadlines and for the stream that may follow the frames. Conn reads nothing ahead.
func (c *Conn) NetConn() *net.UnixConn { return c.conn }

// Close closes the socket; blocked calls return.
func (c *Conn) Close() error { return c.conn.Close() }

// Send writes one frame with files, which stay the caller's. After an error the connection is of no more use.
func (c *Conn) Send(payload []byte, files ...*os.File) error {
	if len(files) > MaxFiles {
		return errkind.New(errkind.Invalid, "send a frame with %d files: at most %d fit", len(files), MaxFiles)
	}
	frame := make([]byte, headerSize, headerSize+len(payload))
	binary.BigEndian.PutUint32(frame, uint32(len(payload)))
	frame = append(frame, payload...)
	c.sending.Lock()
	defer c.sending.Unlock()
	if len(files) == 0 {
		_, err := c.conn.Write(frame)
		return err
	}
	return fd.All(files, func(fds []int) error {
		n, _, err := c.conn.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
		if err != nil || n == len(frame) {
			return err
		}
		_, err = c.conn.Write(frame[n:]) // a stream takes as much as its buffer holds
		return err
	})
}

// Receive reads one frame of at most maxFrame payload bytes. The files belong to the caller. io.EOF means that the other
// side closed between two frames. A longer frame is errkind.Invalid. After an error the connection is of no more use.
func (c *Conn) Receive(maxFrame int) (payload []byte, files []*os.File, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	var header [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	for got := 0; got < headerSize; {
		n, oobn, flags, _, err := c.conn.ReadMsgUnix(header[got:], oob)
		more, parseErr := parseFiles(oob[:oobn])
		files = append(files, more...)
		switch {
		case errors.Is(err, io.EOF) || err == nil && n == 0:
			if got > 0 {
				return nil, files, io.ErrUnexpectedEOF
			}
			return nil, files, io.EOF
		case err != nil:
			return nil, files, err
		case parseErr != nil:
			return nil, files, parseErr
		case flags&unix.MSG_CTRUNC != 0:
			return nil, files, errkind.New(errkind.Exhausted, "receive a frame: no descriptors left for its files; raise the limit of open files")
		}
		got += n
	}
	size := binary.BigEndian.Uint32(header[:])
	if int64(size) > int64(maxFrame) {
		return nil, files, errkind.New(errkind.Invalid, "receive a frame: %d bytes are more than the %d allowed", size, maxFrame)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(c.conn, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, files, err
	}
	return payload, files, nil
}

func parseFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive a frame: %w", err)
	}
	var files []*os.File
	for i := range messages {
		if h := messages[i].Header; h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, fmt.Errorf("receive a frame: %w", err)
		}
		for _, n := range fds {
			files = append(files, os.NewFile(uintptr(n), fmt.Sprintf("received:%d", n)))
		}
	}
	return files, nil
}

// PeerCred returns who connected, or listens, at the other end of c, as the kernel recorded it at that time. The process
// number can belong to another process by now.
func PeerCred(c *net.UnixConn) (pid, uid, gid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, 0, err
	}
	var cred *unix.Ucred
	if ctlErr := raw.Control(func(n uintptr) {
		cred, err = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctlErr != nil {
		return 0, 0, 0, ctlErr
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	return int(cred.Pid), int(cred.Uid), int(cred.Gid), nil
}
