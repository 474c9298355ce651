// Package quota bounds how much space trees of folders take, by the project quotas of ext4 and xfs.
//
// A project is a number that files carry and that new files take from their folder. Limit gives folders, still empty, a
// number of their own and sets its limit; Eased makes room for what has to be made in a full one; Release takes the limit away once nothing carries the number any more.
//
// A process with CAP_SYS_RESOURCE is not bound. The file system must have been mounted with the option prjquota (pquota
// on xfs); Linux >= 5.14 (quotactl_fd).
//
// Start reading at Limit.
package quota

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// block is struct if_dqblk of linux/quota.h.
type block struct {
	hard, soft uint64    // KiB
	space      uint64    // bytes in use
	inodes     [3]uint64 // limits, then those in use
	times      [2]uint64
	valid      uint32
	_          uint32
}

const (
	getXattr   = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr   = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit    = 0x200      // FS_XFLAG_PROJINHERIT
	getQuota   = 0x800007<<8 | projects
	setQuota   = 0x800008<<8 | projects
	projects   = 2 // PRJQUOTA
	blockLimit = 1 // QIF_BLIMITS
	inodesUsed = 2 // index in block.inodes
)

// Numbers are taken from a range that neither people nor other programs start counting in.
const (
	firstProject = 1 << 30
	tries        = 64
)

// Limit lets all that will be in dirs, empty folders of one file system, take at most size bytes together, and nothing
// else with it. name is what the number is made from, so that the same owner tends to get the same one. Unsupported where
// the file system has no project quotas. A number is claimed by marking the folders with it: two callers, of whatever
// process, never share one, and a crash leaves no number that is bound but that nothing carries.
func Limit(name string, size int64, dirs ...string) error {
	if len(dirs) == 0 || size <= 0 {
		return errkind.New(errkind.Invalid, "limit the size of %q to %d bytes: not a size", name, size)
	}
	d, err := os.Open(dirs[0])
	if err != nil {
		return fmt.Errorf("limit size: %w", err)
	}
	defer d.Close()
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	for i := range uint32(tries) {
		number := firstProject + (h.Sum32()+i)%firstProject
		ours, err := claim(d, number, dirs)
		if err == nil && ours {
			if err = set(d, number, size); err == nil {
				return nil
			}
			err = unsupported(d, err)
		}
		if err != nil {
			_ = markAll(dirs, 0)
			return err
		}
	}
	return errkind.New(errkind.Exhausted, "no free project number on the file system of %s", d.Name())
}

// set makes size bytes the limit of a number; 0: none.
func set(d *os.File, number uint32, size int64) error {
	limit := block{hard: (uint64(size) + 1023) / 1024, valid: blockLimit}
	limit.soft = limit.hard
	return control(d, setQuota, number, &limit)
}

// slack is what a few files and folders need at the most, on file systems of large blocks too.
const slack = 16 << 20

// Eased runs f, which makes something small below dir though the limit of size bytes that dir has by Limit may be used up.
// Nobody else may write there meanwhile. Afterwards the limit is size, if the process ended in between with the next call.
// Without a size, or where dir has no limit, all it does is to run f.
func Eased(dir string, size int64, f func() error) error {
	if size <= 0 {
		return f()
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("ease size limit: %w", err)
	}
	defer d.Close()
	number := project(d)
	var now block
	if number == 0 || control(d, getQuota, number, &now) != nil || now.hard == 0 {
		return f()
	}
	if err := set(d, number, size+slack); err != nil {
		return fmt.Errorf("ease size limit of %s: %w", dir, err)
	}
	err = f()
	if back := set(d, number, size); back != nil {
		err = errors.Join(err, fmt.Errorf("limit the size of %s again: %w", dir, back))
	}
	return err
}

// project is the number that Limit gave to the folder d; 0 where it has none, or one of somebody else's.
func project(d *os.File) uint32 {
	var x fsxattr
	if err := ioctl(d, getXattr, &x); err != nil || x.project < firstProject || x.project >= 2*firstProject {
		return 0
	}
	return x.project
}

// claim marks dirs with a number that nothing carries and that has no limit. It reports false, and leaves them unmarked,
// where that is another's, or becomes it meanwhile.
func claim(d *os.File, number uint32, dirs []string) (ours bool, err error) {
	var before, after block
	if err := control(d, getQuota, number, &before); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, unsupported(d, err)
	}
	if before.space != 0 || before.hard != 0 || before.inodes[inodesUsed] != 0 {
		return false, nil
	}
	if err := markAll(dirs, number); err != nil {
		return false, err
	}
	if err := control(d, getQuota, number, &after); err != nil {
		return false, unsupported(d, err)
	}
	if after.inodes[inodesUsed] == uint64(len(dirs)) && after.hard == 0 {
		return true, nil
	}
	return false, markAll(dirs, 0)
}

func markAll(dirs []string, number uint32) error {
	for _, dir := range dirs {
		if err := mark(dir, number); err != nil {
			return err
		}
	}
	return nil
}

// mark gives a folder a number, which all that is made in it takes over; 0 takes it away.
func mark(dir string, number uint32) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("limit size: %w", err)
	}
	defer d.Close()
	var x fsxattr
	if err := ioctl(d, getXattr, &x); err != nil {
		return unsupported(d, err)
	}
	x.project, x.flags = number, x.flags&^inherit
	if number != 0 {
		x.flags |= inherit
	}
	if err := ioctl(d, setXattr, &x); err != nil {
		return unsupported(d, err)
	}
	return nil
}

// Limited reports whether dir has a limit by Limit, and its file system keeps to it.
func Limited(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, fmt.Errorf("look at the size limit: %w", err)
	}
	defer d.Close()
	number := project(d)
	if number == 0 {
		return false, nil
	}
	var b block
	err = control(d, getQuota, number, &b)
	return err == nil && b.hard != 0, nil
}

// Release takes away the limit that dir has by Limit; a folder without one is no error. What is still in dir is not bound
// any more.
func Release(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("release size limit: %w", err)
	}
	defer d.Close()
	number := project(d)
	if number == 0 {
		return nil
	}
	err = set(d, number, 0)
	if err != nil && !errkind.Is(unsupported(d, err), errkind.Unsupported) { // without quotas there is no limit
		return fmt.Errorf("release size limit of %s: %w", dir, err)
	}
	return nil
}

func unsupported(d *os.File, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return errkind.New(errkind.Unsupported, "the file system of %s has no project quotas: it must be ext4 or xfs, mounted with the option prjquota", d.Name())
	}
	return fmt.Errorf("limit the size of %s: %w", d.Name(), err)
}

func ioctl(f *os.File, request uintptr, x *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(x)))
	if errno != 0 {
		return errno
	}
	return nil
}

func control(f *os.File, command uintptr, number uint32, b *block) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), command, uintptr(number), uintptr(unsafe.Pointer(b)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
