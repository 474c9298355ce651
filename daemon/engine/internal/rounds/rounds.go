// Package rounds does together what is due at about the same time. Each thing may be done a little before its time; so
// those that come again and again after the same pause, and then begin together, stay together, and the machine is woken
// once for all of them.
//
// Start reading at Rounds.After.
package rounds

import (
	"sync"
	"time"

	"pier/lib/clock"
)

// Rounds waits for the times of many things with one timer. It is safe for concurrent use.
type Rounds[T any] struct {
	clock clock.Clock
	most  int
	do    func([]T)

	mu      sync.Mutex // guards what follows
	waiting map[*Entry[T]]struct{}
	timer   clock.Timer
	at      time.Time // when timer fires, the zero time for never
}

// New returns Rounds that call do, in a goroutine of its own, with what is due: most of them at a time, others in another
// call.
func New[T any](c clock.Clock, most int, do func(due []T)) *Rounds[T] {
	return &Rounds[T]{clock: c, most: most, do: do, waiting: map[*Entry[T]]struct{}{}}
}

// Entry is one thing that waits for its time.
type Entry[T any] struct {
	r     *Rounds[T]
	what  T
	first time.Time // from when it may be done
	due   time.Time
}

// After has what done once pause has passed, or early before that at the earliest, if it is not stopped.
func (r *Rounds[T]) After(pause, early time.Duration, what T) *Entry[T] {
	due := r.clock.Now().Add(pause)
	e := &Entry[T]{r: r, what: what, first: due.Add(-early), due: due}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[e] = struct{}{}
	if r.at.IsZero() || due.Before(r.at) {
		r.wake(due)
	}
	return e
}

// Stop takes e out. What is being done already is not stopped. Calling it twice is harmless.
func (e *Entry[T]) Stop() {
	e.r.mu.Lock()
	defer e.r.mu.Unlock()
	delete(e.r.waiting, e) // the timer may fire for nothing
}

// wake sets the timer. It is called with mu held.
func (r *Rounds[T]) wake(at time.Time) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.at = at
	r.timer = r.clock.AfterFunc(at.Sub(r.clock.Now()), r.round)
}

// round takes out what may be done by now, and does it.
func (r *Rounds[T]) round() {
	due := r.take()
	for len(due) > r.most {
		go r.do(due[:r.most:r.most])
		due = due[r.most:]
	}
	if len(due) > 0 {
		r.do(due)
	}
}

func (r *Rounds[T]) take() (due []T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	var next time.Time
	some := false // is due, and not only allowed
	for e := range r.waiting {
		some = some || !e.due.After(now)
		if e.first.After(now) && (next.IsZero() || e.due.Before(next)) {
			next = e.due
		}
	}
	if !some { // what the timer was for was stopped
		for e := range r.waiting {
			if next.IsZero() || e.due.Before(next) {
				next = e.due
			}
		}
	} else {
		for e := range r.waiting {
			if !e.first.After(now) {
				due = append(due, e.what)
				delete(r.waiting, e)
			}
		}
	}
	r.timer, r.at = nil, time.Time{}
	if !next.IsZero() {
		r.wake(next)
	}
	return due
}
