// Package copytree copies a folder of an image, which nobody trusts, into an empty one: owners, modes, times, attributes,
// links and holes.
//
// Start reading at Copy.
package copytree

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"pier/kernel/copyfile"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Copy copies what is in the open folder from into the empty folder to, and with itself also from's own owner, mode and
// attributes. Of a file with several names one copy is made; sockets are left out. What it wraps is the error of the
// first file that failed.
func Copy(to *fsroot.Root, from *os.File, itself bool) error {
	if err := copyTree(fsroot.FromFile(from), to, ".", make(map[uint64]string), 0); err != nil || !itself {
		return err
	}
	source, err := fsroot.NodeOf(from)
	if err != nil {
		return err
	}
	defer source.Close()
	top, err := fsroot.NodeOf(to.Dir())
	if err != nil {
		return err
	}
	defer top.Close()
	fi, err := source.Stat()
	if err != nil {
		return err
	}
	return like(top, source, fi)
}

// maxDepth bounds the folders in each other that are copied.
const maxDepth = 256

// copyTree copies the entries of the folder name. Links knows the files with several names that were copied, by inode.
func copyTree(from, to *fsroot.Root, name string, links map[uint64]string, depth int) error {
	if depth > maxDepth {
		return errkind.New(errkind.Invalid, "folders are nested more than %d deep", maxDepth)
	}
	dir, err := from.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyEntry(from, to, path.Join(name, e.Name()), links, depth); err != nil {
			return err
		}
	}
	return nil
}

func copyEntry(from, to *fsroot.Root, name string, links map[uint64]string, depth int) error {
	node, err := from.At(name)
	if err != nil {
		return err
	}
	defer node.Close()
	fi, err := node.Stat()
	if err != nil {
		return err
	}
	a := fsroot.AttrOf(fi)
	if first, ok := links[a.Inode]; ok && !fi.IsDir() {
		return to.Link(first, name)
	}
	switch mode := fi.Mode(); mode.Type() {
	case 0:
		err = copyContent(node, to, name)
	case fs.ModeDir:
		if err = to.MkdirAll(name, 0o700, 0, 0); err == nil {
			err = copyTree(from, to, name, links, depth+1)
		}
	case fs.ModeSymlink:
		var target string
		if target, err = node.Readlink(); err == nil {
			err = to.Symlink(target, name)
		}
	case fs.ModeSocket:
		return nil // of no use without who listens
	default:
		err = to.Mknod(name, mode, a.Rdev)
	}
	if err != nil {
		return err
	}
	if a.Links > 1 && !fi.IsDir() {
		links[a.Inode] = name
	}
	made, err := to.At(name)
	if err != nil {
		return err
	}
	defer made.Close()
	return like(made, node, fi)
}

func copyContent(node *fsroot.Node, to *fsroot.Root, name string) error {
	in, err := node.Open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = copyfile.Content(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}

// like gives made the owner, mode, attributes and times of node.
func like(made, node *fsroot.Node, fi os.FileInfo) error {
	a := fsroot.AttrOf(fi)
	if err := made.Chown(a.UID, a.GID); err != nil {
		return err
	}
	xattrs, err := node.Xattrs()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(xattrs))
	for name := range xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names { // a tmpfs need not take what another file system has
		if err := made.SetXattr(name, xattrs[name]); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		if err := made.Chmod(fi.Mode()); err != nil {
			return err
		}
	}
	at := fi.ModTime().UnixNano()
	return made.Chtimes(at, at)
}
