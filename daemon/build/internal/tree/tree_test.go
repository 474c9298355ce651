package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is a tree with links of every kind, and the same as a directory.
func example(t *testing.T) (*Memory, *Dir) {
	t.Helper()
	dir := t.TempDir()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range [][2]string{
		{"a/", ""}, {"a/b/", ""}, {"a/b/one.txt", "one"}, {"a/b/two.md", "two"}, {"a/c/", ""}, {"a/c/three.txt", "three"},
		{"up", "-> ../../a"}, {"abs", "-> /a/b"}, {"a/rel", "-> c/../b/one.txt"}, {"loop", "-> loop"}, {"gone", "-> nowhere"}, {"z", "z"},
	} {
		name, content := e[0], e[1]
		h := &tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(1e9, 0), Typeflag: tar.TypeReg, Size: int64(len(content))}
		host := filepath.Join(dir, name)
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
			err = os.Symlink(target, host)
		} else if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
			err = os.Mkdir(host, 0o755)
		} else {
			err = os.WriteFile(host, []byte(content), 0o644)
		}
		if err == nil {
			err = tw.WriteHeader(h)
		}
		if err == nil {
			_, err = io.WriteString(tw, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	spool := NewSpool(t.TempDir())
	m := NewMemory(spool)
	if err := m.ReadTar(context.Background(), &buf); err != nil {
		t.Fatal(err)
	}
	m.Seal()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDir(f)
	t.Cleanup(func() { _, _ = d.Close(), spool.Close() })
	return m, d
}

func TestResolve(t *testing.T) {
	m, d := example(t)
	for _, c := range []struct {
		name   string
		follow bool
		want   string // "" for missing
	}{
		{"a/b/one.txt", true, "/a/b/one.txt"},
		{"/a/./b/../c", true, "/a/c"},
		{"../../..", true, "/"},
		{"up", false, "/up"},
		{"up", true, "/a"},
		{"up/b", true, "/a/b"},
		{"abs/one.txt", false, "/a/b/one.txt"},
		{"a/rel", true, "/a/b/one.txt"},
		{"gone", false, "/gone"},
		{"gone", true, ""},
		{"z/x", true, ""},
		{"nothing/x", false, ""},
	} {
		for _, tr := range []Tree{m, d} {
			got, err := Resolve(tr, c.name, c.follow)
			if got != c.want || c.want == "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%T: resolve %q, follow %v: %q, %v; want %q", tr, c.name, c.follow, got, err, c.want)
			}
		}
	}
	if _, err := Resolve(m, "loop", true); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loop: %v", err)
	}
}

func TestGlob(t *testing.T) {
	m, d := example(t)
	for pattern, want := range map[string][]string{
		"a/b/one.txt": {"a/b/one.txt"}, // as it is
		"a/*/*.txt":   {"/a/b/one.txt", "/a/c/three.txt"},
		"abs/*":       {"/a/b/one.txt", "/a/b/two.md"},
		"*/b":         {"/a/b"}, // links are not followed by a wildcard
		"a/[bc]":      {"/a/b", "/a/c"},
		"a/[b":        nil,
		"x*":          nil,
		`a\*`:         {`a\*`},
	} {
		for _, tr := range []Tree{m, d} {
			got, err := Glob(tr, pattern, true)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%T: %q: %q, %v; want %q", tr, pattern, got, err, want)
			}
		}
	}
}

// TestDigest: both kinds of tree have the same digest for the same files, and each change has another.
func TestDigest(t *testing.T) {
	m, d := example(t)
	digest := func(tr Tree, s Selection) string {
		t.Helper()
		sum, err := Digest(context.Background(), tr, s)
		if err != nil {
			t.Fatal(err)
		}
		return string(sum[:])
	}
	for _, s := range []Selection{{Path: "/a/b"}, {Path: "/a/*", Wildcard: true}, {Path: "/a", Include: []string{"**/*.txt"}}, {Path: "/abs", Follow: true}} {
		if digest(m, s) != digest(d, s) {
			t.Errorf("%+v differs", s)
		}
	}
	all := Selection{Path: "/a"}
	seen := map[string]string{digest(d, all): "nothing"}
	path := func(name string) string { return filepath.Join(d.File().Name(), name) }
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(path("a/b/one.txt"), []byte("ONE"), 0o644) }},
		{"mode", func() error { return os.Chmod(path("a/b/one.txt"), 0o755) }},
		{"owner", func() error { return os.Chown(path("a/b"), 1, 2) }},
		{"name", func() error { return os.Rename(path("a/b/two.md"), path("a/b/three.md")) }},
		{"link", func() error { return errors.Join(os.Remove(path("a/rel")), os.Symlink("c", path("a/rel"))) }},
		{"directory", func() error { return os.Mkdir(path("a/d"), 0o755) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		sum := digest(d, all)
		if before, ok := seen[sum]; ok {
			t.Errorf("after %s as after %s", change.name, before)
		}
		seen[sum] = change.name
	}
	before := digest(d, all)
	if err := os.Chtimes(path("a/b/one.txt"), time.Unix(5, 0), time.Unix(5, 0)); err != nil {
		t.Fatal(err)
	}
	if digest(d, all) != before {
		t.Error("a time changed the digest")
	}
}

func TestExclude(t *testing.T) {
	m, _ := example(t)
	if err := m.Exclude(context.Background(), []string{"a", "!a/c/three.txt", "z"}); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := Walk(context.Background(), m, "/", nil, func(_ string, e Entry, _ bool) error {
		names = append(names, e.Name)
		return nil
	})
	if want := []string{"/", "/a", "/a/c", "/a/c/three.txt", "/abs", "/gone", "/loop", "/up"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%q, %v; want %q", names, err, want)
	}
}

// TestSpool reads contents back from both sides of the border between memory and file.
func TestSpool(t *testing.T) {
	s := NewSpool(t.TempDir())
	defer s.Close()
	m := NewMemory(s)
	want := map[string][]byte{}
	for i := range 20 {
		name := "/" + string(rune('a'+i))
		b := bytes.Repeat([]byte{byte(i)}, i*100_000)
		want[name] = b
		if _, err := m.AddFrom(Entry{Name: name, Mode: 0o600, Size: int64(len(b))}, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	m.Seal()
	if s.file == nil {
		t.Fatal("nothing went to the file")
	}
	for name, b := range want {
		got, err := ReadFile(m, name, 1<<30)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 0 {
		t.Error("the spool has a name:", left)
	}
}
