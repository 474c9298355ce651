// Package streams holds what happens to the bytes between a container and who reads and writes them: Docker's stream
// frames, and the keys that detach.
//
// A frame is one byte of stream number (1 standard output, 2 standard error), three zero bytes, four bytes of length,
// big endian, and so many bytes.
//
// Start reading at Unframe.
package streams

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The stream numbers.
const (
	Stdout = 1
	Stderr = 2
)

const headerLen = 8

// maxFrame bounds what one header may announce; no sender of ours comes near it.
const maxFrame = 16 << 20

// Header returns the header of a frame of n bytes.
func Header(stream byte, n int) [headerLen]byte {
	h := [headerLen]byte{stream}
	binary.BigEndian.PutUint32(h[4:], uint32(n))
	return h
}

// AppendFrame appends one frame to b.
func AppendFrame(b []byte, stream byte, p []byte) []byte {
	h := Header(stream, len(p))
	return append(append(b, h[:]...), p...)
}

// Unframe returns a reader of the frames' content alone, as a terminal's attachers get it.
func Unframe(r io.Reader) io.Reader { return &unframer{r: r} }

type unframer struct {
	r    io.Reader
	left int // bytes of the current frame not yet read
}

func (u *unframer) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for u.left == 0 {
		_, n, err := ReadHeader(u.r)
		if err != nil {
			return 0, err
		}
		u.left = n
	}
	n, err := u.r.Read(p[:min(len(p), u.left)])
	u.left -= n
	if err == io.EOF && u.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ReadHeader reads one header. io.EOF at a frame's border is the orderly end.
func ReadHeader(r io.Reader) (stream byte, n int, err error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	size := binary.BigEndian.Uint32(h[4:])
	if size > maxFrame {
		return 0, 0, fmt.Errorf("stream frame of %d bytes: larger than the limit of %d", size, maxFrame)
	}
	return h[0], int(size), nil
}

// Split copies frames to the writer of their stream until the end. A nil writer discards.
func Split(r io.Reader, stdout, stderr io.Writer) error {
	buf := make([]byte, 32<<10)
	for {
		stream, n, err := ReadHeader(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		w := stdout
		if stream == Stderr {
			w = stderr
		}
		if w == nil {
			w = io.Discard
		}
		m, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, int64(n)), buf)
		if err == nil && m < int64(n) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}
