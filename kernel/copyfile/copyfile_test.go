package copyfile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pier/kernel/fsinfo"
)

// TestContent copies a file with holes at its beginning, in the middle and at its end.
func TestContent(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	want := make([]byte, 8<<20)
	for _, at := range []int{1 << 20, 5 << 20} {
		copy(want[at:], bytes.Repeat([]byte("data"), 1000))
		if _, err := src.WriteAt(want[at:at+4000], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := src.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := Content(dst, src); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dst.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("copied %d bytes, equal %v, %v", len(got), bytes.Equal(got, want), err)
	}
	if used, err := fsinfo.Usage(dst.Name()); err != nil || used > 1<<20 {
		t.Errorf("the copy takes up %d bytes, %v", used, err)
	}
}
