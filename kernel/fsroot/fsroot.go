// Package fsroot is the one way into a directory tree whose content somebody else controls: a container's root, an
// image layer, a volume, a build context.
//
// Every name is resolved by openat2(2) with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: symbolic links, "..", absolute
// targets and racing renames cannot lead outside, and no link of a proc file system is followed. What changes a
// directory entry (Remove, Rename, Link, ...) resolves the parent that way and acts on the last component without
// following it. Only regular files and directories are ever opened for reading or writing, so that no FIFO blocks and no
// device acts; anything may be opened with OPath.
//
//	root, err := fsroot.Open(dir)            the tree
//	f, err := root.OpenFile("etc/passwd", os.O_RDONLY, 0)
//	n, err := root.At("bin/su")              one entry, not followed: owner, mode, times, extended attributes
//
// Names may begin with "/" or not; both mean the root of the tree. Errors are *os.PathError (or *os.LinkError) that hold
// the in-root name, and satisfy errors.Is(err, fs.ErrNotExist) and the like. Linux >= 5.6.
//
// Start reading at Root.
package fsroot

import (
	"errors"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// Flags for OpenFile besides the os.O_ ones.
const (
	OPath      = unix.O_PATH      // a handle on the entry, nothing more; works on every kind of file
	ODirectory = unix.O_DIRECTORY // fail unless it is a directory
	ONofollow  = unix.O_NOFOLLOW  // fail on, or with OPath open, a symbolic link in the last component
)

// Root is a directory tree. It may be used by several goroutines at once; none of its methods changes it.
type Root struct {
	dir   *os.File
	owned bool
}

// Open opens the tree at dir, a path of the host that the caller trusts in every component. The caller closes it.
func Open(dir string) (*Root, error) {
	n, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Root{dir: os.NewFile(uintptr(n), dir), owned: true}, nil
}

// FromFile makes a tree of an open directory, for instance a detached mount. The file is borrowed: it must stay open as
// long as the Root is in use, and Close leaves it open.
func FromFile(dir *os.File) *Root { return &Root{dir: dir} }

// Close releases what Open opened.
func (r *Root) Close() error {
	if !r.owned {
		return nil
	}
	return r.dir.Close()
}

// Dir returns the root directory itself, opened with O_PATH or as given to FromFile. It belongs to the Root.
func (r *Root) Dir() *os.File { return r.dir }

// maxRetries bounds the attempts after EAGAIN, with which the kernel answers when a rename or mount elsewhere raced with
// the resolution of "..".
const maxRetries = 128

// openat resolves name below the root and opens it with the raw open flags.
func (r *Root) openat(name string, flags int, mode uint32) (int, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return -1, unix.EINVAL
	}
	if name = strings.TrimLeft(name, "/"); name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOCTTY),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_PATH != 0 {
		how.Flags &^= unix.O_NOCTTY
	}
	n := -1
	err := fd.With(r.dir, func(dir int) (err error) {
		for range maxRetries {
			n, err = unix.Openat2(dir, name, &how)
			if err != unix.EAGAIN && err != unix.EINTR {
				return err
			}
		}
		return err
	})
	return n, err
}

// file wraps n. The name cannot be taken for a path of the host by a method that goes by name (DirEntry.Info).
func file(n int, name string) *os.File {
	return os.NewFile(uintptr(n), "rootfs:/"+strings.TrimLeft(name, "/"))
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// OpenFile opens name with os.O_ flags, or OPath, ODirectory, ONofollow; perm is for a file it creates (the process's
// umask applies). Without OPath anything but a regular file or a directory is refused with errkind.Invalid before it is
// opened. Read the entries of a directory with Readdirnames and look at each by Lstat. The caller closes the file.
func (r *Root) OpenFile(name string, flags int, perm os.FileMode) (*os.File, error) {
	if flags&unix.O_PATH != 0 {
		n, err := r.openat(name, flags&(OPath|ODirectory|ONofollow), 0)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return file(n, name), nil
	}
	const create = os.O_CREATE
	if flags&(create|os.O_EXCL) != create|os.O_EXCL {
		handle, err := r.openat(name, unix.O_PATH|flags&(ODirectory|ONofollow), 0)
		if err == nil {
			defer unix.Close(handle)
			return reopen(handle, name, flags&^(create|ONofollow))
		}
		if err != unix.ENOENT || flags&create == 0 {
			return nil, pathError("open", name, err)
		}
	}
	n, err := r.openat(name, flags|unix.O_NONBLOCK, unixMode(perm))
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if err := checkKind(n, name); err != nil {
		unix.Close(n)
		return nil, err
	}
	if err := unix.SetNonblock(n, false); err != nil {
		unix.Close(n)
		return nil, pathError("open", name, err)
	}
	return file(n, name), nil
}

// procPath names what the descriptor n stands for to calls that take no descriptor opened with O_PATH. The kernel jumps
// straight to the object: a symbolic link that n holds is not followed.
func procPath(n int) string { return "/proc/self/fd/" + strconv.Itoa(n) }

// reopen opens what handle, an O_PATH descriptor, stands for. Our own /proc is trusted; the container's is never used.
func reopen(handle int, name string, flags int) (*os.File, error) {
	if err := checkKind(handle, name); err != nil {
		return nil, err
	}
	n, err := unix.Open(procPath(handle), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return file(n, name), nil
}

func checkKind(n int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil {
		return pathError("stat", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return nil
	case unix.S_IFLNK:
		return pathError("open", name, unix.ELOOP)
	}
	return errkind.New(errkind.Invalid, "open %s: it is neither a regular file nor a directory", name)
}

// ReadFile returns the content of the regular file name, symbolic links followed inside the root. Anything else, or more
// than limit bytes, is errkind.Invalid; so is a file of procfs, which may be mounted in a container's root: some of those
// block (kmsg), and to read some is to do something.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := r.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, pathError("stat", name, errors.Unwrap(err))
	}
	if !fi.Mode().IsRegular() {
		return nil, errkind.New(errkind.Invalid, "read %s: it is not a regular file", name)
	}
	var in unix.Statfs_t
	if err := fd.With(f, func(n int) error { return unix.Fstatfs(n, &in) }); err != nil {
		return nil, pathError("statfs", name, err)
	}
	if in.Type == unix.PROC_SUPER_MAGIC {
		return nil, errkind.New(errkind.Invalid, "read %s: it is a file of procfs", name)
	}
	if fi.Size() > limit {
		return nil, tooLarge(name, limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(name, limit)
	}
	return b, nil
}

func tooLarge(name string, limit int64) error {
	return errkind.New(errkind.Invalid, "read %s: it is larger than the %d bytes allowed here", name, limit)
}

// Stat describes what name stands for, symbolic links followed inside the root.
func (r *Root) Stat(name string) (os.FileInfo, error) { return r.stat("stat", name, 0) }

// Lstat describes the entry name itself.
func (r *Root) Lstat(name string) (os.FileInfo, error) { return r.stat("lstat", name, unix.O_NOFOLLOW) }

func (r *Root) stat(op, name string, flags int) (os.FileInfo, error) {
	n, err := r.openat(name, unix.O_PATH|flags, 0)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	f := file(n, name)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, pathError(op, name, errors.Unwrap(err))
	}
	return fi, nil
}

// Resolve returns the absolute in-root path, free of symbolic links, of what name stands for. A missing component is
// fs.ErrNotExist. The answer is for showing and comparing: by the time it is used the tree can have changed, which is
// harmless only because every method here resolves it anew.
func (r *Root) Resolve(name string) (string, error) {
	p, err := r.walk(name, nil)
	return p, pathError("resolve", name, err)
}

// MkdirAll makes the directory name and its missing parents with perm (the umask does not apply) and gives each it makes
// to uid and gid. Symbolic links on the way are followed inside the root, also those whose target is yet to be made.
func (r *Root) MkdirAll(name string, perm os.FileMode, uid, gid int) error {
	_, err := r.walk(name, func(parent int, base string) error {
		if err := unix.Mkdirat(parent, base, 0o700); err != nil {
			return err
		}
		n, err := unix.Openat(parent, base, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(n)
		if err := unix.Fchown(n, uid, gid); err != nil {
			return err
		}
		return unix.Fchmod(n, unixMode(perm))
	})
	return pathError("mkdir", name, err)
}

// maxLinks is the kernel's own bound on symbolic links in one resolution.
const maxLinks = 40

// walk resolves name component by component; each step starts at the root with openat2, so that a race can mislead it
// inside the tree but not out of it. missing, where not nil, makes a directory that does not exist. Every component
// except the last must be a directory.
func (r *Root) walk(name string, missing func(parent int, base string) error) (string, error) {
	at, rest, links := "/", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		n, err := r.openat(next, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err == unix.ENOENT && missing != nil {
			if err = r.inParent(next, missing); err == nil || err == unix.EEXIST {
				n, err = r.openat(next, unix.O_PATH|unix.O_NOFOLLOW, 0)
			}
		}
		if err != nil {
			return "", err
		}
		var st unix.Stat_t
		var target string
		if err = unix.Fstat(n, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			target, err = readlinkFd(n)
		}
		unix.Close(n)
		if err != nil {
			return "", err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if links++; links > maxLinks {
				return "", unix.ELOOP
			}
			if strings.HasPrefix(target, "/") {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case unix.S_IFDIR:
		default:
			if len(rest) > 0 || missing != nil {
				return "", unix.ENOTDIR
			}
		}
		at = next
	}
	return at, nil
}

func readlinkFd(n int) (string, error) {
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(n, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:size]), nil
}

// unixMode turns the permission and set-id bits of m into the kernel's.
func unixMode(m os.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&os.ModeSetuid != 0 {
		u |= unix.S_ISUID
	}
	if m&os.ModeSetgid != 0 {
		u |= unix.S_ISGID
	}
	if m&os.ModeSticky != 0 {
		u |= unix.S_ISVTX
	}
	return u
}
