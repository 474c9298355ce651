package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"pier/lib/errkind"
)

// Entry is one line of a log.
type Entry struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Time   time.Time         `json:"time"`
	Attrs  map[string]string `json:"attrs"`
}

// maxLine bounds one line of the file in bytes; the rest of a longer one is skipped. A line of 1 MiB of output is at
// most six times as long when all of it is escaped.
const maxLine = 8 << 20

// maxFiles bounds how many predecessors are looked for.
const maxFiles = 1000

// LogReader reads entries from oldest to newest. It belongs to one goroutine.
type LogReader struct {
	path  string
	older []*os.File // still to be read, oldest first
	cur   *os.File
	buf   []byte
	fill  []byte // read, not yet consumed; part of buf
}

// OpenLog opens the log at path with the entries that the last tail lines hold (all for a negative tail). A log that does
// not exist yet is empty.
func OpenLog(path string, tail int) (*LogReader, error) {
	r := &LogReader{path: path, buf: make([]byte, 64<<10)}
	files, err := openFiles(path, func(*os.File) bool { return false })
	if err != nil {
		return nil, err
	}
	left := tail
	for i, f := range files {
		if tail < 0 {
			continue
		}
		offset, lines, err := tailOffset(f, left)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			closeAll(files)
			return nil, errkind.New(errkind.Internal, "read log: %w", err)
		}
		if left -= lines; left <= 0 {
			closeAll(files[i+1:])
			files = files[:i+1]
			break
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		r.older = append(r.older, files[i])
	}
	r.next()
	return r, nil
}

// openFiles opens the log's files, newest first, as far as the one that stop accepts, which is left out. While files are
// being renamed one number can be missing and one file be met twice.
func openFiles(path string, stop func(*os.File) bool) ([]*os.File, error) {
	var files []*os.File
	missing := 0
	for i := range maxFiles {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		f, err := os.Open(name)
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
		if stop(f) {
			_ = f.Close()
			break
		}
		if len(files) > 0 && sameFile(files[len(files)-1], f) {
			_ = f.Close()
			continue
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func sameFile(a, b *os.File) bool {
	ia, err1 := a.Stat()
	ib, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(ia, ib)
}

// tailOffset finds where the last n lines of f begin, reading backwards, and how many there are.
func tailOffset(f *os.File, n int) (offset int64, lines int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, errkind.New(errkind.Internal, "read log: %w", err)
	}
	end := info.Size()
	if n == 0 {
		return end, 0, nil
	}
	buf := make([]byte, 64<<10)
	first := true
	for pos := end; pos > 0; {
		size := min(pos, int64(len(buf)))
		pos -= size
		if _, err := f.ReadAt(buf[:size], pos); err != nil && err != io.EOF {
			return 0, 0, errkind.New(errkind.Internal, "read log: %w", err)
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				if first { // a line without its end counts
					lines, first = 1, false
				}
				continue
			}
			first = false
			if lines == n {
				return pos + i + 1, lines, nil
			}
			lines++
		}
	}
	return 0, lines, nil
}

func (r *LogReader) next() bool {
	if len(r.older) == 0 {
		return false
	}
	if r.cur != nil {
		_ = r.cur.Close()
	}
	r.cur, r.older, r.fill = r.older[0], r.older[1:], nil
	return true
}

// Next returns the next entry; ok is false where there is none now. Lines that are not entries are skipped.
func (r *LogReader) Next() (e Entry, ok bool, err error) {
	for {
		line, ok, err := r.line()
		if err != nil || !ok {
			return Entry{}, false, err
		}
		e = Entry{}
		if json.Unmarshal(line, &e) == nil {
			return e, true, nil
		}
	}
}

// line returns the next whole line, valid until the next call.
func (r *LogReader) line() ([]byte, bool, error) {
	for {
		if i := bytes.IndexByte(r.fill, '\n'); i >= 0 {
			line := r.fill[:i]
			r.fill = r.fill[i+1:]
			return line, true, nil
		}
		if r.cur == nil {
			if !r.reopen() {
				return nil, false, nil
			}
		}
		n := copy(r.buf, r.fill)
		if n == len(r.buf) {
			if n >= maxLine {
				n = 0 // too long to be an entry: what remains of it is no entry either
			} else {
				r.buf = append(r.buf, make([]byte, len(r.buf))...)
				copy(r.buf, r.fill)
			}
		}
		m, err := r.cur.Read(r.buf[n:])
		r.fill = r.buf[:n+m]
		if m > 0 {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, false, errkind.New(errkind.Internal, "read log: %w", err)
		}
		if len(r.older) > 0 {
			r.next()
			continue
		}
		if !r.reopen() {
			return nil, false, nil
		}
	}
}

// reopen takes up the files that came after the current one, where it has lost its name. It was read to its end after
// that, so nothing is missed; what was rotated away altogether is gone.
func (r *LogReader) reopen() bool {
	newer, err := openFiles(r.path, func(f *os.File) bool { return r.cur != nil && sameFile(r.cur, f) })
	if err != nil || len(newer) == 0 {
		return false
	}
	var rest []byte
	if r.cur != nil { // written between our last read and its renaming
		rest, _ = io.ReadAll(io.LimitReader(r.cur, maxLine))
	}
	left := append(append([]byte(nil), r.fill...), rest...)
	for i := len(newer) - 1; i >= 0; i-- {
		r.older = append(r.older, newer[i])
	}
	r.next()
	if bytes.IndexByte(left, '\n') >= 0 {
		r.buf = append(left, make([]byte, 64<<10)...)
		r.fill = r.buf[:len(left)]
	}
	return true
}

// Close closes all files.
func (r *LogReader) Close() {
	if r.cur != nil {
		_ = r.cur.Close()
	}
	closeAll(r.older)
	r.cur, r.older = nil, nil
}

// Follow calls each with every entry until there are no more and done is closed, or ctx ends, or each fails. wait blocks
// until the file may have grown or ctx ends.
func (r *LogReader) Follow(ctx context.Context, done <-chan struct{}, wait func(context.Context) error, each func(Entry) error) error {
	for {
		over := isClosed(done) // asked before reading: what was written before the end is read
		for {
			e, ok, err := r.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := each(e); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := wait(ctx); err != nil {
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
