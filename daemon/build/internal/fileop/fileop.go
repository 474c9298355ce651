// Package fileop changes files inside a stage's root file system: what COPY, ADD and WORKDIR do.
//
// The target is always a merged overlay seen through fsroot, so that neither a link in an image nor one in a context
// leads out of it; the source is a tree.Tree, which has no outside.
//
// Start reading at Copy.
package fileop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	mode "github.com/tonistiigi/dchapes-mode"

	"pier/daemon/build/internal/tree"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Owner is who gets a new file.
type Owner struct{ UID, GID int }

// CopyOptions are the properties of one copy. They mirror the fields of an LLB copy action.
type CopyOptions struct {
	Owner *Owner       // nil: as in the source
	Mode  *os.FileMode // permission and set-id bits of all that is copied; nil: as in the source
	// ModeText is a symbolic mode such as "u+x,go-w" and stands before Mode; "" for none.
	ModeText           string
	DirContents        bool // copy what is in a source directory, not the directory
	Follow             bool // follow the last component of the source where it is a symbolic link
	Unpack             bool // unpack a source that is a tar archive, compressed or not
	CreateDest         bool // make the parents of the destination
	Wildcard           bool
	AllowEmptyWildcard bool // a wildcard that matches nothing is no error
	Replace            bool // a file of another kind in the way is removed instead of being an error
	Include, Exclude   []string
	Required           []string // paths that must exist in the source
	Time               *time.Time
}

// ErrSourceMissing is in the chain of the error for a source that does not exist.
var ErrSourceMissing = errors.New("no such file in the source")

// Copy copies source, a path or pattern in src, to dest in dst. A missing source is an error that wraps ErrSourceMissing
// and is of kind Invalid; so are files of another kind in the way.
func Copy(ctx context.Context, src tree.Tree, source string, dst *fsroot.Root, dest string, o CopyOptions) error {
	c := &copier{ctx: ctx, src: src, dst: dst, o: o, links: make(map[uint64]string)}
	if o.ModeText != "" {
		set, err := mode.ParseWithUmask(o.ModeText, 0)
		if err != nil {
			return errkind.New(errkind.Invalid, "mode %q: %w", o.ModeText, err)
		}
		c.modeSet = &set
	}
	var err error
	if c.filter, err = tree.NewFilter(o.Include, o.Exclude); err != nil {
		return err
	}
	for _, need := range o.Required {
		if _, err := tree.Resolve(src, need, true); err != nil {
			return missing(need, err)
		}
	}
	if !o.CreateDest {
		if _, err := dst.Stat(path.Dir(path.Join("/", dest))); err != nil {
			return errkind.New(errkind.Invalid, "copy to %s: its folder does not exist", dest)
		}
	}
	names := []string{source}
	if o.Wildcard {
		if names, err = tree.Glob(src, source, o.Follow); err != nil {
			return missing(source, err)
		}
		if len(names) == 0 && !o.AllowEmptyWildcard {
			return missing(source, fs.ErrNotExist)
		}
	}
	for _, name := range names {
		if o.Unpack {
			done, err := c.unpack(name, dest)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if err := c.copy(name, dest); err != nil {
			return err
		}
	}
	return c.finishDirs()
}

func missing(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errkind.New(errkind.Invalid, "%w: %s", ErrSourceMissing, name)
}

// copier is one Copy under way.
type copier struct {
	ctx     context.Context
	src     tree.Tree
	dst     *fsroot.Root
	o       CopyOptions
	modeSet *mode.Set
	filter  *tree.Filter
	links   map[uint64]string // source inode -> where its content already is
	dirs    []dirTime         // times to set once nothing more is made in the directories
	buf     []byte
}

type dirTime struct {
	name string
	time time.Time
}

// copy copies one file or directory.
func (c *copier) copy(name, dest string) error {
	top, err := tree.Resolve(c.src, name, c.o.Follow)
	if err != nil {
		return missing(name, err)
	}
	e, err := c.src.Lstat(top)
	if err != nil {
		return missing(name, err)
	}
	target, err := c.place(e, name, dest)
	if err != nil {
		return err
	}
	return tree.Walk(c.ctx, c.src, top, c.filter, func(rel string, e tree.Entry, selected bool) error {
		to := path.Join(target, rel)
		if err := c.entry(e, to, rel != "" && selected); err != nil {
			return fmt.Errorf("copy %s to %s: %w", e.Name, to, err)
		}
		return nil
	})
}

// place decides where the source goes and makes the directories above that place.
func (c *copier) place(e tree.Entry, name, dest string) (string, error) {
	dir := dest
	if base := path.Base(dest); !strings.HasSuffix(dest, "/") && base != "." {
		dir = path.Dir(dest)
	}
	if err := c.mkdirs(dir); err != nil {
		return "", err
	}
	target, err := realPath(c.dst, dest)
	if err != nil {
		return "", err
	}
	fi, err := c.dst.Stat(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if fi != nil && (e.Mode.IsDir() && !c.o.DirContents || !e.Mode.IsDir() && fi.IsDir()) {
		target = path.Join(target, path.Base(name))
	}
	parent := path.Dir(target)
	if c.o.DirContents && e.Mode.IsDir() && fi == nil {
		parent = target
	}
	return target, c.mkdirs(parent)
}

func (c *copier) mkdirs(name string) error {
	perm := os.FileMode(0o755)
	if c.o.Mode != nil {
		perm = *c.o.Mode
	}
	return mkdirAll(c.dst, name, perm, c.o.Owner, c.o.Time)
}

// realPath resolves the parents of name, and name itself where it exists.
func realPath(root *fsroot.Root, name string) (string, error) {
	p, err := root.Resolve(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	clean := path.Join("/", name)
	dir, err := root.Resolve(path.Dir(clean))
	if err != nil {
		return "", err
	}
	return path.Join(dir, path.Base(clean)), nil
}

// entry makes one file at to. overwrite says that a directory which exists takes over the source's attributes.
func (c *copier) entry(e tree.Entry, to string, overwrite bool) error {
	if e.Mode.IsDir() {
		return c.dir(e, to, overwrite)
	}
	uid, gid := c.owner(e)
	switch {
	case e.Mode.IsRegular():
		if first := c.links[e.Inode]; first != "" {
			if err := c.clear(to); err != nil {
				return err
			}
			return c.dst.Link(first, to)
		}
		if err := c.file(e, to, uid, gid); err != nil {
			return err
		}
		if e.Inode != 0 {
			c.links[e.Inode] = to
		}
		return nil
	case e.Mode&os.ModeSymlink != 0:
		if err := c.clear(to); err != nil {
			return err
		}
		if err := c.dst.Symlink(e.Link, to); err != nil {
			return err
		}
	default:
		if err := c.clear(to); err != nil {
			return err
		}
		if err := c.dst.Mknod(to, e.Mode&os.ModeType|c.perm(e.Mode), e.Rdev); err != nil {
			return err
		}
	}
	return c.attributes(e, to, uid, gid)
}

func (c *copier) dir(e tree.Entry, to string, overwrite bool) error {
	fi, err := c.dst.Lstat(to)
	if err == nil && !fi.IsDir() {
		if !c.o.Replace {
			return errkind.New(errkind.Invalid, "cannot copy to non-directory: %s", to)
		}
		if err := c.dst.RemoveAll(to); err != nil {
			return err
		}
		fi = nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if fi != nil && !overwrite {
		return nil
	}
	if fi == nil {
		if err := c.dst.Mknod(to, os.ModeDir|0o700, 0); err != nil {
			return err
		}
	}
	uid, gid := c.owner(e)
	if err := c.attributes(e, to, uid, gid); err != nil {
		return err
	}
	c.dirs = append(c.dirs, dirTime{to, c.time(e)})
	return nil
}

// clear removes what is at name so that something else can be made there; a directory is in the way unless Replace.
func (c *copier) clear(name string) error {
	fi, err := c.dst.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.IsDir():
		return c.dst.Remove(name)
	case c.o.Replace:
		return c.dst.RemoveAll(name)
	}
	return errkind.New(errkind.Invalid, "cannot replace to directory %s with file", name)
}

func (c *copier) file(e tree.Entry, to string, uid, gid int) error {
	in, err := c.src.Open(e.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := create(c.dst, to, c.clear)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := c.content(out, in); err != nil {
		return err
	}
	attrs, err := c.src.Xattrs(e.Name)
	if err != nil {
		return err
	}
	if err := fsroot.Finish(out, uid, gid, c.perm(e.Mode), c.time(e)); err != nil {
		return err
	}
	return setXattrs(c.dst, to, attrs)
}

// create makes a new regular file, removing what is there by clear.
func create(root *fsroot.Root, name string, clear func(string) error) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | fsroot.ONofollow
	f, err := root.OpenFile(name, flags, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := clear(name); err != nil {
		return nil, err
	}
	return root.OpenFile(name, flags, 0o600)
}

// content copies in to out: inside the kernel where both are files.
func (c *copier) content(out *os.File, in io.Reader) error {
	if _, ok := in.(*os.File); ok {
		_, err := out.ReadFrom(in)
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, 128<<10)
	}
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(c.buf)
		if n > 0 {
			if _, err := out.Write(c.buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func setXattrs(root *fsroot.Root, name string, attrs map[string][]byte) error {
	if len(attrs) == 0 {
		return nil
	}
	n, err := root.At(name)
	if err != nil {
		return err
	}
	defer n.Close()
	for k, v := range attrs {
		if err := n.SetXattr(k, v); err != nil {
			return err
		}
	}
	return nil
}

// attributes sets owner, mode, times and extended attributes of anything but a regular file.
func (c *copier) attributes(e tree.Entry, name string, uid, gid int) error {
	n, err := c.dst.At(name)
	if err != nil {
		return err
	}
	defer n.Close()
	var attrs map[string][]byte
	if e.Mode&os.ModeSymlink == 0 {
		if attrs, err = c.src.Xattrs(e.Name); err != nil {
			return err
		}
	}
	return n.Finish(uid, gid, c.perm(e.Mode)|e.Mode&os.ModeSymlink, attrs, c.time(e))
}

func (c *copier) owner(e tree.Entry) (uid, gid int) {
	if c.o.Owner != nil {
		return c.o.Owner.UID, c.o.Owner.GID
	}
	return e.UID, e.GID
}

const permBits = os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky

func (c *copier) perm(m os.FileMode) os.FileMode {
	switch {
	case c.modeSet != nil:
		return c.modeSet.Apply(m) & permBits
	case c.o.Mode != nil:
		return *c.o.Mode & permBits
	}
	return m & permBits
}

func (c *copier) time(e tree.Entry) time.Time {
	if c.o.Time != nil {
		return *c.o.Time
	}
	return e.ModTime
}

// finishDirs sets the times of directories, which filling them has changed.
func (c *copier) finishDirs() error {
	for _, d := range c.dirs {
		n, err := c.dst.At(d.name)
		if err != nil {
			return err
		}
		t := d.time.UnixNano()
		err = n.Chtimes(t, t)
		n.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
