// Package waiters lets callers wait until something is in a certain way. A waiter costs no goroutine.
//
// Start reading at Waiters.Await.
package waiters

import (
	"context"
	"sync"
	"time"
)

// Waiters are those who wait for one thing, of which a T is a snapshot. The zero value has none. Safe for concurrent use.
type Waiters[T any] struct {
	mu  sync.Mutex // guards all
	all map[*Waiter[T]]struct{}
}

// Waiter is one of them.
type Waiter[T any] struct {
	of   *Waiters[T]
	want func(T) bool
	met  chan struct{}
	then T
}

// Await registers a waiter for want, which counts from now on: it holds for what now returns already, or will for what
// Notify is told. want is called with a lock held. Forget ends it.
func (ws *Waiters[T]) Await(now func() T, want func(T) bool) *Waiter[T] {
	w := &Waiter[T]{of: ws, want: want, met: make(chan struct{})}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if t := now(); want(t) {
		w.then = t
		close(w.met)
		return w
	}
	if ws.all == nil {
		ws.all = map[*Waiter[T]]struct{}{}
	}
	ws.all[w] = struct{}{}
	return w
}

// Notify wakes those whose condition holds for t, which the thing has just become.
func (ws *Waiters[T]) Notify(t T) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if w.want(t) {
			w.then = t
			close(w.met)
			delete(ws.all, w)
		}
	}
}

// Forget ends the wait. Calling it again, or once the condition was met, is harmless.
func (w *Waiter[T]) Forget() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	delete(w.of.all, w)
}

// Met is closed when the condition held once.
func (w *Waiter[T]) Met() <-chan struct{} { return w.met }

// Then is the snapshot for which it held. It is valid once Met is closed.
func (w *Waiter[T]) Then() T { return w.then }

// Within waits at most d, or without bound for a negative d, and reports whether the condition was met. Only the end of
// ctx is an error.
func (w *Waiter[T]) Within(ctx context.Context, d time.Duration) (met bool, err error) {
	var late <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-w.met:
		return true, nil
	case <-late:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
