package quota

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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
		if !strings.HasSuffix(err.Error(), "mounted with the option prjquota") { // no error number after what to do
			t.Errorf("the refusal: %v", err)
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

// TestReleaseForged releases a limit though the number of the container's root was changed through its overlay, as root in
// a container can.
func TestReleaseForged(t *testing.T) {
	place := overlayFolders(t)
	if err := Limit("forged", 1<<20, place("work"), place("upper")); err != nil {
		t.Fatal(err)
	}
	work, err := os.Open(place("work"))
	if err != nil {
		t.Fatal(err)
	}
	defer work.Close()
	var x fsxattr
	if err := ioctl(work, getXattr, &x); err != nil {
		t.Fatal(err)
	}
	if err := mountOverlay(place); err != nil {
		t.Fatal(err)
	}
	err = mark(place("root"), x.project+1)
	if umount := unix.Unmount(place("root"), 0); umount != nil {
		t.Fatal(umount)
	}
	if err != nil {
		t.Fatalf("this kernel does not let it be changed, and security.md says that it does: %v", err)
	}
	if err := Release(place("work")); err != nil {
		t.Fatal(err)
	}
	var b block
	if err := control(work, getQuota, x.project, &b); err == nil && b.hard != 0 {
		t.Errorf("a limit of %d KiB is left", b.hard)
	}
}

// TestEased mounts an overlay whose limit is used up: its work folder is made anew with each mount.
func TestEased(t *testing.T) {
	if err := Eased("/nowhere", 0, func() error { return nil }); err != nil {
		t.Errorf("without a size: %v", err)
	}
	if err := Eased(t.TempDir(), 1<<20, func() error { return os.ErrClosed }); err != os.ErrClosed {
		t.Errorf("without a limit: %v", err)
	}
	place := overlayFolders(t)
	const size = 1 << 20
	if err := Limit("eased", size, place("work"), place("upper")); err != nil {
		t.Fatal(err)
	}
	defer Release(place("work"))
	drop(t)
	fill := func(name string) {
		t.Helper()
		if err := os.WriteFile(name, make([]byte, 2*size), 0o600); !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("more than the limit: %v", err)
		}
	}
	fill(filepath.Join(place("upper"), "big"))
	readOnly := func() (is bool) {
		t.Helper()
		if err := mountOverlay(place); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(place("root"), 0)
		var fs unix.Statfs_t
		if err := unix.Statfs(place("root"), &fs); err != nil {
			t.Fatal(err)
		}
		return fs.Flags&unix.ST_RDONLY != 0
	}
	if !readOnly() {
		t.Error("this kernel mounts it anyway: then what follows shows nothing")
	}
	err := Eased(place("work"), size, func() error {
		if readOnly() {
			t.Error("read-only")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	fill(filepath.Join(place("upper"), "bigger"))
}

// overlayFolders makes the folders work, upper, lower and root of an overlay on a file system with project quotas, and says
// where each is.
func overlayFolders(t *testing.T) (place func(name string) string) {
	t.Helper()
	dir := os.Getenv("PIER_QUOTA_DIR")
	if dir == "" {
		t.Skip("needs a folder with project quotas, PIER_QUOTA_DIR")
	}
	dir, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	place = func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"work", "upper", "lower", "root"} {
		if err := os.Mkdir(place(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return place
}

func mountOverlay(place func(string) string) error {
	return unix.Mount("overlay", place("root"), "overlay", 0, "lowerdir="+place("lower")+",upperdir="+place("upper")+",workdir="+place("work"))
}

// drop gives up the right to ignore quotas; the test's own thread is the one that writes.
func drop(t *testing.T) {
	runtime.LockOSThread() // a capability is the thread's; the thread ends with the test
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
