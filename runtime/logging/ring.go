package logging

import (
	"fmt"
	"os"
)

// Ring is a file that holds the last bytes of a stream: the byte at position p lies at p modulo its capacity. Who uses
// it keeps the positions between which its content is valid. It lies where the tasks' files are, in memory as a rule, and
// survives the process like them. Methods for disjoint positions may run at the same time.
type Ring struct {
	file *os.File
	size uint64
}

// OpenRing opens the ring at path, and makes it where it is missing; it must always be opened with the same size, its
// capacity in bytes. The file grows as it is used.
func OpenRing(path string, size int) (*Ring, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &Ring{file: f, size: uint64(size)}, nil
}

// Size is the ring's capacity in bytes.
func (r *Ring) Size() int { return int(r.size) }

// Write puts text, not longer than the capacity, at position at.
func (r *Ring) Write(text []byte, at uint64) error {
	for len(text) > 0 {
		offset := at % r.size
		n := min(uint64(len(text)), r.size-offset)
		if _, err := r.file.WriteAt(text[:n], int64(offset)); err != nil {
			return err
		}
		text, at = text[n:], at+n
	}
	return nil
}

// Append appends what lies between two positions to dst.
func (r *Ring) Append(dst []byte, from, to uint64) ([]byte, error) {
	if to < from || to-from > r.size {
		return dst, fmt.Errorf("read %s from %d to %d: it holds %d bytes", r.file.Name(), from, to, r.size)
	}
	for from < to {
		offset := from % r.size
		n := int(min(to-from, r.size-offset))
		dst = append(dst, make([]byte, n)...)
		if _, err := r.file.ReadAt(dst[len(dst)-n:], int64(offset)); err != nil {
			return dst, err
		}
		from += uint64(n)
	}
	return dst, nil
}

// Close closes the file. nil has nothing to close.
func (r *Ring) Close() {
	if r != nil {
		r.file.Close()
	}
}
