package fsroot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// tree makes a root "in" beside a canary that nothing may touch.
func tree(t *testing.T) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "in/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"in/etc/passwd": "inside", "passwd": "canary"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Open(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		root.Close()
		b, err := os.ReadFile(filepath.Join(dir, "passwd"))
		entries, dirErr := os.ReadDir(dir)
		if string(b) != "canary" || err != nil || dirErr != nil || len(entries) != 2 {
			t.Errorf("something outside the root was changed: %q %v %v", b, err, entries)
		}
	})
	return root, filepath.Join(dir, "in")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinksStayInside(t *testing.T) {
	root, dir := tree(t)
	for name, target := range map[string]string{
		"absolute": "/etc/passwd", "up": "../../../../etc/passwd", "chain": "absolute", "etcdir": "/etc", "loop": "loop",
		"magic": "/proc/self/root/etc/passwd", "outside": filepath.Join(filepath.Dir(dir), "passwd"),
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for _, name := range []string{"absolute", "/absolute", "up", "chain", "etcdir/passwd", "../etc/passwd", "etcdir/../../../etc/passwd"} {
		b, err := root.ReadFile(name, 100)
		if err != nil || string(b) != "inside" {
			t.Errorf("ReadFile(%q) = %q, %v", name, b, err)
		}
		if p, err := root.Resolve(name); err != nil || p != "/etc/passwd" {
			t.Errorf("Resolve(%q) = %q, %v", name, p, err)
		}
	}
	for _, name := range []string{"outside", "magic", "none", "etc/none"} {
		if _, err := root.ReadFile(name, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile(%q): %v", name, err)
		}
		if _, err := root.Resolve(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resolve(%q): %v", name, err)
		}
	}
	if _, err := root.ReadFile("loop", 100); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: %v", err)
	}
	if fi, err := root.Lstat("outside"); err != nil || fi.Mode()&os.ModeSymlink == 0 || fi.Name() != "outside" {
		t.Errorf("Lstat = %v, %v", fi, err)
	}
	if _, err := root.OpenFile("outside", ONofollow, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("OpenFile without following: %v", err)
	}
	// Creating through a link that points outside makes the file inside.
	must(t, root.MkdirAll(filepath.Dir(dir), 0o755, 0, 0))
	f, err := root.OpenFile("outside", os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	must(t, f.Close())
	if _, err := os.Stat(filepath.Join(dir, filepath.Dir(dir), "passwd")); err != nil {
		t.Error(err)
	}
}

func TestOnlyFilesAndDirectoriesAreOpened(t *testing.T) {
	root, _ := tree(t)
	must(t, root.Mknod("fifo", os.ModeNamedPipe|0o666, 0))
	must(t, root.Mknod("null", os.ModeDevice|os.ModeCharDevice|0o666, Device(1, 3)))
	for _, name := range []string{"fifo", "null"} {
		for _, flags := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREATE} {
			if _, err := root.OpenFile(name, flags, 0o600); !errkind.Is(err, errkind.Invalid) {
				t.Errorf("OpenFile(%s, %#x): %v", name, flags, err)
			}
		}
		f, err := root.OpenFile(name, OPath, 0)
		must(t, err)
		f.Close()
	}
	if _, err := root.ReadFile("etc", 100); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("reading a directory: %v", err)
	}
	if _, err := root.ReadFile("etc/passwd", 3); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("reading too much: %v", err)
	}
}

func TestMkdirAll(t *testing.T) {
	root, dir := tree(t)
	must(t, os.Symlink("/new/target", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("../../..", filepath.Join(dir, "etc/top")))
	must(t, root.MkdirAll("dangling/a/b", 0o1777, 7, 8))
	must(t, root.MkdirAll("dangling/a/b", 0o1777, 7, 8))
	must(t, root.MkdirAll("etc/top/made", 0o700, 0, 0))
	fi, err := root.Stat("new/target/a/b")
	must(t, err)
	if st := fi.Sys(); fi.Mode().Perm() != 0o777 || st == nil {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := root.Stat("made"); err != nil {
		t.Error(err)
	}
	if err := root.MkdirAll("etc/passwd/x", 0o755, 0, 0); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("through a file: %v", err)
	}
	if err := root.MkdirAll("etc/passwd", 0o755, 0, 0); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("on a file: %v", err)
	}
}

func TestEntries(t *testing.T) {
	root, dir := tree(t)
	must(t, root.Symlink("/etc/passwd", "link"))
	must(t, root.Link("link", "link2")) // of the symbolic link, not of the file
	must(t, root.Rename("link2", "etc/link3"))
	must(t, root.Mknod("file", 0o4755, 0))
	must(t, root.Mknod("dir", os.ModeDir|os.ModeSticky|0o777, 0))
	node, err := root.At("etc/link3")
	must(t, err)
	defer node.Close()
	if target, err := node.Readlink(); err != nil || target != "/etc/passwd" {
		t.Errorf("Readlink = %q, %v", target, err)
	}
	must(t, node.Chown(11, 12))
	must(t, node.Chtimes(1e9, 2e9))
	must(t, node.SetXattr("trusted.pier", []byte("v")))
	if attrs, err := node.Xattrs(); err != nil || string(attrs["trusted.pier"]) != "v" {
		t.Errorf("Xattrs = %v, %v", attrs, err)
	}
	if err := node.Chmod(0o600); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("Chmod of a link: %v", err)
	}
	fi, err := node.Stat()
	if err != nil || !fi.ModTime().Equal(time.Unix(2, 0)) {
		t.Errorf("ModTime = %v, %v", fi.ModTime(), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "etc/passwd")); err != nil || fi.ModTime().Unix() == 2 || fi.Mode().Perm() != 0o644 {
		t.Error("the target of the link was changed")
	}
	file, err := root.At("file")
	must(t, err)
	defer file.Close()
	must(t, file.Chown(1, 1))
	must(t, file.Chmod(0o750|os.ModeSetuid))
	if fi, err := root.Stat("file"); err != nil || fi.Mode() != 0o750|os.ModeSetuid {
		t.Errorf("mode = %v, %v", fi.Mode(), err)
	}
	if fi, err := root.Stat("dir"); err != nil || fi.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("mode = %v, %v", fi.Mode(), err)
	}
	for _, name := range []string{"", "/", ".", "..", "etc/.."} {
		if err := root.Remove(name); err == nil {
			t.Errorf("Remove(%q) did something", name)
		}
		if err := root.RemoveAll(name); err == nil {
			t.Errorf("RemoveAll(%q) did something", name)
		}
	}
	must(t, root.Remove("dir"))
	must(t, root.Remove("link"))
	if err := root.Remove("etc"); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("Remove of a full directory: %v", err)
	}
}

func TestRemoveAll(t *testing.T) {
	root, dir := tree(t)
	must(t, root.Symlink("../..", "etc/out"))
	must(t, root.MkdirAll("etc/deep"+strings.Repeat("/d", 450), 0o755, 0, 0))
	must(t, root.Symlink("/", "etc/deep/d/root"))
	must(t, root.RemoveAll("etc"))
	must(t, root.RemoveAll("etc"))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

// TestRace lets a directory and a link that points outside change places while the tree is used.
func TestRace(t *testing.T) {
	root, dir := tree(t)
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	must(t, os.Symlink(filepath.Dir(dir), filepath.Join(dir, "b")))
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "a"), unix.AT_FDCWD, filepath.Join(dir, "b"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	for deadline := time.Now().Add(150 * time.Millisecond); time.Now().Before(deadline); {
		_ = root.MkdirAll("a/x/y", 0o755, 0, 0)
		if f, err := root.OpenFile("a/passwd", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644); err == nil {
			f.Close()
		}
		if b, err := root.ReadFile("a/passwd", 100); err == nil && string(b) == "canary" {
			t.Fatal("read outside the root")
		}
		_ = root.Symlink("x", "a/l")
		_ = root.Remove("a/passwd")
		_ = root.RemoveAll("a/x")
		_ = root.Rename("a/l", "b/l")
	}
	close(done)
	<-stopped
}
