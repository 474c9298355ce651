package copying

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// Unpack makes in the local folder dir what an archive holds, its entries called to instead of from. owners: they keep
// their owners, which takes root; else they are the caller's, and run as nobody else (no set-id bits). Devices and pipes are left out and returned by name. An
// entry that leads out of dir is an error.
func Unpack(archive io.Reader, dir, from, to string, owners bool) (skipped []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := &unpacker{root: root, dir: dir, owners: owners}
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.skipped, u.finish()
		}
		if err != nil {
			return nil, err
		}
		h.Name = Rename(h.Name, from, to)
		if h.Typeflag == tar.TypeLink {
			h.Linkname = Rename(h.Linkname, from, to)
		}
		if err := u.entry(h, tr); err != nil {
			if bare := errkind.System(err); bare != nil {
				err = bare
			}
			return nil, fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	root    *os.Root
	dir     string
	owners  bool
	skipped []string
	dirs    []*tar.Header // their attributes are set when nothing more is made in them
}

// inside cleans an entry's name.
func inside(name string) (string, error) {
	place, ok := tarheader.Place(name)
	if !ok {
		return "", errkind.New(errkind.Invalid, "it leads out of the destination")
	}
	return place, nil
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil // the destination keeps its own attributes
	}
	h.Name = name
	isDir := h.Typeflag == tar.TypeDir
	fi, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	case err != nil:
		return err
	case fi.IsDir() && !isDir:
		return errkind.New(errkind.Invalid, "cannot overwrite directory %q with non-directory %q", path.Join(u.dir, name), u.dir)
	case !fi.IsDir() && isDir:
		return errkind.New(errkind.Invalid, "cannot overwrite non-directory %q with directory %q", path.Join(u.dir, name), u.dir)
	case !isDir:
		if err := u.root.Remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if fi == nil {
			if err := u.root.Mkdir(name, 0o700); err != nil {
				return err
			}
		}
		u.dirs = append(u.dirs, h)
		return nil
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.regular(h, content)
	case tar.TypeLink:
		target, err := inside(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(target, name)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil || !u.owners {
			return err
		}
		return u.root.Lchown(name, h.Uid, h.Gid)
	}
	u.skipped = append(u.skipped, name)
	return nil
}

// mode is the mode of an entry. Without its owner it loses what was meant for that one: a program that runs as whoever owns it
// would run as the caller.
func (u *unpacker) mode(h *tar.Header) fs.FileMode {
	mode := h.FileInfo().Mode()
	if u.owners {
		return mode
	}
	mode &^= fs.ModeSetuid | fs.ModeSetgid
	if h.Typeflag != tar.TypeDir {
		mode &^= fs.ModeSticky
	}
	return mode
}

func (u *unpacker) regular(h *tar.Header, content io.Reader) (err error) {
	f, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = writeSparse(f, content)
	if err == nil && u.owners {
		err = f.Chown(h.Uid, h.Gid)
	}
	if err == nil {
		err = f.Chmod(u.mode(h))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(h.Name, time.Time{}, h.ModTime)
}

// hole is how many zeros in a row are not written: archives hold the holes of a file as zeros.
const hole = 32 << 10

func writeSparse(f *os.File, content io.Reader) error {
	var zeros [hole]byte
	buf := make([]byte, hole)
	at, end := int64(0), int64(0) // end of what came, end of what was written
	for {
		n, err := io.ReadFull(content, buf)
		if n > 0 && (n < hole || !bytes.Equal(buf, zeros[:])) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
			end = at + int64(n)
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // a cut archive is noticed at its next entry
			break
		}
		if err != nil {
			return err
		}
	}
	if at == end {
		return nil
	}
	return f.Truncate(at)
}

func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- { // those inside first
		h := u.dirs[i]
		if u.owners {
			if err := u.root.Lchown(h.Name, h.Uid, h.Gid); err != nil {
				return err
			}
		}
		if err := u.root.Chmod(h.Name, u.mode(h)); err != nil {
			return err
		}
		if err := u.root.Chtimes(h.Name, time.Time{}, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
