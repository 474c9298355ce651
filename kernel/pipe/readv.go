package pipe

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readv reads from n into the buffers of iov; the last one is replaced by the byte at last.
func readv(n int, iov [][]byte, last *byte) (int, error) {
	var v [2]unix.Iovec
	for i, b := range iov {
		v[i].Base = &b[0]
		v[i].SetLen(len(b))
	}
	v[len(iov)-1].Base = last
	k, _, errno := unix.Syscall(unix.SYS_READV, uintptr(n), uintptr(unsafe.Pointer(&v[0])), uintptr(len(iov)))
	runtime.KeepAlive(iov)
	runtime.KeepAlive(last)
	if errno != 0 {
		return 0, errno
	}
	return int(k), nil
}
