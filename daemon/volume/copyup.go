package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pier/kernel/fsroot"
)

// freshDir is where content is gathered before it becomes a volume's in one step.
const freshDir = "_fresh"

// CopyUp fills an empty volume, once, with what path holds below root (a container's root file system, as a directory
// or a detached mount), owners and modes included. A volume with content, or a path that is not a folder, is left alone;
// so is a volume whose options ask for a file system that is not mounted. After an error the volume is empty.
func (v *Volumes) CopyUp(ctx context.Context, name string, root *os.File, from string) error {
	v.mu.Lock()
	one, err := v.find(name)
	v.mu.Unlock()
	if err != nil {
		return err
	}
	one.work.Lock()
	defer one.work.Unlock()
	v.mu.Lock()
	filled, plain, alone := one.Filled || one.gone, len(one.Options) == 0, len(one.mounts) == 0 && len(one.holders) <= 1
	mounted := len(one.mounts) > 0
	v.mu.Unlock()
	if filled || !plain && !mounted {
		return nil
	}
	if empty, err := isEmpty(v.path(name)); err != nil || !empty {
		return err
	}
	source := fsroot.FromFile(root)
	if fi, err := source.Stat(from); err != nil || !fi.IsDir() {
		return ignoreMissing(err)
	}
	if plain && alone {
		err = v.replace(ctx, name, source, from)
	} else {
		// Somebody may look at the folder already, so it cannot be replaced by another.
		err = v.fill(ctx, v.path(name), source, from)
	}
	if err != nil {
		return fmt.Errorf("copy %s of the image to volume %s: %w", from, name, err)
	}
	if empty, err := isEmpty(v.path(name)); err != nil || empty {
		return err
	}
	v.mu.Lock()
	one.Filled = true
	r := one.row
	v.mu.Unlock()
	return v.records.Put(ctx, name, r)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// replace gathers a copy beside the empty folder and renames it over that, so that a crash leaves all or nothing.
func (v *Volumes) replace(ctx context.Context, name string, source *fsroot.Root, from string) error {
	fresh := filepath.Join(v.root, name, freshDir)
	if err := v.erase(name + "/" + freshDir); err != nil { // of a crash
		return err
	}
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	err := v.fill(ctx, fresh, source, from)
	if err == nil {
		err = v.rename(name+"/"+freshDir, name+"/"+dataDir)
	}
	if err != nil {
		_ = v.erase(name + "/" + freshDir)
	}
	return err
}

// rename replaces an empty folder by another, which os.Rename refuses to do.
func (v *Volumes) rename(from, to string) error {
	root, err := fsroot.Open(v.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Rename(from, to)
}

// fill copies what lies below from into the empty folder at dir; on an error it empties it again.
func (v *Volumes) fill(ctx context.Context, dir string, source *fsroot.Root, from string) (err error) {
	target, err := fsroot.Open(dir)
	if err != nil {
		return err
	}
	defer target.Close()
	// The folder may be reached by a symbolic link; below it links are copied as links.
	from, err = source.Resolve(from)
	if err != nil {
		return err
	}
	c := &copier{ctx: ctx, source: source, target: target, links: map[[2]uint64]string{}}
	if err = c.folder(from, "/"); err != nil {
		for _, e := range c.top {
			_ = target.RemoveAll(e)
		}
	}
	return err
}

// copier copies a tree. Every step resolves names inside the two roots, so that whoever changes either tree meanwhile
// can spoil the copy but lead it nowhere else.
type copier struct {
	ctx            context.Context
	source, target *fsroot.Root
	links          map[[2]uint64]string // by device and inode: the first name of a file with several
	top            []string
}

func (c *copier) folder(from, to string) error {
	dir, err := c.source.OpenFile(from, os.O_RDONLY|fsroot.ODirectory|fsroot.ONofollow, 0)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if to == "/" {
			c.top = append(c.top, name)
		}
		if err := c.entry(path.Join(from, name), path.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	node, err := c.source.At(from)
	if err != nil {
		return err
	}
	defer node.Close()
	fi, err := node.Stat()
	if err != nil {
		return err
	}
	return c.finish(node, fi, to) // last: copying into a folder changes its time
}

func (c *copier) entry(from, to string) error {
	node, err := c.source.At(from)
	if err != nil {
		return err
	}
	defer node.Close()
	fi, err := node.Stat()
	if err != nil {
		return err
	}
	attr := fsroot.AttrOf(fi)
	if !fi.IsDir() && attr.Links > 1 {
		key := [2]uint64{attr.Dev, attr.Inode}
		if first, ok := c.links[key]; ok {
			return c.target.Link(first, to)
		}
		c.links[key] = to
	}
	switch mode := fi.Mode(); {
	case mode.IsDir():
		if err := c.target.Mknod(to, os.ModeDir|0o700, 0); err != nil {
			return err
		}
		return c.folder(from, to)
	case mode.IsRegular():
		err = c.regular(node, to)
	case mode&os.ModeSymlink != 0:
		var text string
		if text, err = node.Readlink(); err == nil {
			err = c.target.Symlink(text, to)
		}
	case mode&os.ModeSocket != 0:
		return nil // dead without its listener
	default:
		err = c.target.Mknod(to, mode&(os.ModeType|os.ModePerm), attr.Rdev)
	}
	if err != nil {
		return err
	}
	return c.finish(node, fi, to)
}

func (c *copier) regular(node *fsroot.Node, to string) error {
	in, err := node.Open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.target.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|fsroot.ONofollow, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// finish gives the copy at to the owner, mode, attributes and time of the original.
func (c *copier) finish(node *fsroot.Node, fi os.FileInfo, to string) error {
	copied, err := c.target.At(to)
	if err != nil {
		return err
	}
	defer copied.Close()
	attr := fsroot.AttrOf(fi)
	if err := copied.Chown(attr.UID, attr.GID); err != nil {
		return err
	}
	if fi.Mode()&os.ModeSymlink == 0 {
		if err := copied.Chmod(fi.Mode()); err != nil {
			return err
		}
		attrs, err := node.Xattrs()
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(attrs)) {
			if strings.HasPrefix(name, "trusted.overlay.") || name == "security.selinux" {
				continue // about where the original lies
			}
			if err := copied.SetXattr(name, attrs[name]); err != nil {
				return err
			}
		}
	}
	mtime := fi.ModTime().UnixNano()
	return copied.Chtimes(mtime, mtime)
}
