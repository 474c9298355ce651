package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mounts(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return strings.Count(string(b), " "+dir)
}

// at reads a file of a detached mount.
func at(t *testing.T, f *os.File, name string) string {
	t.Helper()
	n, err := unix.Openat(int(f.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	file := os.NewFile(uintptr(n), name)
	defer file.Close()
	buf := make([]byte, 100)
	size, err := file.Read(buf)
	must(t, err)
	return string(buf[:size])
}

func TestOverlay(t *testing.T) { testOverlay(t, Overlay) }

// TestOverlayByMount tests, on any kernel, the way that old kernels need.
func TestOverlayByMount(t *testing.T) {
	before := mounts(t, "")
	testOverlay(t, func(o OverlayOptions) (*os.File, error) {
		if o.Upper == "" && len(o.Lower) == 1 {
			return Overlay(o)
		}
		attrs := Attr(0)
		if o.Upper == "" {
			attrs = ReadOnly
		}
		return overlayByMount(o, attrs)
	})
	if after := mounts(t, ""); after != before {
		t.Errorf("%d mounts after %d", after, before)
	}
}

// TestOverlayOfManyLayers stacks as many layers as an image may have, by both ways.
func TestOverlayOfManyLayers(t *testing.T) {
	dir := t.TempDir()
	var o OverlayOptions
	for i := range 130 {
		o.Lower = append(o.Lower, filepath.Join(dir, strings.Repeat("long", 20), strconv.Itoa(i)))
		must(t, os.MkdirAll(o.Lower[i], 0o755))
		must(t, os.WriteFile(filepath.Join(o.Lower[i], strconv.Itoa(i)), []byte("x"), 0o644))
	}
	for _, overlay := range []func() (*os.File, error){
		func() (*os.File, error) { return Overlay(o) },
		func() (*os.File, error) { return overlayByMount(o, ReadOnly) },
	} {
		f, err := overlay()
		must(t, err)
		if got := at(t, f, "0") + at(t, f, "129"); got != "xx" {
			t.Errorf("read %q", got)
		}
		must(t, f.Close())
	}
}

func testOverlay(t *testing.T, overlay func(OverlayOptions) (*os.File, error)) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 200), strings.Repeat("y:,z", 20)) // too long for a string, awkward characters
	var lower []string
	for i, name := range []string{"top", "bottom", long} {
		if i < 2 {
			name = filepath.Join(dir, name)
		}
		must(t, os.MkdirAll(name, 0o755))
		must(t, os.WriteFile(filepath.Join(name, "f"), []byte{byte('0' + i)}, 0o644))
		must(t, os.WriteFile(filepath.Join(name, string(rune('a'+i))), []byte("own"), 0o644))
		lower = append(lower, name)
	}
	must(t, os.Mkdir(filepath.Join(lower[2], "merged"), 0o755))
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	must(t, os.Mkdir(upper, 0o755))
	must(t, os.Mkdir(work, 0o755))
	f, err := overlay(OverlayOptions{Lower: lower, Upper: upper, Work: work, Volatile: true})
	must(t, err)
	if got := at(t, f, "f") + at(t, f, "c"); got != "0own" {
		t.Errorf("read %q", got)
	}
	must(t, unix.Mkdirat(int(f.Fd()), "made", 0o755))
	if err := unix.Renameat2(int(f.Fd()), "merged", int(f.Fd()), "moved", 0); err != unix.EXDEV {
		t.Errorf("renaming a lower directory: %v, want EXDEV", err)
	}
	must(t, f.Close())
	if _, err := os.Stat(filepath.Join(upper, "made")); err != nil {
		t.Error(err)
	}

	for _, layers := range [][]string{lower, lower[:1]} {
		f, err = overlay(OverlayOptions{Lower: layers})
		must(t, err)
		if got := at(t, f, "f"); got != "0" {
			t.Errorf("read %q of %d layers", got, len(layers))
		}
		if err := unix.Mkdirat(int(f.Fd()), "refused", 0o755); err != unix.EROFS {
			t.Errorf("writing to a read-only overlay of %d layers: %v", len(layers), err)
		}
		must(t, f.Close())
	}
	if _, err := overlay(OverlayOptions{Lower: []string{filepath.Join(dir, "none"), dir}}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing layer: %v", err)
	}
}

func TestDetachedMountsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "place")
	must(t, os.Mkdir(place, 0o755))
	f, err := Filesystem("tmpfs", map[string]string{"size": "1m", "mode": "700"}, Nosuid|Nodev|Private)
	must(t, err)
	must(t, unix.Mkdirat(int(f.Fd()), "inside", 0o755))
	if n := mounts(t, dir); n != 0 {
		t.Errorf("%d mounts before Attach", n)
	}
	must(t, Attach(f, place))
	t.Cleanup(func() { _ = Unmount(place, true) })
	if _, err := os.Stat(filepath.Join(place, "inside")); err != nil || mounts(t, dir) != 1 {
		t.Errorf("after Attach: %v, %d mounts", err, mounts(t, dir))
	}
	must(t, SetAttr(f, false, ReadOnly|Noexec|Noatime, Nosuid))
	var st unix.Statfs_t
	must(t, unix.Statfs(place, &st))
	if st.Flags&unix.ST_RDONLY == 0 || st.Flags&unix.ST_NODEV == 0 || st.Flags&unix.ST_NOSUID != 0 || st.Flags&unix.ST_NOATIME == 0 {
		t.Errorf("flags %#x", st.Flags)
	}
	must(t, SetAttr(f, false, Slave, 0))
	if err := SetAttr(f, false, Slave|Shared, 0); err == nil {
		t.Error("two kinds of propagation at once")
	}
	if err := Unmount(place, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmounting while %s is open: %v", f.Name(), err)
	}
	must(t, f.Close())
	must(t, Unmount(place, false))
	if err := Unmount(place, false); !errors.Is(err, unix.EINVAL) || mounts(t, dir) != 0 {
		t.Errorf("unmounting twice: %v", err)
	}
	if _, err := Filesystem("tmpfs", map[string]string{"size": "many"}, 0); err == nil || !strings.Contains(err.Error(), "size=many") {
		t.Errorf("bad option: %v", err)
	}
}

func TestMoveGoesToTheHeldDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("bound"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "a/target"), nil, 0o644))
	held, err := os.Open(filepath.Join(dir, "a"))
	must(t, err)
	defer held.Close()
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	must(t, os.Symlink("/", filepath.Join(dir, "a")))

	f, err := OpenTree(filepath.Join(dir, "file"), false)
	must(t, err)
	defer f.Close()
	if err := Move(f, held, "x/y"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a name of two components: %v", err)
	}
	must(t, Move(f, held, "target"))
	place := filepath.Join(dir, "b/target")
	if b, err := os.ReadFile(place); err != nil || string(b) != "bound" {
		t.Errorf("%q, %v", b, err)
	}
	must(t, Unmount(place, true))
	if _, err := OpenTreeAt(held, "none", false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenTreeAt: %v", err)
	}
	clone, err := OpenTreeAt(held, "", true)
	must(t, err)
	must(t, clone.Close())
}

func TestEmptyHoldsNothingOfTheHost(t *testing.T) {
	ns, err := Empty()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	onPassingThread(func() {
		var self int
		if self, err = unix.Open("/proc/thread-self", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(self)
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			return
		}
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return
		}
		var n int
		if n, err = unix.Openat(self, "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		f := os.NewFile(uintptr(n), "mountinfo")
		defer f.Close()
		var text []byte
		if text, err = io.ReadAll(f); err == nil && bytes.Count(text, []byte("\n")) != 1 {
			err = fmt.Errorf("mounts: %s", text)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
