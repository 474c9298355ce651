package mount

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Mounted reports whether something is mounted at path itself; a path that does not exist has nothing. Links are not
// followed. Linux >= 5.8.
func Mounted(path string) (bool, error) {
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &stx)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
