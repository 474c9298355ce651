package mount

import (
	"os"

	"golang.org/x/sys/unix"
)

// Empty makes a mount namespace in which nothing is mounted but the root that the kernel puts at the bottom of each, and
// that no process is in. What is mounted on "/" in a copy of it (setns, unshare) is the root of those who join. A process
// that begins with such a copy need not copy the host's mounts, change roots and unmount, which together wait for all
// processors. The caller closes it. A host that runs from its initial memory disk cannot have one.
func Empty() (*os.File, error) {
	var f *os.File
	var err error
	onPassingThread(func() {
		if f, err = ownNamespace(); err != nil {
			return
		}
		if err = unix.Unmount("/", unix.MNT_DETACH); err != nil {
			f.Close()
			f, err = nil, os.NewSyscallError("unmount the copy of the host's mounts", err)
		}
	})
	return f, err
}

// ownNamespace gives the calling thread a mount namespace of its own and returns it. What is mounted there is private.
func ownNamespace() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare mount namespace", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("make mounts private", err)
	}
	n, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open mount namespace", err)
	}
	return os.NewFile(uintptr(n), "mount namespace"), nil
}
