package mount

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PidsOption is the option of procfs that takes a descriptor: of the pid namespace that it is to show, in place of the one of
// the process that mounts it. Linux >= 6.18.
const PidsOption = "pidns"

// ShowsPids reports whether the caller can mount a procfs that shows the pid namespace ns without being in it.
func ShowsPids(ns *os.File) bool {
	ctx, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(ctx)
	key, err := unix.BytePtrFromString(PidsOption)
	if err != nil {
		return false
	}
	raw, err := ns.SyscallConn()
	if err != nil {
		return false
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_FSCONFIG, uintptr(ctx), unix.FSCONFIG_SET_FD, uintptr(unsafe.Pointer(key)), 0, fd, 0)
	})
	return err == nil && errno == 0
}
