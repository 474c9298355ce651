package rounds

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pier/lib/clock"
)

// hand is a clock that is moved by hand. Calls that are due are made by who moves it.
type hand struct {
	mu    sync.Mutex
	now   time.Time
	calls []*call
}

type call struct {
	h  *hand
	at time.Time
	f  func()
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) AfterFunc(d time.Duration, f func()) clock.Timer {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &call{h, h.now.Add(d), f}
	h.calls = append(h.calls, c)
	return c
}

func (c *call) Stop() bool {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	i := slices.Index(c.h.calls, c)
	if i >= 0 {
		c.h.calls = slices.Delete(c.h.calls, i, i+1)
	}
	return i >= 0
}

// to moves the clock, and stops at each call on the way.
func (h *hand) to(at time.Time) {
	for {
		h.mu.Lock()
		var next *call
		for _, c := range h.calls {
			if !c.at.After(at) && (next == nil || c.at.Before(next.at)) {
				next = c
			}
		}
		if next == nil {
			h.now = at
			h.mu.Unlock()
			return
		}
		h.calls = slices.DeleteFunc(h.calls, func(c *call) bool { return c == next })
		h.now = next.at
		h.mu.Unlock()
		next.f()
	}
}

func TestTogether(t *testing.T) {
	start := time.Unix(1000, 0)
	h := &hand{now: start}
	var done []string
	r := New(h, 100, func(due []string) {
		slices.Sort(due)
		done = append(done, fmt.Sprint(h.now.Sub(start).Milliseconds(), due))
	})
	const ms = time.Millisecond
	r.After(1000*ms, 50*ms, "a")
	r.After(1040*ms, 50*ms, "b")            // with a
	r.After(1040*ms, 10*ms, "c")            // not so early
	r.After(990*ms, 0, "stopped").Stop()    // its timer does nothing
	r.After(960*ms, 5*ms, "d")              // early, but a is not yet allowed at its time
	r.After(2000*ms, 50*ms, "later").Stop() // no timer is left
	h.to(start.Add(3 * time.Second))
	if want := []string{"960 [a d]", "1040 [b c]"}; !slices.Equal(done, want) {
		// a may be done from 950 on
		t.Errorf("done: %v, want %v", done, want)
	}
	if len(h.calls) != 0 {
		t.Errorf("%d timers are left", len(h.calls))
	}
}

// TestStayTogether shows what becomes of things that begin at any time and come again after the same pause.
func TestStayTogether(t *testing.T) {
	start := time.Unix(1000, 0)
	h := &hand{now: start}
	const pause, early = time.Second, 50 * time.Millisecond
	rounds := 0
	last := map[int]time.Time{}
	var r *Rounds[int]
	r = New(h, 1000, func(due []int) {
		rounds++
		for i, n := range due {
			if gap := h.now.Sub(last[n]); !last[n].IsZero() && (gap < pause-early || gap > pause+10*time.Millisecond) {
				t.Errorf("%d again after %v", n, gap)
			}
			last[n] = h.now
			// They take from nothing to ten milliseconds.
			r.After(pause+time.Duration(i%11)*time.Millisecond, early, n)
		}
	})
	for i := range 100 {
		r.After(time.Duration(i)*10*time.Millisecond, 0, i)
	}
	h.to(start.Add(5 * time.Second))
	rounds = 0
	h.to(start.Add(15 * time.Second))
	if rounds > 250 {
		t.Errorf("%d rounds in 10 seconds for 100 things a second", rounds)
	}
	if len(last) != 100 {
		t.Errorf("%d things were done", len(last))
	}
}

func TestMost(t *testing.T) {
	h := &hand{now: time.Unix(1000, 0)}
	sizes := make(chan int)
	r := New(h, 4, func(due []int) { sizes <- len(due) })
	for i := range 10 {
		r.After(time.Second, 0, i)
	}
	go h.to(h.now.Add(time.Minute))
	got := []int{<-sizes, <-sizes, <-sizes}
	slices.Sort(got)
	if !slices.Equal(got, []int{2, 4, 4}) {
		t.Errorf("calls with %v", got)
	}
}
