package fsinfo

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsageCountsBlocksOnce(t *testing.T) {
	dir := t.TempDir()
	empty, err := Usage(dir)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	hole, err := os.Create(filepath.Join(dir, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if err := hole.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if err := Sync(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Usage(dir)
	if err != nil || got-empty < size || got-empty > size+1<<16 {
		t.Errorf("a file of 1 MiB with two names, a hole and a link take %d bytes, %v", got-empty, err)
	}
}

func TestType(t *testing.T) {
	if kind, err := Type("/proc"); err != nil || kind != "0x9fa0" {
		t.Errorf("Type(/proc) = %q, %v", kind, err)
	}
	if _, err := Type(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("Type of what is not there: %v", err)
	}
}

func TestDetails(t *testing.T) {
	fi, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	d, ok := Details(fi)
	if !ok || Major(d.Rdev) != 1 || Minor(d.Rdev) != 3 || d.Nlink != 1 {
		t.Errorf("Details(/dev/null) = %+v, %v", d, ok)
	}
}
