// Package pipe reads FIFOs in two steps, so that a crash in between loses nothing: Peek copies what is in the FIFO and
// leaves it there (tee(2)), Consume takes it out once it is safe elsewhere.
//
// A FIFO that somebody holds open for reading and writing never ends and never breaks: a process that writes to it gets
// no SIGPIPE when the reader dies, it waits for the next one. What is in the FIFO survives as long as anybody has it open.
//
// All files here are non-blocking and may be shared with other processes. A Scratch belongs to one goroutine at a time.
//
// Start reading at Scratch.Peek.
package pipe

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

const (
	// Size is how much a FIFO of the kernel's default size holds, in bytes.
	Size = 64 << 10
	// WideSize is how much one holds after Widen, and so the most that one Peek returns.
	WideSize = 4 * Size
)

// Create makes a FIFO at path for owner uid:gid, mode 0600, and opens it for reading and writing. A FIFO that is there
// already is taken over. Path is trusted.
func Create(path string, uid, gid int) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("make FIFO %s: %w", path, err)
	}
	f, err := Open(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if uid != 0 || gid != 0 {
		if err := f.Chown(uid, gid); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// Open opens the FIFO at path, which is trusted, with access os.O_RDONLY, os.O_WRONLY or os.O_RDWR, non-blocking.
// Writing only needs a reader to be there: unix.ENXIO otherwise.
func Open(path string, access int) (*os.File, error) {
	return open(path, access|unix.O_NONBLOCK)
}

// Reopen opens the FIFO that f is open on once more, also if its name is gone.
func Reopen(f *os.File, access int) (r *os.File, err error) {
	err = fd.With(f, func(n int) error {
		k, err := unix.Open("/proc/self/fd/"+strconv.Itoa(n), access|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s again: %w", f.Name(), err)
		}
		r = os.NewFile(uintptr(k), f.Name())
		return nil
	})
	return r, err
}

// OpenChild is Open for the end that a new process gets: it blocks, as programs expect. The open itself does not wait if
// somebody else has the FIFO open for reading and writing.
//
// A file remembers how it was opened, and this one may be opened again in the same way from a link in /proc, when what holds
// it is restored from a checkpoint: it must not say that links are not to be followed.
func OpenChild(path string, access int) (*os.File, error) { return openFIFO(path, access) }

func open(path string, flags int) (*os.File, error) { return openFIFO(path, flags|unix.O_NOFOLLOW) }

func openFIFO(path string, flags int) (*os.File, error) {
	n, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open FIFO", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(n)
		return nil, &os.PathError{Op: "open FIFO", Path: path, Err: errors.Join(err, errors.New("not a FIFO"))}
	}
	return os.NewFile(uintptr(n), path), nil
}

// Wait calls ready until it returns true: at once, and then each time something may have arrived in f. No thread is
// held while it waits. f.SetReadDeadline ends it with os.ErrDeadlineExceeded, closing f with os.ErrClosed.
func Wait(f *os.File, ready func() bool) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(uintptr) bool { return ready() })
}

// Scratch is the memory that Peek and Consume work with. Release it when it is no longer needed.
type Scratch struct {
	in, out int // a pipe
	buf     []byte
}

// NewScratch makes a Scratch: two descriptors, and memory as it is needed.
func NewScratch() (*Scratch, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make scratch pipe: %w", err)
	}
	// As much as a widened FIFO holds.
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, WideSize)
	return &Scratch{in: p[1], out: p[0]}, nil
}

// Release closes the descriptors.
func (s *Scratch) Release() {
	unix.Close(s.in)
	unix.Close(s.out)
}

// memory returns n bytes to work with.
func (s *Scratch) memory(n int) []byte {
	if n > len(s.buf) {
		s.buf = make([]byte, max(n, Size))
	}
	return s.buf[:n]
}

// Peek returns what f holds, up to WideSize bytes from its beginning, and leaves it there. Nothing there: no bytes, nil. The
// bytes are valid until the next call of s.
func (s *Scratch) Peek(f *os.File) ([]byte, error) {
	got := 0
	err := fd.With(f, func(n int) error {
		var want int64
		for {
			var err error
			want, err = unix.Tee(n, s.in, WideSize, unix.SPLICE_F_NONBLOCK)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN || want == 0 {
				return nil
			}
			if err != nil {
				return err
			}
			break
		}
		buf := s.memory(int(want))
		for int64(got) < want {
			k, err := unix.Read(s.out, buf[got:])
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			got += k
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("peek into %s: %w", f.Name(), err)
	}
	return s.buf[:got], nil
}

// Consume takes the first n bytes out of f, which holds at least so many. The last of them is stored at *last by the
// same system call: a process killed meanwhile either took all or nothing, and *last shows which. (A writer that put its
// end into packet mode forfeits that.) n is at most WideSize; bytes that Peek returned are overwritten.
func (s *Scratch) Consume(f *os.File, n int, last *byte) error {
	tail := []byte{0}
	for n > 0 {
		var k int
		err := fd.With(f, func(fdn int) (err error) {
			iov := [][]byte{s.memory(n)[:n-1], tail}
			if n == 1 {
				iov = iov[1:]
			}
			// The pointer, not a copy: the kernel writes into the caller's page.
			k, err = readv(fdn, iov, last)
			return err
		})
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("consume %d bytes of %s: %w", n, f.Name(), err)
		}
		if k == 0 {
			return fmt.Errorf("consume %d bytes of %s: it is empty", n, f.Name())
		}
		n -= k
	}
	return nil
}

// Move takes up to max bytes from terminal or pipe from and appends them to FIFO to, without passing through this
// process: they are never in neither. 0 and nil: nothing to take now, or no room.
func Move(from, to *os.File, max int) (n int, err error) {
	err = fd.With(from, func(in int) error {
		return fd.With(to, func(out int) error {
			for {
				k, err := unix.Splice(in, nil, out, nil, max, unix.SPLICE_F_NONBLOCK)
				if err == unix.EINTR {
					continue
				}
				if err == unix.EAGAIN || err == unix.EIO { // EIO: all slaves of the terminal are closed; one may be opened again
					return nil
				}
				n = int(k)
				return err
			}
		})
	})
	if err != nil {
		return 0, fmt.Errorf("move output of %s: %w", from.Name(), err)
	}
	return n, nil
}

// Buffered returns how many bytes f holds; 0 if that cannot be told.
func Buffered(f *os.File) int {
	count := 0
	_ = fd.With(f, func(n int) (err error) {
		count, err = unix.IoctlGetInt(n, unix.TIOCINQ)
		return err
	})
	return count
}

// Full reports whether a writer of f would have to wait.
func Full(f *os.File) bool {
	full := false
	_ = fd.With(f, func(n int) error {
		p := []unix.PollFd{{Fd: int32(n), Events: unix.POLLOUT}}
		k, err := unix.Poll(p, 0)
		full = err == nil && (k == 0 || p[0].Revents&unix.POLLOUT == 0)
		return nil
	})
	return full
}

// Widen lets FIFO f hold WideSize bytes, in more pieces too, so that many small writes fit. It is best effort: the
// kernel's limits decide.
func Widen(f *os.File) {
	_ = fd.With(f, func(n int) error {
		_, err := unix.FcntlInt(uintptr(n), unix.F_SETPIPE_SZ, WideSize)
		return err
	})
}
