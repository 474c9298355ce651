// Package self is what a process does to itself: leave its session, hide its memory, become a new program and keep what
// it holds.
//
// Start reading at Exec.
package self

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
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
