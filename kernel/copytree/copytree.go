// Package copytree copies a folder that nobody trusts, of an image or a container, into an empty one: owners, modes, times,
// extended attributes, links and holes.
//
// Start reading at Copy.
package copytree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pier/kernel/copyfile"
	"pier/kernel/fsroot"
)

// Options tune Copy.
type Options struct {
	// Itself gives the target also the folder's own owner, mode, attributes and times.
	Itself bool
	// Lossy leaves out extended attributes that the target's file system does not take. Without it they are an error.
	Lossy bool
}

// Copy copies what is in the open folder from into the empty folder to, which others may see. Of a file with several names
// one copy is made; sockets are left out, and so are attributes that say where the original lies (trusted.overlay.*,
// security.selinux). What goes meanwhile is no error, and whoever changes either tree can spoil the copy but lead it
// nowhere else. The first error, or the end of ctx, ends it; then what it has made is removed.
func Copy(ctx context.Context, to *fsroot.Root, from *os.File, o Options) error {
	c := &copier{ctx: ctx, from: fsroot.FromFile(from), to: to, lossy: o.Lossy, links: make(map[file]string)}
	err := c.entries(".")
	if err == nil && o.Itself {
		err = c.finishTop(from)
	}
	if err != nil {
		for _, name := range c.made {
			_ = to.RemoveAll(name)
		}
	}
	return err
}

// file names a file with several names.
type file struct{ device, inode uint64 }

type copier struct {
	ctx      context.Context
	from, to *fsroot.Root
	lossy    bool
	links    map[file]string // the first name
	made     []string        // at the top
}

// entries copies what is in the folder name. No descriptor is held meanwhile, so folders may be nested as deep as a path is
// long.
func (c *copier) entries(name string) error {
	dir, err := c.from.OpenFile(name, os.O_RDONLY|fsroot.ODirectory|fsroot.ONofollow, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if name == "." {
			c.made = append(c.made, child)
		}
		if err := c.entry(path.Join(name, child)); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(name string) error {
	node, err := c.from.At(name)
	if err != nil {
		return ignoreMissing(err)
	}
	defer func() { node.Close() }()
	fi, err := node.Stat()
	if err != nil {
		return err
	}
	a := fsroot.AttrOf(fi)
	same := file{a.Dev, a.Inode}
	if first, ok := c.links[same]; ok && !fi.IsDir() {
		return c.to.Link(first, name)
	}
	switch mode := fi.Mode(); mode.Type() {
	case 0:
		err = Regular(c.to, name, node)
	case fs.ModeDir:
		if err := c.to.Mknod(name, fs.ModeDir|0o700, 0); err != nil {
			return err
		}
		node.Close()
		if err := c.entries(name); err != nil {
			return err
		}
		again, err := c.from.At(name)
		if err != nil { // filling the copy has changed its time, so it is finished last
			return ignoreMissing(err)
		}
		node = again
		if fi, err = node.Stat(); err == nil && !fi.IsDir() {
			return nil // something else has taken its place
		}
	case fs.ModeSymlink:
		var text string
		if text, err = node.Readlink(); err == nil {
			err = c.to.Symlink(text, name)
		}
	case fs.ModeSocket:
		return nil // of no use without who listens
	default:
		err = c.to.Mknod(name, mode, a.Rdev)
	}
	if err != nil {
		return err
	}
	if a.Links > 1 && !fi.IsDir() {
		c.links[same] = name
	}
	made, err := c.to.At(name)
	if err != nil {
		return err
	}
	defer made.Close()
	return c.finish(made, node, fi)
}

func (c *copier) finishTop(from *os.File) error {
	source, err := fsroot.NodeOf(from)
	if err != nil {
		return err
	}
	defer source.Close()
	top, err := fsroot.NodeOf(c.to.Dir())
	if err != nil {
		return err
	}
	defer top.Close()
	fi, err := source.Stat()
	if err != nil {
		return err
	}
	return c.finish(top, source, fi)
}

// finish gives made what node has.
func (c *copier) finish(made, node *fsroot.Node, fi fs.FileInfo) error {
	attrs := map[string][]byte{}
	if fi.Mode()&fs.ModeSymlink == 0 {
		all, err := node.Xattrs()
		if err != nil {
			return err
		}
		for name, value := range all {
			if !strings.HasPrefix(name, "trusted.overlay.") && name != "security.selinux" {
				attrs[name] = value
			}
		}
	}
	a := fsroot.AttrOf(fi)
	if !c.lossy {
		return made.Finish(a.UID, a.GID, fi.Mode(), attrs, fi.ModTime())
	}
	if err := made.Finish(a.UID, a.GID, fi.Mode(), nil, fi.ModTime()); err != nil {
		return err
	}
	for name, value := range attrs {
		if err := made.SetXattr(name, value); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}

// Regular copies the content of a regular file to a new one. The rest is Node.Finish.
func Regular(to *fsroot.Root, name string, node *fsroot.Node) error {
	in, err := node.Open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|fsroot.ONofollow, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copyfile.Content(out, in), out.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
