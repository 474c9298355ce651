package journal

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/lib/feed"
)

// start is the time of the first event; each is a second later than the one before.
var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

type rig struct {
	*Journal
	t    *testing.T
	feed *feed.Feed[events.Message]
}

func open(t *testing.T, dir string, remembered int, size int64) *rig {
	t.Helper()
	r := &rig{t: t, feed: feed.New[events.Message](remembered)}
	var err error
	if r.Journal, err = Open(Options{Dir: dir, Feed: r.feed, Log: slog.New(slog.DiscardHandler), Size: size}); err != nil {
		t.Fatal(err)
	}
	return r
}

// publish publishes events from to last, and lets the journal write after every few.
func (r *rig) publish(from, last int) {
	for i := from; i <= last; i++ {
		at := start.Add(time.Duration(i) * time.Second)
		r.feed.Publish(events.Message{Action: "start", Actor: events.Actor{ID: strconv.Itoa(i), Attributes: map[string]string{"name": "web"}},
			Time: at.Unix(), TimeNano: at.UnixNano()})
		if i%3 == 0 {
			time.Sleep(2 * gather)
		}
	}
	time.Sleep(2 * gather)
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// want reads what there is and compares: events from to last, without a gap.
func want(t *testing.T, r *Reader, from, last int) {
	t.Helper()
	defer r.Close()
	next := from
	for {
		m, ok := r.TryNext()
		if !ok {
			break
		}
		if m.Actor.ID != strconv.Itoa(next) || m.Actor.Attributes["name"] != "web" || m.TimeNano != start.Add(time.Duration(next)*time.Second).UnixNano() {
			t.Fatalf("event %+v, want %d", m, next)
		}
		next++
	}
	if next != last+1 {
		t.Fatalf("the last event is %d, want %d", next-1, last)
	}
}

func at(i int) time.Time { return start.Add(time.Duration(i)*time.Second + outOfOrder) }

func TestSinceAcrossLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, 16, 0)
		want(t, r.Since(time.Time{}), 1, 0) // nothing yet
		r.publish(1, 100)
		want(t, r.Since(time.Time{}), 1, 100)
		want(t, r.Since(at(40)), 40, 100)
		want(t, r.Since(at(97)), 85, 100) // all that is in memory: the caller looks at the times
		want(t, r.Tail(), 101, 100)
		r.close()

		r = open(t, dir, 16, 0)
		want(t, r.Since(at(30)), 30, 100)
		r.publish(101, 105)
		want(t, r.Since(at(99)), 99, 105)
		r.publish(106, 150)
		for _, i := range []int{1, 2, 50, 99, 100, 101, 104, 107, 120, 133} {
			want(t, r.Since(at(i)), i, 150)
		}
		if m, ok := r.Since(time.Unix(1<<60, 0)).TryNext(); ok && m.Actor.ID != "135" {
			t.Errorf("after the end of time: %+v", m)
		}
		r.close()
	})
}

// TestSlowReader has a reader fall behind what memory holds: the disk has what it has missed.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, t.TempDir(), 8, 0)
		defer r.close()
		slow := r.Tail()
		r.publish(1, 5)
		if m, err := slow.Next(context.Background()); err != nil || m.Actor.ID != "1" {
			t.Fatalf("%+v, %v", m, err)
		}
		r.publish(6, 90)
		want(t, slow, 2, 90)
		r.publish(91, 120)
		want(t, slow, 91, 120)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := slow.Next(ctx); err == nil {
			t.Error("an event that nobody published")
		}
	})
}

func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, 8, 16<<10)
		r.publish(1, 1000)
		reader := r.Since(time.Time{})
		m, ok := reader.TryNext()
		first, _ := strconv.Atoi(m.Actor.ID)
		if !ok || first < 500 || first > 950 {
			t.Fatalf("of 1000 events the first is %d", first)
		}
		r.publish(1001, 1080) // a file goes that the reader has
		want(t, reader, first+1, 1080)
		r.close()
		total := int64(0)
		for _, name := range []string{current, older} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			total += info.Size()
		}
		if total > 32<<10 {
			t.Errorf("%d bytes on disk", total)
		}
	})
}

// TestTorn cuts the last line at every byte, and puts what a power cut may leave behind it.
func TestTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, 8, 0)
		r.publish(1, 4)
		r.close()
		path := filepath.Join(dir, current)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		begin := strings.LastIndexByte(strings.TrimSuffix(string(whole), "\n"), '\n') + 1
		for _, tail := range []string{"", "\x00\x00\x00", "nonsense\n", "4 5 {\n"} {
			for cut := begin; cut < len(whole); cut += 7 {
				if err := os.WriteFile(path, append(whole[:cut:cut], tail...), 0o600); err != nil {
					t.Fatal(err)
				}
				r := open(t, dir, 8, 0)
				r.publish(4, 6)
				r.close()
				r = open(t, dir, 8, 0)
				want(t, r.Since(time.Time{}), 1, 6)
				r.close()
			}
		}
	})
}

// TestManyLabels keeps an event of a container with more labels than a line holds, without them.
func TestManyLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir, 8, 0)
		attributes := map[string]string{"name": "labelled", "exitCode": "3"}
		for i := range 20000 {
			attributes["label."+strconv.Itoa(i)] = strings.Repeat("x", 20)
		}
		r.feed.Publish(events.Message{Action: "die", TimeNano: start.UnixNano(), Actor: events.Actor{ID: "1", Attributes: attributes}})
		time.Sleep(2 * gather)
		r.close()
		r = open(t, dir, 8, 0)
		defer r.close()
		m, ok := r.Since(time.Time{}).TryNext()
		if !ok || m.Action != "die" || m.Actor.Attributes["name"] != "labelled" || m.Actor.Attributes["exitCode"] != "3" || len(m.Actor.Attributes) != 2 {
			t.Errorf("%v, %d attributes", ok, len(m.Actor.Attributes))
		}
	})
}
