package fsroot

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
)

// Attr is what stat(2) tells of a file besides what os.FileInfo has methods for.
type Attr struct {
	UID, GID   int
	Dev, Inode uint64
	Links      uint64 // number of names
	Rdev       uint64 // device number of a device node, as Device packs it
}

// AttrOf returns the attributes behind fi, which came from Stat, Lstat or an open file.
func AttrOf(fi os.FileInfo) Attr {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Attr{}
	}
	return Attr{UID: int(st.Uid), GID: int(st.Gid), Dev: st.Dev, Inode: st.Ino, Links: uint64(st.Nlink), Rdev: st.Rdev}
}

// Finish gives a file just written its owner, permission and set-id bits and modification time, in the order in which
// none undoes another. It acts on the open file, so it needs no name.
func Finish(f *os.File, uid, gid int, mode os.FileMode, mtime time.Time) error {
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		ts = unix.Timespec{}
	}
	err = fd.With(f, func(n int) error {
		if err := unix.Fchown(n, uid, gid); err != nil {
			return err
		}
		if err := unix.Fchmod(n, unixMode(mode)); err != nil {
			return err
		}
		return unix.UtimesNanoAt(n, "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH)
	})
	return pathError("set attributes", f.Name(), err)
}

// FS says what matters of the file system on which an open file lies.
type FS struct {
	ReadOnly bool // the file system, or the mount through which the file was opened, refuses writes
	NoExec   bool // the same for the execution of programs
	// Kernel is set for those whose files are no files but doors into the kernel: proc, sysfs, cgroup and the like. Their
	// sizes are not true, and reading one may block or do something.
	Kernel bool
}

// FSOf describes the file system of f, which may be open with OPath.
func FSOf(f *os.File) (FS, error) {
	var st unix.Statfs_t
	if err := fd.With(f, func(n int) error { return unix.Fstatfs(n, &st) }); err != nil {
		return FS{}, pathError("statfs", f.Name(), err)
	}
	out := FS{ReadOnly: st.Flags&unix.MS_RDONLY != 0, NoExec: st.Flags&unix.MS_NOEXEC != 0}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC,
		unix.EFIVARFS_MAGIC, unix.NSFS_MAGIC, unix.SELINUX_MAGIC, unix.BINFMTFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC,
		mqueueMagic, configfsMagic:
		out.Kernel = true
	}
	return out, nil
}

// File systems that the unix package has no names for.
const (
	mqueueMagic   = 0x19800202
	configfsMagic = 0x62656570
)
