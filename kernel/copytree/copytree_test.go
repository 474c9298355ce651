package copytree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pier/kernel/fsroot"
)

func TestCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1e9, 0)
	must(os.MkdirAll(filepath.Join(from, "a/b"), 0o755))
	must(os.WriteFile(filepath.Join(from, "a/f"), []byte("text"), 0o644))
	err := unix.Setxattr(filepath.Join(from, "a/f"), "user.colour", []byte("red"), 0)
	attributes := !errors.Is(err, unix.ENOTSUP) // a tmpfs has them from Linux 6.6 on
	if attributes {
		must(err)
	}
	must(os.Link(filepath.Join(from, "a/f"), filepath.Join(from, "a/b/again")))
	must(os.Symlink("/etc/passwd", filepath.Join(from, "a/link")))
	must(unix.Mkfifo(filepath.Join(from, "fifo"), 0o600))
	must(os.Truncate(filepath.Join(from, "a/f"), 1<<20))
	must(os.Chown(filepath.Join(from, "a/f"), 12, 34))
	must(os.Chmod(filepath.Join(from, "a/f"), 0o750|os.ModeSetuid))
	deep := filepath.Join(from, "deep", strings.Repeat("d/", 600)) // more folders than descriptors, see below
	must(os.MkdirAll(deep, 0o755))
	for _, name := range []string{"a/f", "a/b", "a", "deep", "."} {
		must(os.Chtimes(filepath.Join(from, name), when, when))
	}
	var limit unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 256, Max: limit.Max}))
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()

	root, err := fsroot.Open(to)
	must(err)
	defer root.Close()
	source, err := os.Open(from)
	must(err)
	defer source.Close()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Copy(gone, root, source, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("its caller is gone: %v", err)
	}
	if left, _ := os.ReadDir(to); len(left) > 0 {
		t.Errorf("of a copy that ended early %v is left", left)
	}
	must(Copy(context.Background(), root, source, Options{Itself: true}))

	var first, second, fifo unix.Stat_t
	must(unix.Lstat(filepath.Join(to, "a/f"), &first))
	must(unix.Lstat(filepath.Join(to, "a/b/again"), &second))
	if first.Ino != second.Ino || first.Nlink != 2 || first.Uid != 12 || first.Gid != 34 || first.Mode&0o7777 != 0o4750 || first.Size != 1<<20 || first.Blocks > 64 {
		t.Errorf("a/f: %+v, a/b/again: %+v", first, second)
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(filepath.Join(to, "a/f"), "user.colour", value); attributes && (err != nil || string(value[:n]) != "red") {
		t.Errorf("attribute: %q, %v", value, err)
	}
	if text, err := os.Readlink(filepath.Join(to, "a/link")); text != "/etc/passwd" || err != nil {
		t.Errorf("link: %q, %v", text, err)
	}
	must(unix.Lstat(filepath.Join(to, "fifo"), &fifo))
	if fifo.Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("fifo: mode %o", fifo.Mode)
	}
	for _, name := range []string{"a/f", "a/b", "a", "deep", "."} {
		if fi, err := os.Lstat(filepath.Join(to, name)); err != nil || !fi.ModTime().Equal(when) {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	if _, err := os.Stat(filepath.Join(to, "deep", strings.Repeat("d/", 600))); err != nil {
		t.Error(err)
	}
}
