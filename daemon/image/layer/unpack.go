package layer

import (
	"archive/tar"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// The names by which archives say that something of a lower layer is gone (OCI image-spec, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs's own; all but the opaque mark mean nothing any more
	whiteoutOpaque = ".wh..wh..opq"
)

// overlayfs's form of the same: a character device 0:0, and an attribute on a folder.
const (
	xattrOpaque  = "trusted.overlay.opaque"
	xattrOverlay = "trusted.overlay."
)

// shadow says that what was at Path was moved to the shadow folder, under the name N, when a later entry of the archive
// took its place: the first Before files of the recipe that are at or below Path are found there.
type shadow struct {
	Path   string
	N      int
	Before int
}

// A hostile archive must not fill layer.json.
const maxShadows = 4096

// unpacker writes the entries of one archive into a layer's diff folder.
type unpacker struct {
	base   string       // the draft's folder
	root   *fsroot.Root // its diff folder
	lowers []string     // folders of the layers below, top first
	rec    record
	buf    []byte

	files       int // files that the recipe refers to so far
	sparseTotal int64
	linked      bool                // there are symbolic links, so a name and its place can differ
	shadows     *fsroot.Root        // the draft's folder, once something had to be moved aside
	times       map[string]dirTimes // of folders by place, set when nothing writes into them any more
	opaque      []string            // places of folders that hide what is below them
	at          folder              // the one that was entered last
}

// folder is an open folder of the layer. Its name is what the archive calls it, its place where that led: the same but
// for symbolic links on the way.
type folder struct {
	name, place string
	root        *fsroot.Root
	file        *os.File // what root borrows
}

type dirTimes struct{ atime, mtime int64 }

func newUnpacker(base string, lowers []string) (*unpacker, error) {
	diff := filepath.Join(base, diffDir)
	if err := os.Mkdir(diff, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(diff, 0o755); err != nil {
		return nil, err
	}
	root, err := fsroot.Open(diff)
	if err != nil {
		return nil, err
	}
	return &unpacker{base: base, root: root, lowers: lowers, buf: make([]byte, copyBuffer),
		times: map[string]dirTimes{}}, nil
}

func (u *unpacker) close() {
	u.forget()
	_ = u.root.Close()
	if u.shadows != nil {
		_ = u.shadows.Close()
	}
}

// cleanName turns an entry's name into a path below the root, "." for the root itself.
func cleanName(name string) (string, error) {
	place, ok := tarheader.Place(name)
	if !ok {
		return "", errkind.New(errkind.Invalid, "its name leads out of the root, or contains a zero byte")
	}
	return place, nil
}

// entry unpacks the entry h, whose content tr yields.
func (u *unpacker) entry(h *tar.Header, tr *tar.Reader, src *source) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(path.Dir(name), base)
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return errkind.New(errkind.Invalid, "owner %d:%d is out of range", h.Uid, h.Gid)
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errkind.New(errkind.Invalid, "the root can only be a folder")
		}
		return u.attributes(folder{root: u.root}, ".", h)
	}
	dir, err := u.enter(path.Dir(name))
	if err != nil {
		return err
	}
	if err := u.clear(dir, base, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	if dir, err = u.enter(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.regular(dir, base, h, tr, src)
	case tar.TypeDir:
		if err = dir.root.Mknod(base, fs.ModeDir|0o700, 0); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	case tar.TypeSymlink:
		u.linked = true
		err = dir.root.Symlink(h.Linkname, base)
	case tar.TypeLink:
		// Owner, mode and times are those of the file that it is another name of.
		return u.link(h.Linkname, name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = device(dir, base, h)
	default:
		err = errkind.New(errkind.Invalid, "it is of the unknown type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.attributes(dir, base, h)
}

func (u *unpacker) link(target, name string) error {
	clean, err := cleanName(target)
	if err != nil {
		return errkind.New(errkind.Invalid, "its link target leads out of the root")
	}
	err = u.root.Link(clean, name)
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.Invalid, "it is a hard link to %q, which this layer does not contain", target)
	}
	return err
}

func device(dir folder, base string, h *tar.Header) error {
	mode := fs.FileMode(0o600)
	switch h.Typeflag {
	case tar.TypeChar:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case tar.TypeBlock:
		mode |= fs.ModeDevice
	default:
		return dir.root.Mknod(base, mode|fs.ModeNamedPipe, 0)
	}
	if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
		return errkind.New(errkind.Invalid, "device number %d:%d is out of range", h.Devmajor, h.Devminor)
	}
	return dir.root.Mknod(base, mode, fsroot.Device(uint32(h.Devmajor), uint32(h.Devminor)))
}

func (u *unpacker) regular(dir folder, base string, h *tar.Header, tr *tar.Reader, src *source) error {
	f, err := dir.root.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY|fsroot.ONofollow, 0o600)
	if err != nil {
		return err
	}
	err = u.content(f, h, tr, src, path.Join(dir.place, base))
	if err == nil && len(h.PAXRecords) == 0 {
		err = fsroot.Finish(f, h.Uid, h.Gid, h.FileInfo().Mode(), time.Unix(0, unixNano(h.ModTime))) // the short way
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	u.rec.Size += h.Size
	if err != nil || len(h.PAXRecords) == 0 {
		return err
	}
	return u.attributes(dir, base, h)
}

// enter returns the folder name of the layer, made where it is missing. Symbolic links of the layer on the way are
// followed inside it. The folder is open until the next call of enter or forget.
func (u *unpacker) enter(name string) (folder, error) {
	if name == "." {
		return folder{root: u.root}, nil
	}
	if u.at.root != nil && u.at.name == name {
		return u.at, nil
	}
	f, err := u.root.OpenFile(name, fsroot.OPath|fsroot.ODirectory, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.imply(name); err != nil {
			return folder{}, err
		}
		f, err = u.root.OpenFile(name, fsroot.OPath|fsroot.ODirectory, 0)
	}
	if err != nil {
		return folder{}, err
	}
	u.forget()
	u.at = folder{name: name, place: name, root: fsroot.FromFile(f), file: f}
	if u.linked {
		place, err := u.root.Resolve(name)
		if err != nil {
			return folder{}, err
		}
		u.at.place = strings.TrimLeft(place, "/")
	}
	return u.at, nil
}

// forget closes the entered folder, because its name may now lead elsewhere.
func (u *unpacker) forget() {
	if u.at.file != nil {
		_ = u.at.file.Close()
	}
	u.at = folder{}
}

// imply makes dir and its parents, which the archive does not name. Each gets what the folder of that name in the
// layers below has, so that the new layer does not change it: /tmp stays open to all.
func (u *unpacker) imply(dir string) error {
	if up := path.Dir(dir); up != "." {
		if _, err := u.root.Stat(up); errors.Is(err, fs.ErrNotExist) {
			if err := u.imply(up); err != nil {
				return err
			}
		}
	}
	if err := u.root.MkdirAll(dir, 0o755, 0, 0); err != nil {
		return err
	}
	for _, lower := range u.lowers {
		done, err := u.inherit(lower, dir)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// inherit copies owner, mode, times and attributes of the folder dir in lower. It reports whether the search ends here.
func (u *unpacker) inherit(lower, dir string) (bool, error) {
	below, err := fsroot.Open(lower)
	if err != nil {
		return false, err
	}
	defer below.Close()
	info, err := below.Lstat(dir)
	if err != nil {
		return false, nil // not in this layer
	}
	if !info.IsDir() {
		return true, nil
	}
	from, err := below.At(dir)
	if err != nil {
		return false, err
	}
	defer from.Close()
	to, err := u.root.At(dir)
	if err != nil {
		return false, err
	}
	defer to.Close()
	attr := fsroot.AttrOf(info)
	if err := to.Chown(attr.UID, attr.GID); err != nil {
		return false, err
	}
	if err := to.Chmod(info.Mode()); err != nil {
		return false, err
	}
	attrs, err := from.Xattrs()
	if err != nil {
		return false, err
	}
	for name, value := range attrs {
		if !strings.HasPrefix(name, "trusted.") {
			if err := setXattr(to, name, value); err != nil {
				return false, err
			}
		}
	}
	u.times[dir] = dirTimes{info.ModTime().UnixNano(), info.ModTime().UnixNano()}
	return true, nil
}

// clear makes room for the entry base in dir: what is in its place goes, unless both are folders.
func (u *unpacker) clear(dir folder, base string, isDir bool) error {
	info, err := dir.root.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if isDir && info.IsDir() {
		return nil
	}
	place := path.Join(dir.place, base)
	defer u.forget()
	if !info.IsDir() && (!info.Mode().IsRegular() || info.Size() == 0) {
		if isDir && isWhiteout(info) {
			u.opaque = append(u.opaque, place) // gone below, and begun anew here
		}
		return dir.root.Remove(base)
	}
	// Moved aside, not removed: the tar still contains what was unpacked there.
	if u.shadows == nil {
		if u.shadows, err = fsroot.Open(u.base); err != nil {
			return err
		}
		if err := u.shadows.Mknod(shadowDir, fs.ModeDir|0o700, 0); err != nil {
			return err
		}
	}
	n := len(u.rec.Shadows)
	if n == maxShadows {
		return errkind.New(errkind.Invalid, "the archive replaces its own entries more than %d times", maxShadows)
	}
	if err := u.shadows.Rename(path.Join(diffDir, place), shadowName(n)); err != nil {
		return err
	}
	u.rec.Shadows = append(u.rec.Shadows, shadow{Path: place, N: n, Before: u.files})
	maps.DeleteFunc(u.times, func(dir string, _ dirTimes) bool { return within(dir, place) })
	u.opaque = slices.DeleteFunc(u.opaque, func(dir string) bool { return within(dir, place) })
	return nil
}

// within reports whether the place p is top or below it.
func within(p, top string) bool {
	rest, ok := strings.CutPrefix(p, top)
	return ok && (rest == "" || rest[0] == '/')
}

// isWhiteout reports whether info is overlayfs's mark for a name that is gone.
func isWhiteout(info fs.FileInfo) bool {
	return info.Mode()&fs.ModeCharDevice != 0 && fsroot.AttrOf(info).Rdev == 0
}

func shadowName(n int) string { return path.Join(shadowDir, strconv.Itoa(n)) }

// attributes sets owner, extended attributes, mode and times of the entry base in parent, in the order in which none
// undoes another.
func (u *unpacker) attributes(dir folder, base string, h *tar.Header) error {
	n, err := dir.root.At(base)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := n.Chmod(h.FileInfo().Mode()); err != nil {
			return err
		}
		for name, value := range tarheader.Xattrs(h) {
			if strings.HasPrefix(name, "trusted.") {
				continue
			}
			if err := setXattr(n, name, value); err != nil {
				return err
			}
		}
	}
	mtime := unixNano(h.ModTime)
	atime := mtime
	if !h.AccessTime.IsZero() {
		atime = unixNano(h.AccessTime)
	}
	if h.Typeflag == tar.TypeDir {
		u.times[path.Join(dir.place, base)] = dirTimes{atime, mtime}
		return nil
	}
	return n.Chtimes(atime, mtime)
}

// The kernel's bounds on an extended attribute (xattr(7)), and what every file system has room for: ext4 answers
// ENOSPC, as if the disk were full, to more than a block.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	safeXattr     = 3 << 10
)

// setXattr leaves attributes out that the file system does not know.
func setXattr(n *fsroot.Node, name string, value []byte) error {
	if len(name) > maxXattrName || len(value) > maxXattrValue {
		return errkind.New(errkind.Invalid, "extended attribute with a name of %d and a value of %d bytes", len(name), len(value))
	}
	err := n.SetXattr(name, value)
	switch {
	case err == nil || errors.Is(err, errors.ErrUnsupported):
		return nil
	case len(value) > safeXattr && errkind.DiskFull(err):
		return errkind.New(errkind.Unsupported, "the file system has no room for the extended attribute %s of %d bytes", name, len(value))
	}
	return err
}

// unixNano cuts t to what 64 bits of nanoseconds hold.
func unixNano(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// whiteout notes that base, a whiteout's name, hides something in dir.
func (u *unpacker) whiteout(dir, base string) error {
	if base == whiteoutOpaque {
		if dir == "." {
			u.rec.OpaqueRoot = true
			return nil
		}
		at, err := u.enter(dir)
		u.opaque = append(u.opaque, at.place)
		return err
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return errkind.New(errkind.Invalid, "it is a whiteout of no name")
	}
	at, err := u.enter(dir)
	if err != nil {
		return err
	}
	err = at.root.Mknod(hidden, fs.ModeDevice|fs.ModeCharDevice|0o600, fsroot.Device(0, 0))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The archive both hides the name and has it: its own entry stays, and a folder starts empty.
	if info, err := at.root.Lstat(hidden); err == nil && info.IsDir() {
		u.opaque = append(u.opaque, path.Join(at.place, hidden))
	}
	return nil
}

// finish does what must wait until all entries are there.
func (u *unpacker) finish() error {
	for _, dir := range u.opaque {
		err := u.onDir(dir, func(n *fsroot.Node) error { return n.SetXattr(xattrOpaque, []byte("y")) })
		if err != nil {
			return err
		}
	}
	for dir, t := range u.times {
		err := u.onDir(dir, func(n *fsroot.Node) error { return n.Chtimes(t.atime, t.mtime) })
		if err != nil {
			return err
		}
	}
	return nil
}

// onDir calls f for the folder at place, unless a later entry replaced it.
func (u *unpacker) onDir(place string, f func(*fsroot.Node) error) error {
	n, err := u.root.At(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer n.Close()
	info, err := n.Stat()
	if err != nil || !info.IsDir() {
		return err
	}
	return f(n)
}
