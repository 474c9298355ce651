package tree

import (
	"errors"
	"io"
	"os"

	"pier/lib/errkind"
)

// inMemory is how much of a spool stays in memory before the rest goes to a file, in bytes.
const inMemory = 8 << 20

// Spool keeps contents one after the other: the first few MiB in memory, the rest in a file that has no name and is
// gone with the process. One goroutine appends; any number reads what was appended.
type Spool struct {
	dir  string
	mem  []byte
	file *os.File
	size int64 // of file
	buf  []byte
}

// NewSpool returns an empty spool whose file, if it comes to need one, is made in dir.
func NewSpool(dir string) *Spool { return &Spool{dir: dir} }

// Close frees the file.
func (s *Spool) Close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Append copies r to its end; hint is its likely size. It returns where the content begins and its size in bytes.
// A full disk is errkind.Exhausted.
func (s *Spool) Append(r io.Reader, hint int64) (offset, size int64, err error) {
	if s.file == nil && hint >= 0 && int64(len(s.mem))+hint <= inMemory {
		begin := len(s.mem)
		if need := begin + int(hint); need > cap(s.mem) {
			grown := make([]byte, begin, max(need, min(2*cap(s.mem), inMemory), 64<<10))
			copy(grown, s.mem)
			s.mem = grown
		}
		n, err := io.ReadFull(r, s.mem[begin:begin+int(hint)])
		if err != nil {
			return 0, 0, err
		}
		s.mem = s.mem[:begin+n]
		return int64(begin), int64(n), nil
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return 0, 0, err
		}
	}
	if s.buf == nil {
		s.buf = make([]byte, 256<<10)
	}
	begin := s.size
	for {
		n, err := r.Read(s.buf)
		if n > 0 {
			if _, err := s.file.WriteAt(s.buf[:n], s.size); err != nil {
				return 0, 0, spoolError(err)
			}
			s.size += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return inMemory + begin, s.size - begin, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

func (s *Spool) create() error {
	f, err := os.CreateTemp(s.dir, "context-*")
	if err != nil {
		return spoolError(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return spoolError(err)
	}
	s.file = f
	return nil
}

func spoolError(err error) error { return errkind.OfDisk("store the build context", err) }

// ReadAt implements io.ReaderAt for offsets within one content.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	if off >= inMemory {
		return s.file.ReadAt(p, off-inMemory)
	}
	if off > int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
