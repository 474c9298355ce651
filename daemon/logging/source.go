package logging

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/lib/gzblock"
)

// maxLine bounds one line of a file in bytes; the rest of a longer one is skipped. A line of 1 MiB of output is at most
// six times as long when all of it is escaped.
const maxLine = 8 << 20

// piece is how much is read at a time where the place of something is sought.
const piece = 64 << 10

// source is one file of a log, compressed or not. Offsets are in its uncompressed content.
type source struct {
	file   *os.File
	offset int64 // what was read so far

	packed []gzblock.Block
	starts []int64 // where each block begins, and, one more, where the last ends
	block  int     // the one in content
	text   []byte

	began time.Time // of its first entry, zero if not known yet
}

// openSource opens the file at path, which nobody but Pier writes.
func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &source{file: f, block: -1}
	if !strings.HasSuffix(path, shim.PackedSuffix) {
		return s, nil
	}
	info, err := f.Stat()
	if err == nil {
		s.packed, err = gzblock.Blocks(f, info.Size())
	}
	if err != nil && !errors.Is(err, gzblock.ErrFormat) { // what is before the damage is good
		f.Close()
		return nil, err
	}
	s.starts = make([]int64, len(s.packed)+1)
	for i, b := range s.packed {
		s.starts[i+1] = s.starts[i] + int64(b.Length)
	}
	return s, nil
}

func (s *source) close() { s.file.Close() }

// size is how long the content is now.
func (s *source) size() (int64, error) {
	if s.starts != nil {
		return s.starts[len(s.packed)], nil
	}
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// ReadAt reads the content.
func (s *source) ReadAt(p []byte, at int64) (int, error) {
	if s.starts == nil {
		return s.file.ReadAt(p, at)
	}
	total := 0
	for total < len(p) {
		i := sort.Search(len(s.packed), func(i int) bool { return s.starts[i+1] > at })
		if i == len(s.packed) {
			return total, io.EOF
		}
		if i != s.block {
			text, err := s.packed[i].Read(s.file)
			if err != nil {
				return total, err
			}
			s.block, s.text = i, text
		}
		n := copy(p[total:], s.text[at-s.starts[i]:])
		total, at = total+n, at+int64(n)
	}
	return total, nil
}

// read goes on where the last read ended; 0 and nil: there is no more now.
func (s *source) read(p []byte) (int, error) {
	n, err := s.ReadAt(p, s.offset)
	s.offset += int64(n)
	if err == io.EOF {
		err = nil
	}
	if n == 0 && err == nil && s.starts == nil {
		if size, err := s.size(); err == nil && size < s.offset { // emptied: a log of one file only, or by hand
			s.offset, s.began = 0, time.Time{}
			return s.read(p)
		}
	}
	return n, err
}

// begin returns when the file's first entry was written, the zero time where there is none yet. Together with the log it
// names the file for ever, whatever it is called and whether it is compressed.
func (s *source) begin() time.Time {
	if !s.began.IsZero() {
		return s.began
	}
	if len(s.packed) > 0 {
		if n, ok := shim.ParseLogNote(s.packed[0].Note); ok {
			s.began = n.First
			return s.began
		}
	}
	if line, err := lineAt(s, 0); err == nil {
		s.began, _ = shim.LogTime(line)
	}
	return s.began
}

// same reports whether two sources are the same file.
func (s *source) same(other *source) bool {
	a, err1 := s.file.Stat()
	b, err2 := other.file.Stat()
	if err1 == nil && err2 == nil && os.SameFile(a, b) {
		return true
	}
	return !s.begin().IsZero() && s.begin().Equal(other.begin())
}

// lineAt returns the whole line that begins at an offset.
func lineAt(r io.ReaderAt, at int64) ([]byte, error) {
	var line []byte
	for size := 4 << 10; len(line) < maxLine; size = min(2*size, 1<<20) {
		buf := make([]byte, size)
		n, err := r.ReadAt(buf, at+int64(len(line)))
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return append(line, buf[:i]...), nil
		}
		if err != nil {
			return nil, err
		}
		line = append(line, buf[:n]...)
	}
	return nil, io.ErrShortBuffer
}

// nextLine returns the offset after the first newline at or after at, end if there is none before it.
func nextLine(r io.ReaderAt, at, end int64) (int64, error) {
	buf := make([]byte, piece)
	for at < end {
		n, err := r.ReadAt(buf[:min(piece, end-at)], at)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		if at += int64(n); err != nil && err != io.EOF {
			return 0, err
		}
		if n == 0 {
			break
		}
	}
	return end, nil
}

// timeOffset finds the start of an entry before which all are older than t, and not many after it. It takes the times in
// the file to be in order.
func (s *source) timeOffset(t time.Time) (int64, error) {
	low := int64(0)
	high, err := s.size()
	if err != nil {
		return 0, err
	}
	for i, b := range s.packed { // the notes narrow it down to one block
		if n, ok := shim.ParseLogNote(b.Note); ok && n.Last.Before(t) {
			low = s.starts[i+1]
		}
	}
	if i := sort.Search(len(s.packed), func(i int) bool { return s.starts[i+1] > low }); i < len(s.packed) {
		high = s.starts[i+1]
	}
	for high-low > piece {
		middle := low + (high-low)/2
		start, err := nextLine(s, middle, high)
		if err != nil {
			return 0, err
		}
		if start >= high {
			high = middle
			continue
		}
		line, err := lineAt(s, start)
		if err == io.EOF { // being written
			high = middle
			continue
		}
		if err != nil && err != io.ErrShortBuffer {
			return 0, err
		}
		if at, ok := shim.LogTime(line); ok && at.Before(t) {
			low = start
		} else {
			high = middle
		}
	}
	return low, nil
}

// tailOffset finds where the last n lines begin, and how many there are.
func (s *source) tailOffset(n int) (offset int64, lines int, err error) {
	if s.starts == nil {
		size, err := s.size()
		if err != nil {
			return 0, 0, err
		}
		return tail(s.file, size, n)
	}
	for i := len(s.packed) - 1; i >= 0; i-- {
		if note, ok := shim.ParseLogNote(s.packed[i].Note); ok && note.Entries <= n-lines {
			lines += note.Entries
			continue
		}
		text, err := s.packed[i].Read(s.file)
		if err != nil {
			return 0, 0, err
		}
		at, some, err := tail(bytes.NewReader(text), int64(len(text)), n-lines)
		return s.starts[i] + at, lines + some, err
	}
	return 0, lines, nil
}

// tail finds where the last n lines of size bytes begin, reading backwards, and how many there are.
func tail(r io.ReaderAt, size int64, n int) (offset int64, lines int, err error) {
	if n == 0 {
		return size, 0, nil
	}
	buf := make([]byte, piece)
	first := true
	for pos := size; pos > 0; {
		part := buf[:min(pos, piece)]
		pos -= int64(len(part))
		if _, err := r.ReadAt(part, pos); err != nil && err != io.EOF {
			return 0, 0, errkind.New(errkind.Internal, "read log: %w", err)
		}
		if first { // a line without its end counts
			first = false
			if part[len(part)-1] != '\n' {
				lines = 1
			}
		}
		for end := len(part); ; {
			i := bytes.LastIndexByte(part[:end], '\n')
			if i < 0 {
				break
			}
			if lines == n {
				return pos + int64(i) + 1, lines, nil
			}
			lines++
			end = i
		}
	}
	return 0, lines, nil
}
