package mount

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Propagation tells how the mount that path lies on passes mounts on: shared, in both directions with its peers; slave,
// from others to it. Both are false for a private mount. Links are followed. Linux >= 5.8.
func Propagation(path string) (shared, slave bool, err error) {
	var stx unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &stx); err != nil {
		return false, false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if stx.Mask&unix.STATX_MNT_ID == 0 {
		return false, false, &os.PathError{Op: "statx", Path: path, Err: errors.ErrUnsupported}
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	return propagationOf(f, strconv.FormatUint(stx.Mnt_id, 10))
}

// propagationOf looks for the mount id in a table such as /proc/self/mountinfo.
func propagationOf(table io.Reader, id string) (shared, slave bool, err error) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime shared:2 master:1 - ext3 /dev/root rw   (proc(5))
		fields := strings.Fields(lines.Text())
		if len(fields) < 7 || fields[0] != id {
			continue
		}
		for _, tag := range fields[6:] {
			switch {
			case tag == "-":
				return shared, slave, nil
			case strings.HasPrefix(tag, "shared:"):
				shared = true
			case strings.HasPrefix(tag, "master:"):
				slave = true
			}
		}
	}
	return false, false, errors.Join(lines.Err(), os.ErrNotExist)
}
