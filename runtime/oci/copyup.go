package oci

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/copyfile"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// mountCopy makes a tmpfs that begins with what the image has at its destination (option tmpcopyup). The parent makes and
// fills it, before anybody sees it.
func (s *start) mountCopy(m *specs.Mount, o mountOptions, before []specs.Mount) error {
	dest := path.Clean(m.Destination)
	if m.Type != "tmpfs" || kernelFolder(dest) {
		return errkind.New(errkind.Invalid, "the option tmpcopyup is for a tmpfs outside of /dev, /proc and /sys")
	}
	for i := range before {
		if within(dest, path.Clean(before[i].Destination)) {
			return errkind.New(errkind.Unsupported, "tmpcopyup copies from the root, but %s lies in the mount at %s", dest, before[i].Destination)
		}
	}
	options := map[string]string{"source": "tmpfs"}
	for _, d := range o.data {
		key, value, _ := strings.Cut(d, "=")
		options[key] = value
	}
	tmp, err := mount.Filesystem("tmpfs", options, mount.Attr((o.set|o.recSet)&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return err
	}
	s.own(tmp)
	uid, gid := s.hostRoot()
	if err := unix.Fchownat(fdOf(tmp), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("chown", err)
	}
	from, err := fsroot.FromFile(s.rootfs).OpenFile(dest, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		_, hasMode := options["mode"]
		err = copyFolder(from, fsroot.FromFile(tmp), hasMode)
		from.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const what = "mount tmpfs"
	at := s.place(what, m, aFolder, before)
	s.moveMount(what, m.Destination, s.File(tmp), spawn.From(at))
	if o.set&unix.MOUNT_ATTR_RDONLY != 0 {
		s.setAttr(what, m.Destination, s.File(tmp), false, attr(unix.MOUNT_ATTR_RDONLY, 0, 0))
	}
	if o.propagation != 0 {
		s.setAttr(what, m.Destination, s.File(tmp), o.propagateRecursive, attr(0, 0, o.propagation))
	}
	return nil
}

// copyFolder copies what is in from into the empty to, and from's own mode and owner unless the mode is given.
func copyFolder(from *os.File, to *fsroot.Root, keepMode bool) error {
	if err := copyTree(fsroot.FromFile(from), to, ".", make(map[uint64]string), 0); err != nil || keepMode {
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
		return errkind.New(errkind.Invalid, "tmpcopyup: folders are nested more than %d deep", maxDepth)
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
