package filelock

import (
	"path/filepath"
	"testing"

	"pier/lib/errkind"
)

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := Take(path); !errkind.Is(err, errkind.Conflict) {
		t.Fatalf("taken twice: %v, %v", g, err)
	}
	_ = f.Close()
	if f, err = Take(path); err != nil {
		t.Fatalf("not free after the close: %v", err)
	}
	_ = f.Close()
}
