package inotify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := Watch(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	short, cancelShort := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancelShort()
	if _, err := w.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nothing has happened, yet Wait says %v", err)
	}
	go func() { _, _ = f.WriteString("line\n") }()
	if event, err := w.Wait(ctx); err != nil || event&Modified == 0 {
		t.Fatalf("after a write: %#x, %v", event, err)
	}
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if event, err := w.Wait(ctx); err != nil || event&Gone == 0 {
		t.Fatalf("after a rename: %#x, %v", event, err)
	}
	go func() {
		time.Sleep(5 * time.Millisecond)
		w.Close()
	}()
	if _, err := w.Wait(ctx); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
	if _, err := Watch(name); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("watching what is not there: %v", err)
	}
}
