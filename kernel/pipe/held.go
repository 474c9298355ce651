package pipe

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// Held is a descriptor that is only kept, for another process or a later time. Unlike an os.File it is not in the
// netpoller: traffic of others on a shared FIFO or terminal does not wake this process. It is safe for concurrent use.
type Held struct {
	mu   sync.Mutex // guards fd
	fd   int        // -1: closed
	name string
}

// Hold keeps what f has open and closes f. nil gives nil.
func Hold(f *os.File) (*Held, error) {
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	h := &Held{name: f.Name(), fd: -1}
	err := fd.With(f, func(n int) (err error) {
		h.fd, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", f.Name(), err)
	}
	return h, nil
}

// File returns a new file on the same open description, for use; the caller closes it. A nil or closed Held gives
// os.ErrClosed.
func (h *Held) File() (*os.File, error) {
	if h == nil {
		return nil, os.ErrClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return nil, os.ErrClosed
	}
	n, err := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s again: %w", h.name, err)
	}
	return os.NewFile(uintptr(n), h.name), nil
}

// Close lets go. Calls after the first, and on nil, do nothing.
func (h *Held) Close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
	}
}
