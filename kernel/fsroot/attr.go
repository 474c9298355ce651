package fsroot

import (
	"os"
	"syscall"
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
