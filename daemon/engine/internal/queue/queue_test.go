package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	var q Queue
	var ran []int // the queue's own: no lock
	var all sync.WaitGroup
	for i := range 100 {
		all.Add(1)
		q.Post(func() {
			defer all.Done()
			ran = append(ran, i)
		})
	}
	all.Wait()
	for i, n := range ran {
		if i != n {
			t.Fatalf("%v", ran)
		}
	}
}

func TestDo(t *testing.T) {
	var q Queue
	ctx, want := context.Background(), errors.New("its own")
	if err := q.Do(ctx, time.Minute, func() error { return want }); err != want {
		t.Errorf("%v", err)
	}
	free := make(chan struct{})
	q.Post(func() { <-free })
	ran := false
	if err := q.Do(ctx, time.Millisecond, func() error { ran = true; return nil }); err != ErrBusy {
		t.Errorf("behind one that does not end: %v", err)
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	over := make(chan struct{})
	if err := q.Do(gone, time.Minute, func() error { close(over); return nil }); err != context.Canceled {
		t.Errorf("a caller that goes away: %v", err)
	}
	close(free)
	<-over // what it asked for is done all the same
	if ran {
		t.Error("what never was to begin has run")
	}
}
