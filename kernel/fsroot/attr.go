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
