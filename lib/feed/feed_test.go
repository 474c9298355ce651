package feed

import (
	"context"
	"errors"
	"testing"
)

func TestTailSeesOnlyWhatFollows(t *testing.T) {
	f := New[int](4)
	f.Publish(1)
	r := f.Tail()
	if v, _, ok := r.TryNext(); ok {
		t.Fatalf("Tail saw the earlier value %d", v)
	}
	f.Publish(2)
	if v, missed, ok := r.TryNext(); !ok || v != 2 || missed != 0 {
		t.Fatalf("TryNext = %d, %d, %v", v, missed, ok)
	}
}

func TestSlowReaderLearnsWhatItMissed(t *testing.T) {
	f := New[int](4)
	r := f.Tail()
	for i := range 10 {
		f.Publish(i)
	}
	v, missed, err := r.Next(context.Background())
	if err != nil || v != 6 || missed != 6 {
		t.Fatalf("Next = %d, missed %d, %v; want 6, 6", v, missed, err)
	}
	h := f.Head()
	if v, _, ok := h.TryNext(); !ok || v != 6 {
		t.Fatalf("Head begins with %d, %v; want 6", v, ok)
	}
}

func TestNextWaitsAndEndsWithContext(t *testing.T) {
	f := New[string](1)
	r := f.Tail()
	go f.Publish("hello")
	if v, _, err := r.Next(context.Background()); err != nil || v != "hello" {
		t.Fatalf("Next = %q, %v", v, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next on a cancelled context: %v", err)
	}
}

func TestAtAPlace(t *testing.T) {
	f := New[int](4)
	for i := range 6 {
		f.Publish(i)
	}
	r := f.At(3)
	if v, missed, ok := r.TryNext(); !ok || v != 3 || missed != 0 || r.Position() != 4 {
		t.Fatalf("At(3) begins with %d, missed %d, %v, then %d", v, missed, ok, r.Position())
	}
	r = f.At(0)
	if v, missed, ok := r.TryNext(); !ok || v != 2 || missed != 2 || r.Position() != 3 {
		t.Fatalf("At(0) begins with %d, missed %d, %v, then %d", v, missed, ok, r.Position())
	}
}
