package origin

import (
	"path/filepath"
	"testing"
	"time"

	"pier/kernel/filelock"
)

// TestAwaitDump waits for whoever holds the lock that a dump leaves to its criu.
func TestAwaitDump(t *testing.T) {
	dir := t.TempDir()
	if Dumping(dir) {
		t.Error("nobody dumps yet")
	}
	AwaitDump(dir)
	criu, err := filelock.Take(filepath.Join(dir, dumpLock))
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		AwaitDump(dir)
	}()
	select {
	case <-over:
		t.Error("a dump was not waited for")
	case <-time.After(200 * time.Millisecond):
	}
	if !Dumping(dir) {
		t.Error("the lock of a dump is gone")
	}
	criu.Close()
	select {
	case <-over:
	case <-time.After(30 * time.Second):
		t.Error("a dump that has ended is waited for")
	}
	if Dumping(dir) {
		t.Error("the lock of a dump that has ended stays")
	}
}
