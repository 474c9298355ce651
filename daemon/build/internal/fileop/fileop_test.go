package fileop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/daemon/build/internal/tree"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// source is a small tree: /f, /d/g, /d/sub/h, /l -> f.
func source(t *testing.T) tree.Tree {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "d/sub"), 0o750))
	for _, name := range []string{"f", "d/g", "d/sub/h"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o640))
	}
	must(t, os.Link(filepath.Join(dir, "d/g"), filepath.Join(dir, "d/same")))
	must(t, os.Symlink("f", filepath.Join(dir, "l")))
	f, err := os.Open(dir)
	must(t, err)
	d := tree.NewDir(f)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list shows a directory: kind, permissions, link target or content.
func list(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fi, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case fi.IsDir():
			fmt.Fprintf(&s, "%s/ %o\n", rel, fi.Mode().Perm())
		case fi.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&s, "%s -> %s\n", rel, target)
		default:
			b, _ := os.ReadFile(p)
			fmt.Fprintf(&s, "%s %o %s\n", rel, fi.Mode().Perm(), b)
		}
		return nil
	}))
	return s.String()
}

func TestCopy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they give files away")
	}
	src := source(t)
	docker := CopyOptions{Follow: true, DirContents: true, CreateDest: true, Wildcard: true, AllowEmptyWildcard: true}
	m600 := os.FileMode(0o600)
	with := func(change func(*CopyOptions)) CopyOptions {
		o := docker
		change(&o)
		return o
	}
	for _, c := range []struct {
		name, from, to string
		o              CopyOptions
		prepare        []string // directories "x/", files "x", links "x->y" that are there before
		want           string   // or "error: " and words
	}{
		{"file to a new name", "/f", "/new", docker, nil, "new 640 f\n"},
		{"file into a directory to be", "/f", "/new/", docker, nil, "new/ 755\nnew/f 640 f\n"},
		{"file into a directory that is", "/f", "/x", docker, []string{"x/"}, "x/ 755\nx/f 640 f\n"},
		{"file over a file", "/f", "/x", docker, []string{"x"}, "x 640 f\n"},
		{"file over a link", "/f", "/x", docker, []string{"y", "x->y"}, "x -> y\ny 640 f\n"},
		{"file over a dangling link", "/f", "/x", docker, []string{"x->y"}, "x 640 f\n"},
		{"file through a link to a directory", "/f", "/x/z", docker, []string{"y/", "x->/y"}, "x -> /y\ny/ 755\ny/z 640 f\n"},
		{"link is followed", "/l", "/new", docker, nil, "new 640 f\n"},
		{"link is kept", "/l", "/new", with(func(o *CopyOptions) { o.Follow = false }), nil, "new -> f\n"},
		{"directory's content", "/d", "/x", docker, []string{"x/", "x/old"}, "x/ 755\nx/g 640 d/g\nx/old 644 old\nx/same 640 d/g\nx/sub/ 750\nx/sub/h 640 d/sub/h\n"},
		{"directory itself", "/d", "/x", with(func(o *CopyOptions) { o.DirContents = false }), []string{"x/"}, "x/ 755\nx/d/ 750\nx/d/g 640 d/g\nx/d/same 640 d/g\nx/d/sub/ 750\nx/d/sub/h 640 d/sub/h\n"},
		{"part", "/", "/x/", with(func(o *CopyOptions) { o.Include = []string{"d/sub"} }), nil, "x/ 755\nx/d/ 750\nx/d/sub/ 750\nx/d/sub/h 640 d/sub/h\n"},
		{"rest", "/d", "/x/", with(func(o *CopyOptions) { o.Exclude = []string{"**/h", "same"} }), nil, "x/ 755\nx/g 640 d/g\nx/sub/ 750\n"},
		{"mode", "/f", "/x/y", with(func(o *CopyOptions) { o.Mode = &m600 }), nil, "x/ 600\nx/y 600 f\n"},
		{"symbolic mode", "/f", "/y", with(func(o *CopyOptions) { o.ModeText = "a+x" }), nil, "y 751 f\n"},
		{"no match", "/q*", "/x/", docker, nil, ""},
		{"missing", "/q", "/x", docker, nil, "error: no such file in the source"},
		{"missing, required", "/", "/x", with(func(o *CopyOptions) { o.Include, o.Required = []string{"q"}, []string{"/q"} }), nil, "error: no such file in the source"},
		{"file over a directory", "/d/g", "/x/", docker, []string{"x/", "x/g/"}, "error: cannot replace to directory"},
		{"directory over a file", "/d", "/x", docker, []string{"x/", "x/sub"}, "error: cannot copy to non-directory"},
		{"directory replaces a file", "/d/sub", "/x/sub", with(func(o *CopyOptions) { o.Replace = true }), []string{"x/", "x/sub"}, "x/ 755\nx/sub/ 750\nx/sub/h 640 d/sub/h\n"},
		{"no parent", "/f", "/x/y", with(func(o *CopyOptions) { o.CreateDest = false }), nil, "error: does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, p := range c.prepare {
				full := filepath.Join(dir, p)
				if link, target, ok := strings.Cut(p, "->"); ok {
					must(t, os.Symlink(target, filepath.Join(dir, link)))
				} else if strings.HasSuffix(p, "/") {
					must(t, os.Mkdir(full, 0o755))
				} else {
					must(t, os.WriteFile(full, []byte(filepath.Base(p)), 0o644))
				}
			}
			root, err := fsroot.Open(dir)
			must(t, err)
			defer root.Close()
			err = Copy(context.Background(), src, c.from, root, c.to, c.o)
			if words, ok := strings.CutPrefix(c.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("error %v, want %q", err, words)
				}
				return
			}
			must(t, err)
			if got := list(t, dir); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// TestCopyKeepsHardLinks: names of one file stay names of one file.
func TestCopyKeepsHardLinks(t *testing.T) {
	dir := t.TempDir()
	root, err := fsroot.Open(dir)
	must(t, err)
	defer root.Close()
	must(t, Copy(context.Background(), source(t), "/d", root, "/", CopyOptions{DirContents: true, CreateDest: true}))
	a, err := os.Stat(filepath.Join(dir, "g"))
	must(t, err)
	b, err := os.Stat(filepath.Join(dir, "same"))
	must(t, err)
	if !os.SameFile(a, b) {
		t.Error("two files were made of one")
	}
}

func TestOps(t *testing.T) {
	dir := t.TempDir()
	root, err := fsroot.Open(dir)
	must(t, err)
	defer root.Close()
	when := time.Unix(1e9, 0)
	must(t, Mkdir(root, "/a/b", 0o711, true, nil, &when))
	must(t, Mkfile(root, "/a/f", []byte("one"), 0o600, nil, &when))
	must(t, Mkfile(root, "/a/f", []byte("two"), 0o640, nil, nil))
	must(t, Symlink(root, "../f", "/a/b/l", nil, &when))
	must(t, root.Mknod("/a/p", os.ModeNamedPipe|0o600, 0))
	must(t, Mkfile(root, "/a/p", []byte("no pipe"), 0o600, nil, nil)) // replaced, not opened
	if got, want := list(t, dir), "a/ 711\na/b/ 711\na/b/l -> ../f\na/f 640 two\na/p 600 no pipe\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if fi, err := os.Stat(filepath.Join(dir, "a/b/l")); err != nil || fi.Size() != 3 {
		t.Error(err)
	}
	must(t, Remove(root, "/a/b/l", false, false))
	must(t, Remove(root, "/a/[fp]", true, false))
	if err := Remove(root, "/a/none", false, false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, Remove(root, "/a/none", false, true))
	if err := Remove(root, "/a/..", false, true); err == nil {
		t.Error("the top directory was removed")
	}
	if got := list(t, dir); got != "a/ 711\na/b/ 711\n" {
		t.Error(got)
	}
}

// TestUnpackHungry refuses an archive that asks for too much memory; copied as it is, nobody would notice.
func TestUnpackHungry(t *testing.T) {
	dir := t.TempDir()
	// The headers of a stream and a block whose dictionary has 4 GiB (xz file format 1.2, sections 2.1.1 and 3.1).
	content := "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F" + "\x02\x00!\x01\x28\x00\x00\x00\xe6\xa0\x11\xb3"
	must(t, os.WriteFile(filepath.Join(dir, "a.tar.xz"), []byte(content), 0o600))
	f, err := os.Open(dir)
	must(t, err)
	src := tree.NewDir(f)
	defer src.Close()
	root, err := fsroot.Open(t.TempDir())
	must(t, err)
	defer root.Close()
	err = Copy(context.Background(), src, "/a.tar.xz", root, "/to/", CopyOptions{Unpack: true, CreateDest: true})
	if !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "a.tar.xz") {
		t.Errorf("unpacked: %v", err)
	}
	must(t, Copy(context.Background(), src, "/a.tar.xz", root, "/to/", CopyOptions{CreateDest: true}))
}
