package pipe

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Capture is a pipe without a name for what a process says, of which the beginning is kept. It belongs to one goroutine.
type Capture struct {
	// In is what the process is given: it blocks, as programs expect. The caller closes it once the process has it.
	In *os.File

	out   int // -1: given away or closed
	limit int
	text  []byte
}

// NewCapture makes a pipe of whose content at most limit bytes are kept; the rest is read and forgotten. The caller calls
// Close.
func NewCapture(limit int) (*Capture, error) {
	var p [2]int
	err := unix.Pipe2(p[:], unix.O_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(p[0], true); err != nil {
			unix.Close(p[0])
			unix.Close(p[1])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return &Capture{In: os.NewFile(uintptr(p[1]), "pipe"), out: p[0], limit: limit}, nil
}

// Drain takes what is there, and does not wait for more. It reports whether there will be no more.
func (c *Capture) Drain() (ended bool) {
	var piece [4 << 10]byte
	for {
		n, err := unix.Read(c.out, piece[:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err != unix.EAGAIN
		case n == 0:
			return true
		default:
			_, _ = c.Write(piece[:n])
		}
	}
}

// Write adds p to what was taken. The content of Reader is copied here.
func (c *Capture) Write(p []byte) (int, error) {
	c.text = append(c.text, p[:min(len(p), c.limit-len(c.text))]...)
	return len(p), nil
}

// Text is what was kept.
func (c *Capture) Text() []byte { return c.text }

// Reader gives the pipe away as a file that waits without a thread and knows deadlines. The caller closes it.
func (c *Capture) Reader() *os.File {
	f := os.NewFile(uintptr(c.out), "pipe")
	c.out = -1
	return f
}

// Close closes both ends but for a reader that was given away.
func (c *Capture) Close() {
	c.In.Close()
	if c.out >= 0 {
		unix.Close(c.out)
		c.out = -1
	}
}
