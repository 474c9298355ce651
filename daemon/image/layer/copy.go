package layer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"pier/kernel/copytree"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Copy is a copy of the upper folder of an overlay, whose owner commits or drops it.
type Copy struct {
	// Empty: the folder held nothing but what was left out.
	Empty bool

	store *Store
	dir   string
}

// Drop throws the copy away. It does nothing after Commit.
func (c *Copy) Drop() { _ = c.store.trash.put(c.dir) }

// Commit is Store.Commit of the copy.
func (c *Copy) Commit(ctx context.Context, parent digest.Digest) (Layer, error) {
	l, err := c.store.Commit(ctx, parent, filepath.Join(c.dir, diffDir))
	c.Drop()
	return l, err
}

// CopyUpper copies upper, which lies on chain and may be in use, for a Commit. Nothing is lost: owners, modes, times,
// extended attributes (those of overlayfs included), hard links, holes; blocks are shared where the file system can. Only
// sockets are left out, and what is at a placeholder (see Changes), empty, and nothing that chain has. While processes
// write, the files are of different moments. The caller holds chain.
func CopyUpper(ctx context.Context, s *Store, chain digest.Digest, upper string, placeholders []string) (*Copy, error) {
	below, err := s.below(chain)
	if err != nil {
		return nil, err
	}
	defer below.close()
	c := &Copy{store: s, dir: filepath.Join(s.root, tempDir, id.New())}
	to := filepath.Join(c.dir, diffDir)
	for _, dir := range []string{c.dir, to} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			c.Drop()
			return nil, errkind.OfDisk("copy layer", err)
		}
	}
	u := &upperCopier{ctx: ctx, placeholders: placeholders, below: below, links: map[inode]string{}}
	if err = u.open(upper, to); err == nil {
		err = u.tree()
		u.close()
	}
	if err != nil {
		c.Drop()
		return nil, errkind.OfDisk("copy layer", err)
	}
	c.Empty = u.copied == 0
	return c, nil
}

type upperCopier struct {
	ctx          context.Context
	placeholders []string
	below        *stack
	from, to     *fsroot.Root
	links        map[inode]string
	copied       int
}

func (u *upperCopier) open(from, to string) (err error) {
	if u.from, err = fsroot.Open(from); err != nil {
		return err
	}
	if u.to, err = fsroot.Open(to); err != nil {
		_ = u.from.Close()
	}
	return err
}

func (u *upperCopier) close() {
	_ = u.from.Close()
	_ = u.to.Close()
}

func (u *upperCopier) tree() error {
	n, err := u.from.At("/")
	if err != nil {
		return err
	}
	defer n.Close()
	return u.folder(n, u.from, "/", 0)
}

// folder copies what is in the folder n and then its attributes: copying into a folder changes its time.
func (u *upperCopier) folder(n *fsroot.Node, dir *fsroot.Root, place string, depth int) error {
	if depth == maxCompared {
		return errkind.New(errkind.Unsupported, "%s: folders are nested deeper than %d levels", place, maxCompared)
	}
	names, err := list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		if err := u.entry(dir, name, path.Join(place, name), depth); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	info, err := n.Stat()
	if err != nil {
		return err
	}
	return u.finish(n, info, place)
}

func (u *upperCopier) entry(dir *fsroot.Root, name, place string, depth int) error {
	n, info, err := entryOf(dir, name)
	if err != nil {
		return err
	}
	defer n.Close()
	attr := fsroot.AttrOf(info)
	placeholder := false
	if slices.Contains(u.placeholders, place) {
		lower, err := u.below.has(place)
		if err != nil {
			return err
		}
		placeholder = !lower
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := u.to.Mknod(place, fs.ModeDir|0o700, 0); err != nil {
			return err
		}
		f, err := n.Open(os.O_RDONLY | fsroot.ODirectory)
		if err != nil {
			return err
		}
		defer f.Close()
		u.copied++
		before := u.copied
		if err := u.folder(n, fsroot.FromFile(f), place, depth+1); err != nil || !placeholder || u.copied > before {
			return err
		}
		u.copied--
		return u.to.Remove(place)
	case mode&fs.ModeSocket != 0, placeholder && mode.IsRegular() && info.Size() == 0:
		return nil
	case attr.Links > 1 && u.links[inode{attr.Dev, attr.Inode}] != "":
		u.copied++
		return u.to.Link(u.links[inode{attr.Dev, attr.Inode}], place)
	case mode.IsRegular():
		err = copytree.Regular(u.to, place, n)
	case mode&fs.ModeSymlink != 0:
		var target string
		if target, err = n.Readlink(); err == nil {
			err = u.to.Symlink(target, place)
		}
	default:
		err = u.to.Mknod(place, mode.Type()|0o600, attr.Rdev)
	}
	if err != nil {
		return err
	}
	u.copied++
	if attr.Links > 1 && !isWhiteout(info) { // overlayfs makes its whiteouts names of one file
		u.links[inode{attr.Dev, attr.Inode}] = place
	}
	return u.finish(n, info, place)
}

func (u *upperCopier) finish(n *fsroot.Node, info fs.FileInfo, place string) error {
	to, err := u.to.At(place)
	if err != nil {
		return err
	}
	defer to.Close()
	var attrs map[string][]byte
	if info.Mode()&fs.ModeSymlink == 0 {
		if attrs, err = n.Xattrs(); err != nil {
			return err
		}
	}
	attr := fsroot.AttrOf(info)
	return to.Finish(attr.UID, attr.GID, info.Mode(), attrs, info.ModTime())
}
