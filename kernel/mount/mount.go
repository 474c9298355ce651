// Package mount makes mounts that have no place yet, and puts them in place.
//
// A detached mount is an open file: it is set up in peace, belongs to whoever holds the descriptor, and vanishes with
// its last reference, so that nothing is left over after a crash. Putting one in place is one move_mount(2) onto a
// directory that is held open, hence a racing symbolic link cannot divert it.
//
//	root, err := mount.Overlay(...)          detached overlay, tmpfs (Filesystem) or bind source (OpenTree)
//	err = mount.SetAttr(root, ...)           read-only, nosuid, propagation
//	err = mount.Move(root, dir, "")          onto dir
//
// Every function needs CAP_SYS_ADMIN. The mount API itself is Linux >= 5.2, SetAttr >= 5.12. Overlay works in another, slower
// way before Linux 6.7.
// Errors name the option or path that the kernel refused and wrap its errno; the kernel's own words for a refused file
// system option are included.
//
// Start reading at Overlay.
package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// Attr is a set of mount attributes and at most one kind of propagation.
type Attr uint64

// The attributes of a mount (mount_setattr(2)) and, in the upper bits, its propagation.
const (
	ReadOnly    Attr = unix.MOUNT_ATTR_RDONLY
	Nosuid      Attr = unix.MOUNT_ATTR_NOSUID
	Nodev       Attr = unix.MOUNT_ATTR_NODEV
	Noexec      Attr = unix.MOUNT_ATTR_NOEXEC
	Noatime     Attr = unix.MOUNT_ATTR_NOATIME
	StrictAtime Attr = unix.MOUNT_ATTR_STRICTATIME
	Nodiratime  Attr = unix.MOUNT_ATTR_NODIRATIME
	NoSymfollow Attr = unix.MOUNT_ATTR_NOSYMFOLLOW

	Private    Attr = 1 << 60
	Slave      Attr = 1 << 61
	Shared     Attr = 1 << 62
	Unbindable Attr = 1 << 63

	propagation = Private | Slave | Shared | Unbindable
)

// Filesystem makes a detached mount of a new fstype (tmpfs, proc, sysfs, mqueue, devpts, ...). An option with an empty
// value is a flag, and "source" names the source; both as mount(8) writes them. The caller closes the mount.
func Filesystem(fstype string, options map[string]string, attrs Attr) (*os.File, error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system %s: %w", fstype, err)
	}
	defer unix.Close(ctx)
	for key, value := range options {
		if value == "" {
			if err := unix.FsconfigSetFlag(ctx, key); err != nil {
				return nil, optionError(ctx, fstype, key, err)
			}
			continue
		}
		if err := setOption(ctx, fstype, key, value); err != nil {
			return nil, err
		}
	}
	return create(ctx, fstype, attrs)
}

func setOption(ctx int, fstype, key, value string) error {
	if err := unix.FsconfigSetString(ctx, key, value); err != nil {
		return optionError(ctx, fstype, key+"="+value, err)
	}
	return nil
}

func optionError(ctx int, fstype, option string, err error) error {
	return fmt.Errorf("set option %q of file system %s: %w%s", option, fstype, err, kernelWords(ctx))
}

// kernelWords returns what the kernel wrote about a failed call on a file system context, "" where it wrote nothing.
func kernelWords(ctx int) string {
	var words []string
	buf := make([]byte, 512)
	for len(words) < 8 {
		n, err := unix.Read(ctx, buf)
		if err != nil || n <= 2 {
			break
		}
		words = append(words, strings.TrimSpace(string(buf[2:n]))) // "e ", "w " or "i " comes first
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, "; ") + ")"
}

func create(ctx int, fstype string, attrs Attr) (*os.File, error) {
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("create file system %s: %w%s", fstype, err, kernelWords(ctx))
	}
	n, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, int(attrs&^propagation))
	if err != nil {
		return nil, fmt.Errorf("mount file system %s: %w%s", fstype, err, kernelWords(ctx))
	}
	f := os.NewFile(uintptr(n), fstype)
	if p := attrs & propagation; p != 0 {
		return withAttr(f, p)
	}
	return f, nil
}

// withAttr sets attributes of a mount that has just been made; without them it is closed.
func withAttr(f *os.File, set Attr) (*os.File, error) {
	if err := SetAttr(f, false, set, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenTree makes a detached clone of the mount at path, a path of the host that the caller trusts; symbolic links are
// followed. With recursive the mounts below it come along. The caller closes it.
func OpenTree(path string, recursive bool) (*os.File, error) {
	return openTree(unix.AT_FDCWD, path, cloneFlags(recursive))
}

// OpenTreeAt is OpenTree for one entry, not followed, of the open directory dir; "" is dir itself (which may then be any
// file, opened with O_PATH, a clone included).
func OpenTreeAt(dir *os.File, name string, recursive bool) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var f *os.File
	err := fd.With(dir, func(n int) (err error) {
		flags := cloneFlags(recursive) | unix.AT_SYMLINK_NOFOLLOW
		if name == "" {
			flags |= unix.AT_EMPTY_PATH
		}
		f, err = openTree(n, name, flags)
		return err
	})
	return f, err
}

func cloneFlags(recursive bool) uint {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return flags
}

func openTree(dir int, path string, flags uint) (*os.File, error) {
	n, err := unix.OpenTree(dir, path, flags)
	if err != nil {
		return nil, &os.PathError{Op: "clone mount", Path: path, Err: err}
	}
	return os.NewFile(uintptr(n), path), nil
}

// SetAttr sets and clears attributes of the mount f, with recursive also of those below it: all of them or none. A kind
// of propagation in set replaces the present one. Noatime and StrictAtime exclude each other; clearing either gives
// relatime.
func SetAttr(f *os.File, recursive bool, set, clear Attr) error {
	const atime = Attr(unix.MOUNT_ATTR__ATIME)
	attr := unix.MountAttr{
		Attr_set: uint64(set &^ propagation),
		Attr_clr: uint64(clear &^ propagation),
	}
	if (set|clear)&atime != 0 {
		attr.Attr_clr |= uint64(atime)
	}
	switch set & propagation {
	case 0:
	case Private:
		attr.Propagation = unix.MS_PRIVATE
	case Slave:
		attr.Propagation = unix.MS_SLAVE
	case Shared:
		attr.Propagation = unix.MS_SHARED
	case Unbindable:
		attr.Propagation = unix.MS_UNBINDABLE
	default:
		return errors.New("set mount attributes: more than one kind of propagation")
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := fd.With(f, func(n int) error { return unix.MountSetattr(n, "", flags, &attr) })
	if err != nil {
		return fmt.Errorf("set attributes of mount %s: %w", f.Name(), err)
	}
	return nil
}

// Move puts the detached mount f onto the entry name, not followed, of the open directory dir; "" is dir itself (which
// may then be any file opened with O_PATH). f keeps naming the mount and is still closed by the caller.
// Moving into a tree that is itself detached needs Linux >= 6.15 and gives EINVAL before.
func Move(f *os.File, dir *os.File, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if name == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	err := fd.All([]*os.File{f, dir}, func(n []int) error { return unix.MoveMount(n[0], "", n[1], name, flags) })
	if err != nil {
		return &os.LinkError{Op: "move mount", Old: f.Name(), New: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Attach puts the detached mount f onto path, a path of the host that the caller trusts; symbolic links are followed.
func Attach(f *os.File, path string) error {
	err := fd.With(f, func(n int) error {
		return unix.MoveMount(n, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	})
	if err != nil {
		return &os.LinkError{Op: "move mount", Old: f.Name(), New: path, Err: err}
	}
	return nil
}

// Unmount removes the topmost mount at path, which is not followed when it is a symbolic link. With detach it goes at
// once and its users finish in their own time; else a mount in use is EBUSY. What is no mount is EINVAL.
func Unmount(path string, detach bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if detach {
		flags |= unix.MNT_DETACH
	}
	if err := unix.Unmount(path, flags); err != nil {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// checkName refuses a name of more than one component: only the last step of a mount's way may be by name.
func checkName(name string) error {
	if strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return &os.PathError{Op: "mount", Path: name, Err: unix.EINVAL}
	}
	return nil
}
