package streams

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func line(n int) string {
	return fmt.Sprintf(`{"log":"line %d\n","stream":"stdout","time":"2026-01-01T00:00:%02d.5Z"}`+"\n", n, n%60)
}

func readAll(t *testing.T, path string, tail int) string {
	t.Helper()
	r, err := OpenLog(path, tail)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []string
	for {
		e, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(out, ",")
		}
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(e.Log, "line "), "\n"))
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func TestLogAcrossRotatedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := readAll(t, path, -1); got != "" {
		t.Fatalf("a log that does not exist: %q", got)
	}
	write(t, path+".2", line(1)+line(2))
	write(t, path+".1", line(3)+"{damaged\n"+line(4))
	write(t, path, line(5)+line(6)+`{"log":"half`)
	for tail, want := range map[int]string{-1: "1,2,3,4,5,6", 0: "", 1: "", 2: "6", 3: "5,6", 4: "4,5,6", 100: "1,2,3,4,5,6"} {
		if got := readAll(t, path, tail); got != want {
			t.Errorf("tail %d: %q, want %q", tail, got, want)
		}
	}
}

func TestTailOfLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", 300<<10)
	write(t, path, line(1)+`{"log":"`+long+`\n","stream":"stderr"}`+"\n"+line(2))
	r, err := OpenLog(path, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e, ok, err := r.Next()
	if err != nil || !ok || e.Log != long+"\n" || e.Stream != "stderr" {
		t.Fatalf("%d bytes, %v, %v", len(e.Log), ok, err)
	}
}

// TestFollow writes and rotates under a follower, which must see every line once and in order.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const lines = 3000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range lines {
			write(t, path, line(i))
			if i%500 == 499 {
				for n := 9; n > 0; n-- {
					_ = os.Rename(fmt.Sprintf("%s.%d", path, n), fmt.Sprintf("%s.%d", path, n+1))
				}
				_ = os.Rename(path, path+".1")
				time.Sleep(5 * time.Millisecond)
			}
		}
	}()
	watch := WatchLog(path)
	defer watch.Close()
	r, err := OpenLog(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	next := 0
	err = r.Follow(ctx, done, func(ctx context.Context) error { return watch.Wait(ctx, done) }, func(e Entry) error {
		if want := fmt.Sprintf("line %d\n", next); e.Log != want {
			return fmt.Errorf("read %q, want %q", e.Log, want)
		}
		next++
		return nil
	})
	if err != nil || next != lines {
		t.Fatalf("read %d of %d lines: %v", next, lines, err)
	}
}
