package fileop

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"pier/daemon/build/internal/tree"
	"pier/daemon/image/layer"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// unpack extracts the source into the directory dest if it is a tar archive; otherwise it does nothing and returns false.
func (c *copier) unpack(name, dest string) (bool, error) {
	top, err := tree.Resolve(c.src, name, true)
	if err != nil {
		return false, missing(name, err)
	}
	e, err := c.src.Lstat(top)
	if err != nil {
		return false, missing(name, err)
	}
	if !e.Mode.IsRegular() {
		return false, nil
	}
	f, err := c.src.Open(top)
	if err != nil {
		return false, err
	}
	defer f.Close()
	plain, err := layer.DecompressGiven(f)
	if err != nil {
		return false, noArchive(name, err)
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	h, err := tr.Next()
	if err != nil {
		return false, noArchive(name, err)
	}
	if err := mkdirAll(c.dst, dest, 0o755, c.o.Owner, c.o.Time); err != nil {
		return false, err
	}
	base, err := c.dst.Resolve(dest)
	if err != nil {
		return false, err
	}
	for ; err == nil; h, err = tr.Next() {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		if err := c.extract(h, tr, base); err != nil {
			return false, errkind.New(errkind.Of(err), "unpack %s: %s: %w", name, h.Name, err)
		}
	}
	if !errors.Is(err, io.EOF) {
		return false, errkind.New(errkind.Invalid, "unpack %s: %w", name, err)
	}
	return true, nil
}

// noArchive is nil for what is not an archive that anybody can read: it is copied as it is. One that docker reads, which has
// no such limit, must not be copied without a word.
func noArchive(name string, err error) error {
	if layer.IsTooHungry(err) {
		return errkind.New(errkind.Invalid, "unpack %s: %w; or COPY it as it is", name, err)
	}
	return nil
}

// inArchive returns where an archive's name lies below base; names that climb out are refused.
func inArchive(base, name string) (string, error) {
	place, ok := tarheader.Place(name)
	if !ok {
		return "", errkind.New(errkind.Invalid, "%q leads out of the archive", name)
	}
	return path.Join(base, place), nil
}

// extract makes one entry of an archive below base.
func (c *copier) extract(h *tar.Header, content io.Reader, base string) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	to, err := inArchive(base, h.Name)
	if err != nil {
		return err
	}
	if to != base {
		if err := c.dst.MkdirAll(path.Dir(to), 0o755, 0, 0); err != nil {
			return err
		}
		if err := c.makeWay(to, h.Typeflag == tar.TypeDir); err != nil {
			return err
		}
	} else if h.Typeflag != tar.TypeDir {
		return errkind.New(errkind.Invalid, "the top of the archive is not a directory")
	}
	e := tree.Entry{Name: to, Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid, ModTime: h.ModTime, Link: h.Linkname}
	uid, gid := c.owner(e)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return c.extractFile(h, e, content, uid, gid)
	case tar.TypeLink:
		from, err := inArchive(base, h.Linkname)
		if err != nil {
			return err
		}
		return c.dst.Link(from, to)
	case tar.TypeDir:
		if err := c.dst.Mknod(to, os.ModeDir|0o700, 0); err != nil && !errors.Is(err, fs.ErrExist) && to != base {
			return err
		}
		c.dirs = append(c.dirs, dirTime{to, c.time(e)})
	case tar.TypeSymlink:
		if err := c.dst.Symlink(h.Linkname, to); err != nil {
			return err
		}
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		dev := fsroot.Device(uint32(h.Devmajor), uint32(h.Devminor))
		if err := c.dst.Mknod(to, e.Mode, dev); err != nil {
			return err
		}
	default:
		return errkind.New(errkind.Invalid, "unknown kind of entry %q", h.Typeflag)
	}
	return c.extracted(h, e, to, uid, gid)
}

// makeWay removes what has the name of an entry to come, except a directory for a directory.
func (c *copier) makeWay(name string, dir bool) error {
	fi, err := c.dst.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir() && dir:
		return nil
	}
	return c.dst.RemoveAll(name)
}

func (c *copier) extractFile(h *tar.Header, e tree.Entry, content io.Reader, uid, gid int) error {
	out, err := create(c.dst, e.Name, c.clear)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := c.content(out, content); err != nil {
		return err
	}
	if err := fsroot.Finish(out, uid, gid, e.Mode&permBits, c.time(e)); err != nil {
		return err
	}
	return setXattrs(c.dst, e.Name, tree.Xattrs(h))
}

func (c *copier) extracted(h *tar.Header, e tree.Entry, name string, uid, gid int) error {
	n, err := c.dst.At(name)
	if err != nil {
		return err
	}
	defer n.Close()
	if h.Typeflag == tar.TypeSymlink {
		return n.Finish(uid, gid, os.ModeSymlink, nil, c.time(e))
	}
	return n.Finish(uid, gid, e.Mode&permBits, tree.Xattrs(h), c.time(e))
}
