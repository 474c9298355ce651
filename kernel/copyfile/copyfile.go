// Package copyfile copies what is in files: shared blocks where the file system can share them, holes as holes.
//
// Start reading at Content.
package copyfile

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// Content makes the empty regular file dst hold what the regular file src holds: by a reflink where both lie on a file
// system that has them (btrfs, xfs), else extent by extent inside the kernel. Both files stay open, with any offset.
// When src changes meanwhile, dst may hold parts of before and after.
func Content(dst, src *os.File) error {
	err := fd.All([]*os.File{dst, src}, func(n []int) error { return unix.IoctlFileClone(n[0], n[1]) })
	if err == nil {
		return nil
	}
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	size := fi.Size()
	for at := int64(0); at < size; {
		start, end, err := NextData(src, at, size)
		if err != nil {
			return err
		}
		if start < end {
			if err := extent(dst, src, start, end); err != nil {
				return err
			}
		}
		at = end
	}
	return dst.Truncate(size)
}

// extent copies the bytes from start to end. A source that has become shorter ends the copy.
func extent(dst, src *os.File, start, end int64) error {
	for _, f := range []*os.File{src, dst} {
		if _, err := f.Seek(start, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := dst.ReadFrom(io.LimitReader(src, end-start)) // copy_file_range(2) where possible
	return err
}

// NextData returns where the first data at or after the offset at lies: from start up to end, both at most size. Start
// equals end, and both are size, where only a hole follows. A file system that knows no holes has one piece of data.
// The file's offset changes.
func NextData(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case err != nil:
		return at, size, nil
	case start >= size:
		return size, size, nil
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	if err != nil || end > size || end <= start {
		end = size
	}
	return start, end, nil
}
