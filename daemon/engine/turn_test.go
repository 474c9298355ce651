package engine

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Five starts in a row, of which the second hangs and the third is slow: each begins when the one before is over, or five
// seconds after that one has begun, however long the row has been waiting.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		takes := []time.Duration{4 * time.Second, time.Hour, 12 * time.Second, time.Second, time.Second}
		begin := time.Now()
		began := make([]time.Duration, len(takes))
		var before *turn
		for i, d := range takes {
			over := make(chan struct{})
			in := &turn{before: before, begun: make(chan struct{}), over: over}
			before = in
			go func() {
				defer close(over)
				in.await(ctx)
				began[i] = time.Since(begin)
				select {
				case <-time.After(d):
				case <-ctx.Done():
				}
			}()
		}
		time.Sleep(time.Minute)
		want := []time.Duration{0, 4 * time.Second, 9 * time.Second, 14 * time.Second, 15 * time.Second}
		if !slices.Equal(began, want) {
			t.Errorf("began after %v, not %v", began, want)
		}
		cancel()
		synctest.Wait()
	})
}

// The end of the engine ends the wait, of the first behind one that hangs and of those behind it.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		before := &turn{begun: make(chan struct{})}
		before.await(ctx)
		done := make(chan struct{})
		for range 3 {
			in := &turn{before: before, begun: make(chan struct{})}
			before = in
			go func() {
				in.await(ctx)
				done <- struct{}{}
			}()
		}
		cancel()
		for range 3 {
			<-done
		}
		var none *turn
		none.await(ctx)
	})
}
