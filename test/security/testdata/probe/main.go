// Command probe makes system calls that a container should not get away with, and prints those that worked.
package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	for _, family := range []uintptr{unix.AF_ALG, unix.AF_ALG | 1<<32, unix.AF_VSOCK, unix.AF_VSOCK | 1<<32, unix.AF_VSOCK | 1<<63} {
		for _, kind := range []uintptr{unix.SOCK_SEQPACKET, unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			report(fmt.Sprintf("socket %#x %d", family, kind), unix.SYS_SOCKET, family, kind, 0)
		}
	}
	name := []byte("x\x00")
	p := uintptr(unsafe.Pointer(&name[0]))
	var attr [128]byte
	a := uintptr(unsafe.Pointer(&attr[0]))
	report("keyctl", unix.SYS_KEYCTL, 0, ^uintptr(2), 0) // get the session keyring
	report("add_key", unix.SYS_ADD_KEY, p, p, p)
	report("request_key", unix.SYS_REQUEST_KEY, p, p, 0)
	report("bpf", unix.SYS_BPF, 0, a, 72)
	report("perf_event_open", unix.SYS_PERF_EVENT_OPEN, a, 0, ^uintptr(0))
	report("userfaultfd", unix.SYS_USERFAULTFD, 0, 0, 0)
	report("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, a, 0)
	report("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0)
	report("setns", unix.SYS_SETNS, 0, 0, 0)
	report("mount", unix.SYS_MOUNT, p, p, p)
	report("fsopen", unix.SYS_FSOPEN, uintptr(unsafe.Pointer(&[]byte("tmpfs\x00")[0])), 0, 0)
	report("open_tree", unix.SYS_OPEN_TREE, ^uintptr(99), uintptr(unsafe.Pointer(&[]byte("/\x00")[0])), unix.OPEN_TREE_CLONE)
	report("pivot_root", unix.SYS_PIVOT_ROOT, p, p, 0)
	report("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, a, 0)
	report("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0)
	report("init_module", unix.SYS_INIT_MODULE, a, 0, p)
	report("reboot", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_OFF)
	report("settimeofday", unix.SYS_SETTIMEOFDAY, 0, a, 0)
	report("swapon", unix.SYS_SWAPON, p, 0, 0)
	report("acct", unix.SYS_ACCT, 0, 0, 0)
	report("quotactl", unix.SYS_QUOTACTL, 0, p, 0)
	report("personality", unix.SYS_PERSONALITY, 0x0040000, 0, 0) // ADDR_NO_RANDOMIZE
	report("clone newuser", unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_VFORK|uintptr(unix.SIGCHLD)|1<<40, 0, 0)
}

func report(what string, nr, a, b, c uintptr) {
	r, _, errno := unix.RawSyscall(nr, a, b, c)
	if nr == unix.SYS_CLONE && errno == 0 && r == 0 {
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
	switch errno {
	case unix.EPERM, unix.ENOSYS, unix.EAFNOSUPPORT, unix.ESOCKTNOSUPPORT, unix.EPROTONOSUPPORT:
		if errno != unix.EPERM && errno != unix.ENOSYS && nr == unix.SYS_SOCKET {
			fmt.Printf("%s: reached the kernel: %v\n", what, errno)
		}
	case 0:
		fmt.Printf("%s: worked\n", what)
	default:
		fmt.Printf("%s: reached the kernel: %v\n", what, errno)
	}
}
