package logging

import (
	"context"
	"path/filepath"
	"time"

	"pier/kernel/inotify"
)

// lookAgain is how often a log is looked at where the kernel has no watch left to give.
const lookAgain = 200 * time.Millisecond

// Watch tells when the log at a path may have grown or been rotated.
type Watch struct {
	w *inotify.Watcher // nil: look now and then
}

// NewWatch watches the folder of the log at path, so that rotation is seen too. Read after it and before the first Wait.
func NewWatch(path string) *Watch {
	w, err := inotify.Watch(filepath.Dir(path))
	if err != nil {
		w = nil
	}
	return &Watch{w: w}
}

// Wait returns when something happened, done is closed, or ctx ends: only the last is an error.
func (l *Watch) Wait(ctx context.Context, done <-chan struct{}) error {
	if l.w == nil {
		t := time.NewTimer(lookAgain)
		defer t.Stop()
		select {
		case <-t.C:
		case <-done:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-done:
			cancel()
		case <-until.Done():
		}
	}()
	_, err := l.w.Wait(until)
	if err != nil && until.Err() == nil { // the folder is gone with its container: done follows
		select {
		case <-done:
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
	return ctx.Err()
}

// Close ends the watch. nil has none.
func (l *Watch) Close() {
	if l != nil && l.w != nil {
		_ = l.w.Close()
	}
}
