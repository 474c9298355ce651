package quota

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// With PIER_QUOTA_DIR, a folder on a file system with project quotas (test/vm has one), limits hold there; elsewhere the
// refusal has a name.
func TestLimit(t *testing.T) {
	dir := os.Getenv("PIER_QUOTA_DIR")
	if dir == "" {
		err := Limit("x", 1<<20, t.TempDir())
		if !errkind.Is(err, errkind.Unsupported) {
			t.Skipf("the scratch folder has project quotas: %v", err)
		}
		return
	}
	dir, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Limit("x", 1<<20, a, b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, "half"), make([]byte, 1<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(a, "half"), filepath.Join(b, "half")); err != nil {
		t.Fatalf("the two folders are not one project: %v", err)
	}
	drop(t)
	if err := os.WriteFile(filepath.Join(a, "more"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than the limit: %v", err)
	}
	if err := Release(a); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, "more"), make([]byte, 1<<20), 0o600); err != nil {
		t.Errorf("released: %v", err)
	}
}

// drop gives up the right to ignore quotas; the test's own thread is the one that writes.
func drop(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}
