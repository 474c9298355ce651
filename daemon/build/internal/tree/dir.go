package tree

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"pier/kernel/fsinfo"
	"pier/kernel/fsroot"
)

// Dir is the tree in a directory that does not change while it is read: merged layers. Close frees it.
type Dir struct {
	root *fsroot.Root
	file *os.File
}

// NewDir makes a tree of an open directory or detached mount and takes it over.
func NewDir(f *os.File) *Dir { return &Dir{root: fsroot.FromFile(f), file: f} }

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// File is the directory itself; it belongs to the Dir.
func (d *Dir) File() *os.File { return d.file }

// Lstat implements Tree.
func (d *Dir) Lstat(name string) (Entry, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return Entry{}, err
	}
	a, _ := fsinfo.Details(fi)
	e := Entry{Name: name, Mode: fi.Mode(), UID: a.UID, GID: a.GID, ModTime: fi.ModTime(), Rdev: a.Rdev}
	switch {
	case e.Mode.IsRegular():
		e.Size = fi.Size()
		if a.Nlink > 1 {
			e.Inode = a.Ino
		}
	case e.Mode&os.ModeSymlink != 0:
		n, err := d.root.At(name)
		if err != nil {
			return Entry{}, err
		}
		defer n.Close()
		if e.Link, err = n.Readlink(); err != nil {
			return Entry{}, err
		}
	}
	return e, nil
}

// Names implements Tree.
func (d *Dir) Names(dir string) ([]string, error) {
	f, err := d.root.OpenFile(dir, os.O_RDONLY|fsroot.ODirectory|fsroot.ONofollow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Open implements Tree.
func (d *Dir) Open(name string) (io.ReadCloser, error) {
	return d.root.OpenFile(name, os.O_RDONLY|fsroot.ONofollow, 0)
}

// Xattrs implements Tree.
func (d *Dir) Xattrs(name string) (map[string][]byte, error) {
	n, err := d.root.At(name)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, err
	}
	for k := range attrs {
		if !allowedXattr(k) {
			delete(attrs, k)
		}
	}
	return attrs, nil
}

// Empty is the tree of `FROM scratch`: a top directory and nothing in it.
type Empty struct{}

// Lstat implements Tree.
func (Empty) Lstat(name string) (Entry, error) {
	if path.Clean("/"+name) == "/" {
		return Entry{Name: "/", Mode: os.ModeDir | 0o755}, nil
	}
	return Entry{}, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

// Names implements Tree.
func (Empty) Names(string) ([]string, error) { return nil, nil }

// Open implements Tree.
func (Empty) Open(name string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Xattrs implements Tree.
func (Empty) Xattrs(string) (map[string][]byte, error) { return nil, nil }
