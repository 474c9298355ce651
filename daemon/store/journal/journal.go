package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/lib/errkind"
	"pier/lib/feed"
)

const (
	current = "events.log"
	older   = "events.1.log"

	// lineLimit bounds a line, in bytes. An event of a container with more labels than that is kept without them.
	lineLimit = 256 << 10
	// gather is how long events are collected before they are written in one piece.
	gather = 5 * time.Millisecond
)

// fileSize is how large a file grows, in bytes; there are two.
const fileSize = 4 << 20

// Options say where the journal lies and what it remembers.
type Options struct {
	Dir  string // its folder, made where it is missing
	Feed *feed.Feed[events.Message]
	Log  *slog.Logger
	Size int64 // how large each of the two files grows; 0 means 4 MiB
}

// Journal is open until Close. It is safe for concurrent use.
type Journal struct {
	o    Options
	base uint64 // sequence number of the feed's first value
	stop context.CancelFunc
	done chan struct{}

	// Owned by the goroutine.
	file *os.File

	mu   sync.Mutex // guards what follows
	size int64      // of the current file
	end  uint64     // sequence number after the last one written
}

// Open takes up the journal in o.Dir and follows the feed, of which nothing may have been published yet. A line that was
// not written whole is cut off.
func Open(o Options) (*Journal, error) {
	if o.Size == 0 {
		o.Size = fileSize
	}
	fail := func(err error) (*Journal, error) {
		return nil, errkind.New(errkind.Internal, "open the journal of events in %s: %w", o.Dir, err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fail(err)
	}
	file, err := os.OpenFile(filepath.Join(o.Dir, current), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fail(err)
	}
	last, size, err := lastLine(file)
	if err == nil {
		err = errors.Join(file.Truncate(size), seekTo(file, size))
	}
	if err == nil && size == 0 { // the last one is in the other file
		var f *os.File
		if f, err = os.Open(filepath.Join(o.Dir, older)); err == nil {
			last, _, err = lastLine(f)
			_ = f.Close()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		_ = file.Close()
		return fail(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	j := &Journal{o: o, base: last + 1, stop: stop, done: make(chan struct{}), file: file, size: size, end: last + 1}
	go j.run(ctx, o.Feed.At(0))
	return j, nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, 0)
	return err
}

// Publish publishes an event on the feed. It never waits.
func (j *Journal) Publish(m events.Message) { j.o.Feed.Publish(m) }

// Close writes what has been published so far and ends the journal. Readers go on with what is in memory.
func (j *Journal) Close() error {
	j.stop()
	<-j.done
	return j.file.Close()
}

// run writes what the feed brings.
func (j *Journal) run(ctx context.Context, r *feed.Reader[events.Message]) {
	defer close(j.done)
	var lines []byte
	for broken := false; ; {
		m, _, err := r.Next(ctx)
		if err == nil {
			lines = appendLine(lines[:0], j.base+r.Position()-1, m)
			select {
			case <-time.After(gather):
			case <-ctx.Done():
			}
		} else {
			lines = lines[:0]
		}
		for len(lines) < int(j.o.Size)/2 {
			m, _, ok := r.TryNext()
			if !ok {
				break
			}
			lines = appendLine(lines, j.base+r.Position()-1, m)
		}
		if e := j.write(lines, j.base+r.Position()); e != nil && !broken {
			j.o.Log.Warn("events are not kept: GET /events will not show them after the next start", "error", e)
			broken = true
		} else if e == nil {
			broken = false
		}
		if err != nil {
			return
		}
	}
}

// appendLine adds the line of an event.
func appendLine(b []byte, seq uint64, m events.Message) []byte {
	text, err := json.Marshal(m)
	if err == nil && len(text) > lineLimit-64 {
		few := map[string]string{}
		for _, name := range []string{"name", "image", "container", "exitCode", "signal", "execID"} {
			if v, ok := m.Actor.Attributes[name]; ok && len(v) < 1<<10 {
				few[name] = v
			}
		}
		m.Actor.Attributes = few
		text, err = json.Marshal(m)
	}
	if err != nil || len(text) > lineLimit-64 {
		return b
	}
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, m.TimeNano, 10)
	b = append(b, ' ')
	return append(append(b, text...), '\n')
}

// write appends lines, and tells readers that everything before end is on disk. After an error the file is as before.
func (j *Journal) write(lines []byte, end uint64) error {
	if len(lines) == 0 {
		return nil
	}
	j.mu.Lock()
	full := j.size > 0 && j.size+int64(len(lines)) > j.o.Size
	size := j.size
	j.mu.Unlock()
	if full {
		if err := j.rotate(); err != nil {
			return err
		}
		size = 0
	}
	if _, err := j.file.Write(lines); err != nil {
		return errors.Join(err, j.file.Truncate(size), seekTo(j.file, size))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.size, j.end = size+int64(len(lines)), end
	return nil
}

// rotate begins a new file. Readers hold those that they have begun with.
func (j *Journal) rotate() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := os.Rename(j.file.Name(), filepath.Join(j.o.Dir, older)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(filepath.Join(j.o.Dir, current), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err // the next time there is no file to rename
	}
	_ = j.file.Close()
	j.file, j.size = file, 0
	return nil
}

// lastLine finds the last whole line of a file: its sequence number, 0 for none, and where it ends.
func lastLine(f *os.File) (seq uint64, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	from := max(info.Size()-2*lineLimit, 0)
	tail := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(tail, from); err != nil && len(tail) > 0 {
		return 0, 0, err
	}
	for len(tail) > 0 {
		tail = tail[:bytes.LastIndexByte(tail, '\n')+1]
		line := bytes.TrimSuffix(tail, []byte("\n"))
		begin := bytes.LastIndexByte(line, '\n') + 1
		if l, ok := parseLine(line[begin:]); ok && json.Valid(l.text) {
			return l.seq, from + int64(len(tail)), nil
		}
		tail = tail[:begin]
	}
	return 0, 0, nil
}

// line is a line's parts.
type line struct {
	seq  uint64
	nano int64
	text []byte
}

func parseLine(b []byte) (l line, ok bool) {
	first, rest, found := bytes.Cut(b, []byte(" "))
	second, text, found2 := bytes.Cut(rest, []byte(" "))
	seq, err := strconv.ParseUint(string(first), 10, 64)
	nano, err2 := strconv.ParseInt(string(second), 10, 64)
	return line{seq, nano, text}, found && found2 && err == nil && err2 == nil
}
