// Package feed carries facts upwards: one writer publishes values, any number of readers follow at their own speed.
//
// A publisher never waits. Every value gets the next sequence number and stays in a ring of fixed size; a reader that
// falls further behind than the ring learns how many values it missed instead of slowing anybody down.
//
// Start reading at Feed.
package feed

import (
	"context"
	"sync"
)

// Feed is a ring of the latest values and a way to wait for more. Use New. It is safe for concurrent use.
type Feed[T any] struct {
	mu   sync.Mutex // guards the fields that follow
	ring []T
	next uint64        // sequence number of the value to come; the ring holds [next-len, next)
	more chan struct{} // closed and replaced when a value arrives
}

// New returns a feed that remembers the latest size values (at least 1).
func New[T any](size int) *Feed[T] {
	return &Feed[T]{ring: make([]T, max(size, 1)), more: make(chan struct{})}
}

// Publish appends v and wakes all waiting readers. It never blocks.
func (f *Feed[T]) Publish(v T) {
	f.mu.Lock()
	f.ring[f.next%uint64(len(f.ring))] = v
	f.next++
	wake := f.more
	f.more = make(chan struct{})
	f.mu.Unlock()
	close(wake)
}

// Tail returns a reader that sees only values published after the call.
func (f *Feed[T]) Tail() *Reader[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Reader[T]{feed: f, next: f.next}
}

// Head returns a reader that begins with the oldest value still remembered.
func (f *Feed[T]) Head() *Reader[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Reader[T]{feed: f, next: f.next - min(f.next, uint64(len(f.ring)))}
}

// At returns a reader that begins with the value of sequence number n, or, where that is remembered no longer, with the
// oldest that is, which counts as missed. Values are numbered from 0.
func (f *Feed[T]) At(n uint64) *Reader[T] { return &Reader[T]{feed: f, next: n} }

// Reader follows one feed. It holds no resources and needs no closing. It belongs to one goroutine at a time.
type Reader[T any] struct {
	feed *Feed[T]
	next uint64
}

// Next returns the next value, waiting for it until ctx is done. missed counts the values that were overwritten since
// the call before. The only error is the context's.
func (r *Reader[T]) Next(ctx context.Context) (v T, missed uint64, err error) {
	for {
		v, missed, ok, more := r.poll()
		if ok {
			return v, missed, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return v, 0, ctx.Err()
		}
	}
}

// TryNext returns the next value if it is there already.
func (r *Reader[T]) TryNext() (v T, missed uint64, ok bool) {
	v, missed, ok, _ = r.poll()
	return v, missed, ok
}

// Position is the sequence number of the value that Next and TryNext give next, if it is still there.
func (r *Reader[T]) Position() uint64 { return r.next }

func (r *Reader[T]) poll() (v T, missed uint64, ok bool, more <-chan struct{}) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.next >= f.next {
		return v, 0, false, f.more
	}
	size := uint64(len(f.ring))
	if behind := f.next - r.next; behind > size {
		missed = behind - size
		r.next += missed
	}
	v = f.ring[r.next%size]
	r.next++
	return v, missed, true, nil
}
