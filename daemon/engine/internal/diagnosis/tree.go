package diagnosis

import (
	"io"
	"os"
	"path"
	"strings"

	"pier/kernel/fsroot"
)

// Tree is what a process would see of the file system.
type Tree struct {
	// Root is the container's; borrowed.
	Root *fsroot.Root
	// Over maps places in it to the files and folders of the host that a start would have mounted there. It is nil where
	// Root has all its mounts.
	Over map[string]string
}

// file is one opened entry.
type file struct {
	os.FileInfo
	noexec bool
	head   []byte // its first bytes, for a regular file
	at     func(offset int64, size int) []byte
	close  func()
}

// headSize is what is read of a file at first; the kernel looks at the first 256 bytes of a script.
const headSize = 4096

// in finds the tree to which name belongs, and its name there. The caller calls done.
func (t Tree) in(name string) (root *fsroot.Root, rest string, done func(), err error) {
	place := ""
	for p := range t.Over {
		if (name == p || strings.HasPrefix(name, strings.TrimSuffix(p, "/")+"/")) && len(p) > len(place) {
			place = p
		}
	}
	if place == "" {
		return t.Root, name, func() {}, nil
	}
	source, rest := t.Over[place], strings.TrimPrefix(name, place)
	if info, err := os.Stat(source); err == nil && !info.IsDir() { // a file, bound upon a file
		source, rest = path.Dir(source), path.Base(source)
	}
	root, err = fsroot.Open(source)
	if err != nil {
		return nil, "", nil, err
	}
	return root, "/" + rest, func() { _ = root.Close() }, nil
}

// stat describes name, links followed.
func (t Tree) stat(name string) (os.FileInfo, error) {
	root, rest, done, err := t.in(name)
	if err != nil {
		return nil, err
	}
	defer done()
	return root.Stat(rest)
}

// exists reports whether there is something at name.
func (t Tree) exists(name string) bool {
	_, err := t.stat(name)
	return err == nil
}

// dangling returns where the link name leads to, if it is one that leads to nothing.
func (t Tree) dangling(name string) (target string, ok bool) {
	root, rest, done, err := t.in(name)
	if err != nil {
		return "", false
	}
	defer done()
	if _, err := root.Stat(rest); err == nil {
		return "", false
	}
	n, err := root.At(rest)
	if err != nil {
		return "", false
	}
	defer n.Close()
	target, err = n.Readlink()
	return target, err == nil
}

// open opens name, links followed. What is neither file nor folder has no head.
func (t Tree) open(name string) (*file, error) {
	root, rest, done, err := t.in(name)
	if err != nil {
		return nil, err
	}
	defer done()
	handle, err := root.OpenFile(rest, fsroot.OPath, 0)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	f := &file{close: func() {}, at: func(int64, int) []byte { return nil }}
	if f.FileInfo, err = handle.Stat(); err != nil {
		return nil, err
	}
	fs, err := fsroot.FSOf(handle)
	if err != nil {
		return nil, err
	}
	f.noexec = fs.NoExec
	if !f.Mode().IsRegular() || fs.Kernel {
		return f, nil
	}
	content, err := root.OpenFile(rest, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	f.close = func() { _ = content.Close() }
	f.at = func(offset int64, size int) []byte {
		b, _ := io.ReadAll(io.NewSectionReader(content, offset, int64(size))) // what cannot be read is not there
		return b
	}
	f.head = f.at(0, headSize)
	return f, nil
}
