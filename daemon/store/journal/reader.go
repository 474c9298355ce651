package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/lib/feed"
)

// outOfOrder bounds by how much an event may carry an earlier time than one that was published before it: times are taken
// before the feed is asked.
const outOfOrder = time.Second

// Reader gives events in the order in which they were published, first those of the past. It belongs to one goroutine at a
// time and needs a Close.
type Reader struct {
	j    *Journal
	live *feed.Reader[events.Message]
	past *past           // what is read from disk first, nil for nothing
	held *events.Message // from memory, to be given after the past
}

// Tail returns a reader of what is published after the call.
func (j *Journal) Tail() *Reader { return &Reader{j: j, live: j.o.Feed.Tail()} }

// Since returns a reader that begins with the oldest event, still known, that may not be older than t. (Up to a second of
// earlier ones may come before it.)
func (j *Journal) Since(t time.Time) *Reader {
	r := &Reader{j: j, live: j.o.Feed.Head()}
	begin, earliest := r.live.Position(), nanos(t.Add(-outOfOrder))
	first := *r.live
	if m, _, ok := first.TryNext(); ok && m.TimeNano < earliest {
		return r // memory goes back far enough
	}
	r.past = j.open(func(l line) bool { return l.nano >= earliest }, j.base+begin)
	return r
}

// nanos is UnixNano for any time: what is outside of its range is at its end.
func nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case s <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Close ends the reader.
func (r *Reader) Close() {
	if r.past != nil {
		r.past.close()
	}
}

// TryNext returns the next event if it is there already.
func (r *Reader) TryNext() (events.Message, bool) {
	return r.next(func() (events.Message, uint64, bool) { return r.live.TryNext() })
}

// Next returns the next event, waiting for it until ctx is done, which is the only error.
func (r *Reader) Next(ctx context.Context) (events.Message, error) {
	var err error
	m, _ := r.next(func() (m events.Message, missed uint64, ok bool) {
		m, missed, err = r.live.Next(ctx)
		return m, missed, err == nil
	})
	return m, err
}

// next gives what is left of the past, then what live gives. What live has no longer is past.
func (r *Reader) next(live func() (events.Message, uint64, bool)) (events.Message, bool) {
	for {
		if r.past != nil {
			if m, ok := r.past.next(); ok {
				return m, true
			}
			r.past.close()
			r.past = nil
		}
		if r.held != nil {
			m := *r.held
			r.held = nil
			return m, true
		}
		m, missed, ok := live()
		if !ok || missed == 0 {
			return m, ok
		}
		r.held = &m
		at := r.j.base + r.live.Position() - 1
		r.past = r.j.open(func(l line) bool { return l.seq >= at-missed }, at)
	}
}

// past reads lines from disk, up to a sequence number.
type past struct {
	files []*os.File // the older first; the front one is read
	ends  []int64
	lines *bufio.Reader
	end   uint64
}

// open goes to the first line that is late enough; lines are in that order. What comes from end on is left to others.
func (j *Journal) open(late func(line) bool, end uint64) *past {
	p := &past{end: end}
	j.mu.Lock()
	for _, name := range []string{older, current} {
		f, err := os.Open(filepath.Join(j.o.Dir, name))
		if err != nil {
			continue // there is none yet
		}
		size := j.size
		if name == older {
			info, err := f.Stat()
			if err != nil {
				_ = f.Close()
				continue
			}
			size = info.Size()
		}
		p.files, p.ends = append(p.files, f), append(p.ends, size)
	}
	j.mu.Unlock()
	for len(p.files) > 0 {
		if begin := search(p.files[0], p.ends[0], late); begin < p.ends[0] {
			p.begin(begin)
			break
		}
		p.drop()
	}
	return p
}

func (p *past) begin(at int64) {
	p.lines = bufio.NewReaderSize(io.NewSectionReader(p.files[0], at, p.ends[0]-at), lineLimit)
}

func (p *past) drop() {
	_ = p.files[0].Close()
	p.files, p.ends, p.lines = p.files[1:], p.ends[1:], nil
}

func (p *past) close() {
	for len(p.files) > 0 {
		p.drop()
	}
}

func (p *past) next() (m events.Message, ok bool) {
	for len(p.files) > 0 {
		if p.lines == nil {
			p.begin(0)
		}
		b, err := p.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			p.drop()
			continue
		}
		l, whole := parseLine(b)
		switch {
		case !whole:
			continue
		case l.seq >= p.end:
			return m, false
		case json.Unmarshal(l.text, &m) == nil:
			return m, true
		}
	}
	return m, false
}

// search finds where the first line that is late enough begins, size where there is none.
func search(f *os.File, size int64, late func(line) bool) int64 {
	const step = 4 << 10
	// Which stretch of the file is the first whose first line is late; the line wanted is in the one before.
	n := sort.Search(int(size/step)+1, func(i int) bool {
		_, l, ok := lineFrom(f, int64(i)*step, size)
		return !ok || late(l)
	})
	for at := int64(max(n-1, 0)) * step; ; {
		begin, l, ok := lineFrom(f, at, size)
		if !ok {
			return size
		}
		if late(l) {
			return begin
		}
		at = begin + 1
	}
}

// lineFrom reads the first line that begins at at or later.
func lineFrom(f *os.File, at, size int64) (begin int64, l line, ok bool) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, max(at-1, 0), size-max(at-1, 0)), 1<<10)
	begin = at
	if at > 0 { // the rest of the line before, at least its end
		begin = at - 1
		for {
			b, err := r.ReadSlice('\n')
			begin += int64(len(b))
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return size, l, false
			}
		}
	}
	head, err := r.Peek(64) // two numbers
	if err != nil && len(head) == 0 || begin >= size {
		return size, l, false
	}
	l, ok = parseLine(head)
	return begin, l, ok
}
