package fsroot

import (
	"crypto/rand"
	"errors"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// inParent resolves the parent directory of name and calls fn with it and the last component, which is neither empty
// nor "." nor "..".
func (r *Root) inParent(name string, fn func(parent int, base string) error) error {
	dir, base := path.Split(strings.TrimRight(name, "/"))
	if base == "" || base == "." || base == ".." {
		return unix.EINVAL
	}
	n, err := r.openat(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(n)
	return fn(n, base)
}

// Symlink makes name a symbolic link with the text target, which is not looked at.
func (r *Root) Symlink(target, name string) error {
	err := r.inParent(name, func(parent int, base string) error { return unix.Symlinkat(target, parent, base) })
	return pathError("symlink", name, err)
}

// Link makes name a further name of the entry existing, which is not followed when it is a symbolic link.
func (r *Root) Link(existing, name string) error {
	return r.pair("link", existing, name, func(from int, fromBase string, to int, toBase string) error {
		return unix.Linkat(from, fromBase, to, toBase, 0)
	})
}

// Rename moves the entry from to the name to, replacing what is there as rename(2) does.
func (r *Root) Rename(from, to string) error {
	return r.pair("rename", from, to, func(a int, aBase string, b int, bBase string) error {
		return unix.Renameat2(a, aBase, b, bBase, 0)
	})
}

func (r *Root) pair(op, a, b string, fn func(aDir int, aBase string, bDir int, bBase string) error) error {
	err := r.inParent(a, func(aDir int, aBase string) error {
		return r.inParent(b, func(bDir int, bBase string) error { return fn(aDir, aBase, bDir, bBase) })
	})
	if err != nil {
		return &os.LinkError{Op: op, Old: a, New: b, Err: err}
	}
	return nil
}

// Mknod makes one entry of the kind that mode's type bits say: a directory (os.ModeDir), FIFO, socket, device (number
// dev, see Device) or, without type bits, an empty regular file. The permission bits are exact, whatever the umask.
func (r *Root) Mknod(name string, mode os.FileMode, dev uint64) error {
	kind := uint32(unix.S_IFREG)
	switch {
	case mode&os.ModeDir != 0:
		kind = unix.S_IFDIR
	case mode&os.ModeNamedPipe != 0:
		kind = unix.S_IFIFO
	case mode&os.ModeSocket != 0:
		kind = unix.S_IFSOCK
	case mode&os.ModeCharDevice != 0:
		kind = unix.S_IFCHR
	case mode&os.ModeDevice != 0:
		kind = unix.S_IFBLK
	}
	err := r.inParent(name, func(parent int, base string) error {
		var err error
		if kind == unix.S_IFDIR {
			err = unix.Mkdirat(parent, base, 0o700)
		} else {
			err = unix.Mknodat(parent, base, kind|0o600, int(dev))
		}
		if err != nil {
			return err
		}
		n, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(n)
		return unix.Chmod(procPath(n), unixMode(mode))
	})
	return pathError("mknod", name, err)
}

// Device packs a device's major and minor number for Mknod.
func Device(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }

// Remove removes the file, symbolic link or empty directory name.
func (r *Root) Remove(name string) error {
	return pathError("remove", name, r.inParent(name, unlink))
}

func unlink(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		if e := unix.Unlinkat(parent, base, unix.AT_REMOVEDIR); e != unix.ENOTDIR {
			return e
		}
	}
	return err
}

// maxDepth is how many directories removeTree holds open at once.
const maxDepth = 100

// RemoveAll removes name and everything below it, of any depth, without leaving its file system through a symbolic link.
// A missing name is no error; a mount point below it is (EBUSY).
func (r *Root) RemoveAll(name string) error {
	err := r.inParent(name, func(parent int, base string) error {
		// A tree deeper than maxDepth is cut: its lower part moves up beside base and is removed after it.
		pending := []string{base}
		for len(pending) > 0 {
			next := pending[len(pending)-1]
			pending = pending[:len(pending)-1]
			cut := func(dir int, entry string) error {
				moved := ".removed-" + rand.Text()
				if err := unix.Renameat2(dir, entry, parent, moved, unix.RENAME_NOREPLACE); err != nil {
					return err
				}
				pending = append(pending, moved)
				return nil
			}
			if err := removeTree(parent, next, 0, cut); err != nil {
				return err
			}
		}
		return nil
	})
	if err == unix.ENOENT {
		err = nil
	}
	return pathError("remove", name, err)
}

func removeTree(parent int, base string, depth int, cut func(dir int, entry string) error) error {
	err := unlink(parent, base)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.ENOTEMPTY && err != unix.EEXIST {
		return err
	}
	if depth == maxDepth {
		return cut(parent, base)
	}
	n, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := file(n, base)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, entry := range names {
			if err := removeTree(n, entry, depth+1, cut); err != nil {
				return err
			}
		}
		if len(names) == 0 {
			if unlinkErr := unlink(parent, base); unlinkErr != unix.ENOTEMPTY || err == nil {
				return unlinkErr
			}
			return unix.ENOTEMPTY
		}
	}
}

// Node is one entry of a tree, held open: a file of any kind, symbolic links included. Changes go to the very entry that
// At found, even if its name has been given to another since.
type Node struct {
	f    *os.File
	name string
}

// At finds the entry name without following it when it is a symbolic link. The caller closes the Node.
func (r *Root) At(name string) (*Node, error) {
	n, err := r.openat(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &Node{f: file(n, name), name: name}, nil
}

// NodeOf makes a Node of an open file, which stays the caller's.
func NodeOf(f *os.File) (*Node, error) {
	n := -1
	err := fd.With(f, func(num int) (err error) {
		n, err = unix.FcntlInt(uintptr(num), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, pathError("duplicate", f.Name(), err)
	}
	return &Node{f: file(n, f.Name()), name: f.Name()}, nil
}

// Close releases the Node.
func (n *Node) Close() error { return n.f.Close() }

// Stat describes the entry.
func (n *Node) Stat() (os.FileInfo, error) { return n.f.Stat() }

// Readlink returns the text of a symbolic link.
func (n *Node) Readlink() (string, error) {
	var target string
	err := fd.With(n.f, func(num int) (err error) {
		target, err = readlinkFd(num)
		return err
	})
	return target, pathError("readlink", n.name, err)
}

// Open opens the entry for reading or writing; only a regular file or a directory can be.
func (n *Node) Open(flags int) (*os.File, error) {
	var f *os.File
	err := fd.With(n.f, func(num int) (err error) {
		f, err = reopen(num, n.name, flags&^(os.O_CREATE|os.O_EXCL|ONofollow))
		return err
	})
	return f, err
}

// Chown gives the entry to uid and gid; -1 leaves one as it is. The kernel clears set-id bits, so call Chmod after it.
func (n *Node) Chown(uid, gid int) error {
	return n.do("chown", func(num int) error { return unix.Fchownat(num, "", uid, gid, unix.AT_EMPTY_PATH) })
}

// Chmod sets the permission and set-id bits; on a symbolic link it is errkind.Invalid, since those have none.
func (n *Node) Chmod(mode os.FileMode) error {
	fi, err := n.Stat()
	if err != nil {
		return err
	}
	if fi.Mode()&os.ModeSymlink != 0 {
		return errkind.New(errkind.Invalid, "chmod %s: a symbolic link has no mode", n.name)
	}
	return n.do("chmod", func(num int) error { return unix.Chmod(procPath(num), unixMode(mode)) })
}

// Chtimes sets access and modification time, nanoseconds since 1970.
func (n *Node) Chtimes(atime, mtime int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(atime), unix.NsecToTimespec(mtime)}
	return n.do("chtimes", func(num int) error { return unix.UtimesNanoAt(num, "", ts, unix.AT_EMPTY_PATH) })
}

// SetXattr sets one extended attribute. A symbolic link can have only trusted and security ones.
func (n *Node) SetXattr(attr string, value []byte) error {
	return n.do("setxattr "+attr, func(num int) error { return unix.Setxattr(procPath(num), attr, value, 0) })
}

// Finish gives the entry its owner, mode (but to a symbolic link), extended attributes and modification time, in the order
// in which none undoes another.
func (n *Node) Finish(uid, gid int, mode os.FileMode, attrs map[string][]byte, mtime time.Time) error {
	if err := n.Chown(uid, gid); err != nil {
		return err
	}
	if mode&os.ModeSymlink == 0 {
		if err := n.Chmod(mode); err != nil {
			return err
		}
	}
	for name, value := range attrs {
		if err := n.SetXattr(name, value); err != nil {
			return err
		}
	}
	at := mtime.UnixNano()
	return n.Chtimes(at, at)
}

// maxXattr is the kernel's own bound on the size of one attribute and of the list of names.
const maxXattr = 64 << 10

// Xattrs returns all extended attributes; nil where the file system has none.
func (n *Node) Xattrs() (map[string][]byte, error) {
	var attrs map[string][]byte
	err := n.do("listxattr", func(num int) error {
		buf := make([]byte, maxXattr)
		size, err := unix.Listxattr(procPath(num), buf)
		if errors.Is(err, unix.ENOTSUP) || size <= 0 {
			return nilIf(err, unix.ENOTSUP)
		}
		value := make([]byte, maxXattr)
		attrs = make(map[string][]byte)
		for _, attr := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
			n, err := unix.Getxattr(procPath(num), attr, value)
			if err == unix.ENODATA {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
			attrs[attr] = append([]byte{}, value[:n]...)
		}
		return nil
	})
	return attrs, err
}

func nilIf(err, ignored error) error {
	if err == ignored {
		return nil
	}
	return err
}

func (n *Node) do(op string, fn func(num int) error) error {
	return pathError(op, n.name, fd.With(n.f, fn))
}
