package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"pier/api/shim"
	"pier/lib/errkind"
)

// maxFiles bounds how many predecessors are looked for.
const maxFiles = 1000

// From says where to begin to read. The zero value is the beginning of the log.
type From struct {
	// Tail, if Limited, is how many entries to read at most, from the end.
	Limited bool
	Tail    int
	// Since leaves out, as far as that saves work, what is older: some older entries may still be read.
	Since time.Time
	// After continues where another reader was, if it is not zero.
	After Position
}

// Position is a place between two entries. It stays valid when the log is rotated and compressed.
type Position struct {
	File   time.Time // when its first entry was written; zero: the log was empty
	Offset int64
}

// Reader reads a log's entries from oldest to newest, over all of its files. It belongs to one goroutine.
type Reader struct {
	path    string
	older   []*source // still to be read, oldest first
	cur     *source
	buf     []byte
	fill    []byte // read, not yet consumed; part of buf
	decoder decoder
	lost    bool
}

// Open opens the log whose live file is path. A log that does not exist yet is empty.
func Open(path string, from From) (*Reader, error) {
	r := &Reader{path: path}
	files, err := openSources(path, func(*source) bool { return false })
	if err == nil {
		files, err = from.seek(files, &r.lost)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	for i := len(files) - 1; i >= 0; i-- {
		r.older = append(r.older, files[i])
	}
	r.next()
	return r, nil
}

// seek moves the sources, newest first, to where reading begins, and closes those that are not needed.
func (f From) seek(files []*source, lost *bool) ([]*source, error) {
	keep := func(n int, offset int64) {
		closeAll(files[n:])
		files = files[:n]
		files[n-1].offset = offset
	}
	if !f.After.File.IsZero() {
		*lost = true
		for i, s := range files {
			if s.begin().Equal(f.After.File) {
				keep(i+1, f.After.Offset)
				*lost = false
				break
			}
		}
	}
	left := f.Tail
	for i, s := range files {
		if !f.Limited {
			break
		}
		offset, lines, err := s.tailOffset(left)
		if err != nil {
			return files, err
		}
		if left -= lines; left <= 0 {
			keep(i+1, offset)
			break
		}
	}
	for i, s := range files {
		if f.Since.IsZero() {
			break
		}
		began := s.begin()
		if began.IsZero() || !began.Before(f.Since) {
			continue
		}
		offset, err := s.timeOffset(f.Since)
		if err != nil {
			return files, errkind.New(errkind.Internal, "read log: %w", err)
		}
		keep(i+1, max(offset, s.offset))
		break
	}
	return files, nil
}

// openSources opens the log's files, newest first, as far as the one that stop accepts, which is left out. While files
// are being renamed one number can be missing and one file be met twice: what was met since then is met once more, and
// newer files are left for the next time.
func openSources(path string, stop func(*source) bool) ([]*source, error) {
	var files []*source
	missing := 0
	for i := range maxFiles {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		s, err := openSource(name)
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			s, err = openSource(name + shim.PackedSuffix)
		}
		if errors.Is(err, fs.ErrNotExist) {
			if missing++; missing == 2 {
				break
			}
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, errkind.New(errkind.Internal, "open log: %w", err)
		}
		missing = 0
		if stop(s) {
			s.close()
			break
		}
		if again := slices.IndexFunc(files, s.same); again >= 0 {
			closeAll(files[again:])
			files = files[:again]
		}
		files = append(files, s)
	}
	return files, nil
}

func closeAll(files []*source) {
	for _, s := range files {
		s.close()
	}
}

func (r *Reader) next() bool {
	if len(r.older) == 0 {
		return false
	}
	if r.cur != nil {
		r.cur.close()
	}
	r.cur, r.older, r.fill = r.older[0], r.older[1:], nil
	return true
}

// Lost reports, once each time, that the place where reading should have gone on was not there any more: entries after it
// may be missing.
func (r *Reader) Lost() bool {
	lost := r.lost
	r.lost = false
	return lost
}

// Position is the place after the last entry that Next returned.
func (r *Reader) Position() Position {
	if r.cur == nil {
		return Position{}
	}
	return Position{File: r.cur.begin(), Offset: r.cur.offset - int64(len(r.fill))}
}

// Next stores the next entry in e and reports true; false where there is none now. Lines that are not entries are skipped.
func (r *Reader) Next(e *Entry) (bool, error) {
	for {
		line, ok, err := r.line()
		if err != nil || !ok {
			return false, err
		}
		if r.decoder.decode(line, e) {
			return true, nil
		}
	}
}

// line returns the next whole line, valid until the next call.
func (r *Reader) line() ([]byte, bool, error) {
	for {
		if i := bytes.IndexByte(r.fill, '\n'); i >= 0 {
			line := r.fill[:i]
			r.fill = r.fill[i+1:]
			return line, true, nil
		}
		if r.cur == nil && !r.reopen() {
			return nil, false, nil
		}
		if len(r.fill) == len(r.buf) {
			if len(r.fill) >= maxLine {
				r.fill = nil // too long to be an entry: what remains of it is no entry either
			} else {
				r.buf = make([]byte, max(piece, 2*len(r.buf)))
			}
		}
		n := copy(r.buf, r.fill)
		m, err := r.cur.read(r.buf[n:])
		r.fill = r.buf[:n+m]
		if err != nil {
			return nil, false, errkind.New(errkind.Internal, "read log: %w", err)
		}
		if m > 0 || r.next() {
			continue
		}
		if !r.reopen() {
			return nil, false, nil
		}
	}
}

// reopen takes up the files that came after the current one, where it has lost its name. It was read to its end after
// that, so nothing is missed; what was rotated away altogether is gone.
func (r *Reader) reopen() bool {
	if _, err := os.Lstat(r.path); err != nil { // about to be made anew, or removed with its container
		return false
	}
	found := false
	newer, err := openSources(r.path, func(s *source) bool {
		found = r.cur != nil && r.cur.same(s)
		return found
	})
	if err != nil || len(newer) == 0 {
		return false
	}
	r.lost = r.lost || r.cur != nil && !found
	for i := len(newer) - 1; i >= 0; i-- {
		r.older = append(r.older, newer[i])
	}
	if r.cur == nil {
		return r.next()
	}
	// What was written between our last read and its renaming is read first; then line goes on to the newer ones.
	return true
}

// Close closes all files.
func (r *Reader) Close() {
	if r.cur != nil {
		r.cur.close()
	}
	closeAll(r.older)
	r.cur, r.older = nil, nil
}

// Follow calls each with every entry until there are no more and done is closed, or ctx ends, or each fails; with nil each
// time there are no more for now. watch must have been made before the reader.
func (r *Reader) Follow(ctx context.Context, done <-chan struct{}, watch *Watch, each func(*Entry) error) error {
	var e Entry
	for {
		over := isClosed(done) // asked before reading: what was written before the end is read
		for {
			ok, err := r.Next(&e)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := each(&e); err != nil {
				return err
			}
		}
		if err := each(nil); err != nil {
			return err
		}
		if over {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := watch.Wait(ctx, done); err != nil {
			return err
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
