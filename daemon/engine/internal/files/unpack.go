package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"pier/daemon/image/layer"
	"pier/kernel/fsroot"
	"pier/lib/ctxio"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// Owner is who gets what is unpacked.
type Owner struct{ UID, GID int }

// UnpackOptions tune Unpack.
type UnpackOptions struct {
	KeepKinds bool   // a folder is not replaced by something else, nor something else by a folder
	Owner     *Owner // nil: as the archive says
	// Mode makes of the mode that the archive says the one that what is unpacked gets, if it is no symbolic link; nil: the same.
	Mode func(fs.FileMode) fs.FileMode
}

// Unpack makes in the folder dir what the archive r holds: a tar, plain or compressed with gzip, bzip2, xz or zstd. Long runs
// of zeros become holes. Extended attributes that the place cannot have are left out. On an error what was unpacked
// before stays. An archive that is damaged, or whose names lead out of dir by "..", is Invalid.
func Unpack(ctx context.Context, r io.Reader, root *fsroot.Root, dir string, o UnpackOptions) error {
	plain, err := layer.DecompressGiven(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	u := &unpacker{ctx: ctx, root: root, o: o, dir: dir, buf: make([]byte, copyBuffer)}
	tr := tar.NewReader(ctxio.Reader(ctx, plain))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return errkind.New(errkind.Invalid, "read the archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			err = Blame(err)
			return errkind.New(errkind.Of(err), "unpack %.256q: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	ctx  context.Context
	root *fsroot.Root
	o    UnpackOptions
	dir  string
	dirs []made // times are set when nothing more is made in them
	last string // a folder that is known to be there
	buf  []byte
}

type made struct {
	name string
	time time.Time
}

// place is where an archive's name lies.
func (u *unpacker) place(name string) (string, error) {
	place, ok := tarheader.Place(name)
	if !ok {
		return "", errkind.New(errkind.Invalid, "%q leads out of the archive", name)
	}
	return path.Join(u.dir, place), nil
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	to, err := u.place(h.Name)
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return errkind.New(errkind.Invalid, "owner %d:%d is out of range", h.Uid, h.Gid)
	}
	if to == u.dir {
		if h.Typeflag != tar.TypeDir {
			return errkind.New(errkind.Invalid, "the top of the archive is not a folder")
		}
		return nil // the folder was there before
	}
	exists, err := u.clear(to, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.regular(h, to, content)
	case tar.TypeLink:
		from, err := u.place(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(from, to)
	case tar.TypeDir:
		if !exists {
			if err := u.root.Mknod(to, fs.ModeDir|0o700, 0); err != nil {
				return err
			}
		}
		u.dirs = append(u.dirs, made{to, h.ModTime})
	case tar.TypeSymlink:
		err = u.root.Symlink(h.Linkname, to)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
			return errkind.New(errkind.Invalid, "device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		err = u.root.Mknod(to, h.FileInfo().Mode().Type()|0o600, fsroot.Device(uint32(h.Devmajor), uint32(h.Devminor)))
	default:
		return errkind.New(errkind.Invalid, "it is of the unknown type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.attributes(h, to)
}

// clear takes away what is in the way of an entry and makes the folders above it. A folder stays where one is to be made.
func (u *unpacker) clear(to string, dir bool) (exists bool, err error) {
	fi, err := u.root.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		parent := path.Dir(to)
		if parent == u.last {
			return false, nil
		}
		u.last = parent
		return false, u.root.MkdirAll(parent, 0o755, 0, 0)
	}
	if err != nil {
		return false, err
	}
	switch {
	case fi.IsDir() && dir:
		return true, nil
	case u.o.KeepKinds && fi.IsDir():
		return false, errkind.New(errkind.Invalid, "cannot overwrite directory %q with non-directory %q", to, u.dir)
	case u.o.KeepKinds && dir:
		return false, errkind.New(errkind.Invalid, "cannot overwrite non-directory %q with directory %q", to, u.dir)
	case fi.Mode().IsRegular() && !dir:
		// A file on which another is mounted, such as /etc/hosts, cannot be removed; regular writes into it.
		if err := u.root.Remove(to); err == nil || strings.HasSuffix(err.Error(), "device or resource busy") {
			return false, nil
		}
	}
	return false, u.root.RemoveAll(to)
}

func (u *unpacker) owner(h *tar.Header) (uid, gid int) {
	if u.o.Owner != nil {
		return u.o.Owner.UID, u.o.Owner.GID
	}
	return h.Uid, h.Gid
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (u *unpacker) mode(h *tar.Header) fs.FileMode {
	m := h.FileInfo().Mode()
	if u.o.Mode == nil {
		return m
	}
	return m&^modeBits | u.o.Mode(m)&modeBits
}

func (u *unpacker) regular(h *tar.Header, to string, content io.Reader) error {
	out, err := u.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|fsroot.ONofollow, 0o600)
	if errors.Is(err, fs.ErrExist) {
		out, err = u.root.OpenFile(to, os.O_WRONLY|os.O_TRUNC|fsroot.ONofollow, 0)
	}
	if err != nil {
		return err
	}
	defer out.Close()
	if fi, err := out.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, errkind.New(errkind.Conflict, "something else took its place"))
	}
	if err := u.content(out, content); err != nil {
		return err
	}
	uid, gid := u.owner(h)
	if err := fsroot.Finish(out, uid, gid, u.mode(h), h.ModTime); err != nil {
		return err
	}
	if !hasAttributes(h) {
		return nil
	}
	node, err := fsroot.NodeOf(out)
	if err != nil {
		return err
	}
	defer node.Close()
	return setAttributes(node, h)
}

// hole is how many zeros in a row are not written.
const hole = 32 << 10

func (u *unpacker) content(out *os.File, in io.Reader) error {
	at, end := int64(0), int64(0) // end of what came, end of what was written
	for {
		n, err := io.ReadFull(in, u.buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		for piece := range chunks(u.buf[:n], hole) {
			if len(piece) < hole || !allZero(piece) {
				if _, err := out.WriteAt(piece, at); err != nil {
					return err
				}
				end = at + int64(len(piece))
			}
			at += int64(len(piece))
		}
		if n < len(u.buf) {
			break
		}
	}
	if at != end {
		return out.Truncate(at)
	}
	return nil
}

func chunks(b []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

func allZero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }

// attributes finishes anything but a regular file. What has taken its place meanwhile does not get them.
func (u *unpacker) attributes(h *tar.Header, to string) error {
	node, err := u.root.At(to)
	if err != nil {
		return err
	}
	defer node.Close()
	fi, err := node.Stat()
	if err != nil {
		return err
	}
	if fi.Mode().Type() != h.FileInfo().Mode().Type() {
		return errkind.New(errkind.Conflict, "something else took its place")
	}
	if err := node.Chown(u.owner(h)); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := node.Chmod(u.mode(h)); err != nil {
			return err
		}
		if err := setAttributes(node, h); err != nil {
			return err
		}
	}
	return node.Chtimes(h.ModTime.UnixNano(), h.ModTime.UnixNano())
}

func hasAttributes(h *tar.Header) bool {
	for range tarheader.Xattrs(h) {
		return true
	}
	return false
}

func setAttributes(n *fsroot.Node, h *tar.Header) error {
	for name, value := range tarheader.Xattrs(h) {
		if !portable(name) {
			continue
		}
		if err := n.SetXattr(name, value); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// finish sets the times of folders, which filling them has changed. One that is gone by now needs none.
func (u *unpacker) finish() error {
	for _, d := range u.dirs {
		f, err := u.root.OpenFile(d.name, fsroot.OPath|fsroot.ODirectory|fsroot.ONofollow, 0)
		if err != nil {
			continue
		}
		node, err := fsroot.NodeOf(f)
		_ = f.Close()
		if err != nil {
			return err
		}
		err = node.Chtimes(d.time.UnixNano(), d.time.UnixNano())
		_ = node.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
