package layer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pier/kernel/fsroot"
)

// TestChanges works in an overlay and compares what Changes tells of it, and what a copy of it commits to.
func TestChanges(t *testing.T) {
	ctx := context.Background()
	s, err := Open(Options{Root: filepath.Join(t.TempDir(), "layers")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	step := func(chain *Layer, name string, work func(root string)) Writable {
		w, err := s.NewWritable(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Mount(chain.ChainID, &w, MountOptions{})
		if err != nil {
			t.Fatal(err)
		}
		work(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return w
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) { t.Helper(); do(os.WriteFile(path, []byte(text), 0o644)) }
	base := step(&Layer{}, "base", func(root string) {
		for _, dir := range []string{"kept", "gone/in", "new", "placed", "mode", "data/empty"} {
			do(os.MkdirAll(filepath.Join(root, dir), 0o755))
		}
		for _, file := range []string{"kept/a", "kept/b", "gone/in/x", "new/1", "new/2", "kind", "data/cleared"} {
			write(filepath.Join(root, file), "x")
		}
	})
	one, err := s.Commit(ctx, "", base.Upper)
	do(err)
	// A second layer hides and brings back, so that the one on top must not see what lies at the bottom.
	middle := step(&one, "middle", func(root string) {
		do(os.Remove(filepath.Join(root, "kept/b")))
		do(os.RemoveAll(filepath.Join(root, "gone")))
		do(os.Mkdir(filepath.Join(root, "gone"), 0o755))
	})
	two, err := s.Commit(ctx, one.ChainID, middle.Upper)
	do(err)
	w := step(&two, "top", func(root string) {
		write(filepath.Join(root, "kept/a"), "y")
		write(filepath.Join(root, "kept/b"), "again")
		do(os.Mkdir(filepath.Join(root, "gone/in"), 0o755))
		do(os.RemoveAll(filepath.Join(root, "new")))
		do(os.Mkdir(filepath.Join(root, "new"), 0o755))
		write(filepath.Join(root, "new/2"), "z")
		write(filepath.Join(root, "placed/hosts"), "")
		do(os.Mkdir(filepath.Join(root, "dev"), 0o755))
		do(os.Chmod(filepath.Join(root, "mode"), 0o700))
		// The image has these: what is made to mount upon is beside what the container did to them.
		write(filepath.Join(root, "data/key"), "")
		write(filepath.Join(root, "data/cleared"), "")
		do(os.Mkdir(filepath.Join(root, "data/mine"), 0o755))
		for _, dir := range []string{"data", "data/empty"} {
			do(os.Chown(filepath.Join(root, dir), 7, 8))
			do(os.Chmod(filepath.Join(root, dir), 0o705))
		}
		do(os.Remove(filepath.Join(root, "kind")))
		do(os.Mkdir(filepath.Join(root, "kind"), 0o755))
		write(filepath.Join(root, "first"), "linked")
		do(os.Link(filepath.Join(root, "first"), filepath.Join(root, "second")))
	})
	placeholders := []string{"/dev", "/placed/hosts", "/data/key", "/data", "/data/empty", "/data/cleared", "/data/mine"}
	changes, err := Changes(ctx, s, two.ChainID, w.Upper, placeholders)
	do(err)
	var got []string
	for _, c := range changes {
		got = append(got, string("CAD"[c.Kind])+" "+c.Path)
	}
	want := []string{"C /data", "C /data/cleared", "C /data/empty", "A /first", "C /gone", "A /gone/in", "C /kept", "C /kept/a", "A /kept/b", "C /kind", "C /mode", "C /new", "D /new/1", "C /new/2", "A /second"}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n%q, want\n%q", got, want)
	}

	copied, err := CopyUpper(ctx, s, two.ChainID, w.Upper, placeholders)
	do(err)
	three, err := copied.Commit(ctx, two.ChainID)
	do(err)
	view, err := s.Mount(three.ChainID, nil, MountOptions{ReadOnly: true})
	do(err)
	defer view.Close()
	root := fmt.Sprintf("/proc/self/fd/%d", view.Fd())
	for path, there := range map[string]bool{"new/1": false, "new/2": true, "kept/b": true, "gone/in/x": false, "dev": false, "placed/hosts": false, "second": true,
		"data/key": false, "data/mine": false} {
		if _, err := os.Lstat(filepath.Join(root, path)); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, dir := range []string{"data", "data/empty"} {
		if info, err := os.Lstat(filepath.Join(root, dir)); err != nil || info.Mode() != os.ModeDir|0o705 || fsroot.AttrOf(info).UID != 7 || fsroot.AttrOf(info).GID != 8 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "data/cleared")); err != nil || len(text) != 0 {
		t.Errorf("a file that was emptied has %q, %v", text, err)
	}
	a, errA := os.Stat(filepath.Join(root, "first"))
	b, errB := os.Stat(filepath.Join(root, "second"))
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Error("two names of a file became two files")
	}
	if _, err := os.Lstat(filepath.Join(w.Upper, "first")); err != nil {
		t.Errorf("the copied folder is not what it was: %v", err)
	}
	empty := step(&two, "empty", func(root string) { do(os.Mkdir(filepath.Join(root, "dev"), 0o755)) })
	nothing, err := CopyUpper(ctx, s, two.ChainID, empty.Upper, placeholders)
	do(err)
	if !nothing.Empty {
		t.Error("a copy of placeholders is not empty")
	}
	nothing.Drop()
}
