// Package self is what a process does to itself: leave its session, hide its memory, protect its program, become a new
// one and keep what it holds.
//
// Start reading at Exec.
package self

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/kernel/mount"
)

// Setsid makes this process the leader of a session of its own, out of reach of its parent's terminal. A process that
// leads one already keeps it.
func Setsid() error {
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM {
		return fmt.Errorf("start a session: %w", err)
	}
	return nil
}

// Undumpable forbids other processes, root's with CAP_SYS_PTRACE excepted, to look into this one, and core dumps of it.
// It holds until the next execve.
func Undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	return nil
}

// Unforked calls f while os/exec makes no process. Such a process has copies of all descriptors until its execve: without
// this a file that f has written and closed may still be open for writing, so that its mount cannot become read-only
// (EBUSY) or it cannot be executed (ETXTBSY). f must be short and start no process itself.
func Unforked(f func() error) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return f()
}

// Memfd returns a file in memory that holds data, its offset at the beginning. It is closed by execve unless Keep is
// called.
func Memfd(name string, data []byte) (*os.File, error) {
	n, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory file %s: %w", name, err)
	}
	f := os.NewFile(uintptr(n), name)
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file %s: %w", name, err)
	}
	return f, nil
}

// Keep makes f outlive an execve (on true) or not, and returns its number, under which the next program finds it.
func Keep(f *os.File, on bool) (number int, err error) {
	err = fd.With(f, func(n int) error {
		number = n
		flags := unix.FD_CLOEXEC
		if on {
			flags = 0
		}
		_, err := unix.FcntlInt(uintptr(n), unix.F_SETFD, flags)
		return err
	})
	return number, err
}

// Exec replaces this program by the one at path, same process, same children. All other goroutines end at that point. It
// returns only if it fails, and then nothing has changed.
func Exec(path string, argv, env []string) error {
	return &os.PathError{Op: "execve", Path: path, Err: unix.Exec(path, argv, env)}
}

// Protect executes this program again from a read-only clone of the mount it lies on, so that a process that comes by
// /proc/PID/exe of it cannot open the file for writing, now or later (CVE-2019-5736: a container can execute that link
// while it is being started). It returns nil at once where that has been done, or the file system is read-only anyway.
// Otherwise it returns only if it fails. A program that starts containers calls it first thing; arguments, environment
// and inherited descriptors stay. From then on the kernel shows no path for the program. Linux >= 5.12, CAP_SYS_ADMIN.
func Protect(argv, env []string) error {
	const exe = "/proc/self/exe"
	var at unix.Statfs_t
	if err := unix.Statfs(exe, &at); err != nil {
		return &os.PathError{Op: "statfs", Path: exe, Err: err}
	}
	if at.Flags&unix.ST_RDONLY != 0 {
		// The kernel took the number of a descriptor for the program's name.
		if err := os.WriteFile("/proc/self/comm", []byte(filepath.Base(argv[0])), 0); err != nil {
			return fmt.Errorf("protect the program: name it: %w", err)
		}
		return nil
	}
	clone, err := mount.OpenTree(exe, false)
	if err != nil {
		return fmt.Errorf("protect the program: %w", err)
	}
	defer clone.Close()
	if err := mount.SetAttr(clone, false, mount.ReadOnly, 0); err != nil {
		return fmt.Errorf("protect the program: %w", err)
	}
	return fd.With(clone, func(n int) error { return Exec(fmt.Sprintf("/proc/self/fd/%d", n), argv, env) })
}
