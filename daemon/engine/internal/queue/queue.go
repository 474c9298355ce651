// Package queue runs functions one after the other. Each container has a queue, its worker: whoever changes the container
// does so in there, and needs no lock.
//
// Start reading at Queue.
package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Queue runs functions in the order they came. It has a goroutine only while there are some, so that an idle one costs
// none. The zero value is ready; safe for concurrent use.
type Queue struct {
	mu    sync.Mutex // guards what follows
	queue []func()
	busy  bool
}

// Post has f run after all that were posted before, and does not wait for it.
func (q *Queue) Post(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, f)
	if !q.busy {
		q.busy = true
		go q.run()
	}
}

func (q *Queue) run() {
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.busy, q.queue = false, nil
			q.mu.Unlock()
			return
		}
		f := q.queue[0]
		q.queue = q.queue[1:]
		q.mu.Unlock()
		f()
	}
}

// ErrBusy says that a function could not begin in time, and never will.
var ErrBusy = errors.New("what was asked before has not come to its end")

// Do runs f in the queue and returns its error. A caller that goes away, whose ctx ends, does not stop f. Where f cannot
// begin within patience it never does, and the error is ErrBusy.
func (q *Queue) Do(ctx context.Context, patience time.Duration, f func() error) error {
	done := make(chan error, 1)
	var taken atomic.Bool // f has begun, or never will
	q.Post(func() {
		if taken.CompareAndSwap(false, true) {
			done <- f()
		}
	})
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-late.C:
			if taken.CompareAndSwap(false, true) {
				return ErrBusy
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
