// Package pidfd knows processes by descriptor, never by number alone.
//
// A process number is reused; a descriptor from clone3 or from Open is not. What is kept on disk is the number with the
// start time, which Open turns back into a descriptor or into errkind.NotFound. Linux >= 5.10.
//
// Start reading at Open.
package pidfd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// Open returns a descriptor of the process pid that began at startTime (see StartTime; 0 takes any). A process that is
// gone, or another one that got its number, is errkind.NotFound. A zombie is still opened. The caller closes the file.
func Open(pid int, startTime uint64) (*os.File, error) {
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if err == unix.ESRCH || err == unix.EINVAL {
			return nil, gone(pid)
		}
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(n), "pidfd:"+strconv.Itoa(pid))
	if startTime == 0 {
		return f, nil
	}
	// Read after opening: if this is the right process now, then so was the one opened before.
	got, err := StartTime(pid)
	if err == nil && got != startTime {
		err = gone(pid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Copy returns a descriptor of the same process as f, which the caller closes.
func Copy(f *os.File) (c *os.File, err error) {
	err = fd.With(f, func(n int) error {
		own, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("copy %s: %w", f.Name(), err)
		}
		c = os.NewFile(uintptr(own), f.Name())
		return nil
	})
	return c, err
}

func gone(pid int) error {
	return errkind.New(errkind.NotFound, "process %d: it has ended", pid)
}

// Now returns the present moment in the unit of StartTime: no process that exists by now began later.
func Now() (uint64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	const perSecond = 100 // USER_HZ, fixed for user space
	return uint64(t.Sec)*perSecond + uint64(t.Nsec)/(1e9/perSecond), nil
}

// Signal sends signal number sig to the process of f; 0 only asks whether it exists. A process that has been reaped is
// errkind.NotFound.
func Signal(f *os.File, sig int) error {
	err := fd.With(f, func(n int) error { return unix.PidfdSendSignal(n, unix.Signal(sig), nil, 0) })
	if err == unix.ESRCH {
		return errkind.New(errkind.NotFound, "send signal %d to %s: the process has ended", sig, f.Name())
	}
	if err != nil {
		return fmt.Errorf("send signal %d to %s: %w", sig, f.Name(), err)
	}
	return nil
}

// Status is how a process ended.
type Status struct {
	Code     int  // the exit code, or 128 + the signal's number
	Signaled bool // a signal ended it
}

// Wait returns nil when the process of f has exited (it may be a zombie still), or ctx's error. Any number of
// goroutines may wait on one file; none of them takes up a thread.
func Wait(ctx context.Context, f *os.File) error {
	// A descriptor of our own: its place in the netpoller and its deadline are shared with nobody.
	own := -1
	err := fd.With(f, func(n int) (err error) {
		if own, err = unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.SetNonblock(own, true)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", f.Name(), err)
	}
	w := os.NewFile(uintptr(own), f.Name())
	defer w.Close()
	stop := context.AfterFunc(ctx, func() { _ = w.SetReadDeadline(time.Unix(1, 0)) }) // wakes the read below
	defer stop()
	raw, err := w.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(n uintptr) bool {
		var ready bool
		ready, failed = exited(int(n))
		return ready || failed != nil
	})
	if err == nil {
		err = failed
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", f.Name(), err)
	}
	return nil
}

// Ended tells of each process of files whether it has exited, and waits for the first that does, limit at most. Unlike Wait
// it holds a thread meanwhile, and is cheaper for processes that are just ending.
func Ended(files []*os.File, limit time.Duration) (ended []bool) {
	ended = make([]bool, len(files))
	_ = fd.All(files, func(fds []int) error {
		poll := make([]unix.PollFd, len(fds))
		for i, n := range fds {
			poll[i] = unix.PollFd{Fd: int32(n), Events: unix.POLLIN}
		}
		wait := unix.NsecToTimespec(max(0, limit.Nanoseconds()))
		_, err := unix.Ppoll(poll, &wait, nil) // after a signal none has ended, as after limit
		for i := range poll {
			ended[i] = err == nil && poll[i].Revents != 0
		}
		return err
	})
	return ended
}

func exited(n int) (bool, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}
		count, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return count > 0, err
		}
	}
}

// Reap takes the exit status of f, a child of this process, and lets the kernel forget it. A child that still runs is
// errkind.Conflict (Wait first), a process that is not our child or was reaped before is errkind.NotFound.
func Reap(f *os.File) (Status, error) { return waitid(f, "reap", 0) }

// Take waits for the end of f, a child of this process, and reaps it. A child that has ended may still be a tracer's, one
// in its container: Wait does not know, Reap calls it Conflict, and Take waits until the tracer has let go of it. Errors
// are ctx's and Reap's.
func Take(ctx context.Context, f *os.File) (Status, error) {
	if err := Wait(ctx, f); err != nil {
		return Status{}, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		status, err := Reap(f)
		if !errkind.Is(err, errkind.Conflict) {
			return status, err
		}
		select {
		case <-ctx.Done():
			return Status{}, ctx.Err()
		case <-time.After(pause): // the kernel tells by SIGCHLD alone that a tracer has let go
		}
	}
}

// Peek is Reap but leaves the child a zombie: its status can be taken again, by this process or by the one it falls to.
func Peek(f *os.File) (Status, error) { return waitid(f, "look at", unix.WNOWAIT) }

func waitid(f *os.File, what string, flags int) (Status, error) {
	var info unix.Siginfo
	err := fd.With(f, func(n int) error {
		for {
			err := unix.Waitid(unix.P_PIDFD, n, &info, unix.WEXITED|unix.WNOHANG|unix.WALL|flags, nil)
			if err != unix.EINTR {
				return err
			}
		}
	})
	// The part of siginfo_t that the kernel fills for SIGCHLD, after the three numbers and their padding.
	child := (*struct {
		_      [4]int32
		pid    int32
		uid    uint32
		status int32
	})(unsafe.Pointer(&info))
	switch {
	case err == unix.ECHILD:
		return Status{}, errkind.New(errkind.NotFound, "%s %s: it is not a child of this process, or was reaped before", what, f.Name())
	case err == unix.EAGAIN || err == nil && child.pid == 0:
		return Status{}, errkind.New(errkind.Conflict, "%s %s: it still runs", what, f.Name())
	case err != nil:
		return Status{}, fmt.Errorf("%s %s: %w", what, f.Name(), err)
	}
	const exitedNormally = 1 // CLD_EXITED
	if info.Code == exitedNormally {
		return Status{Code: int(child.status)}, nil
	}
	return Status{Code: 128 + int(child.status), Signaled: true}, nil
}

// ExitInfo returns how the process of f ended, whoever reaped it; f must have been opened before that. A process that
// has not been reaped yet is errkind.NotFound. Linux >= 6.15; errkind.Unsupported before.
func ExitInfo(f *os.File) (Status, error) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err := fd.With(f, func(n int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info))); errno != 0 {
			return errno
		}
		return nil
	})
	switch {
	case err == unix.ENOTTY || err == unix.EINVAL:
		return Status{}, errkind.New(errkind.Unsupported, "exit status of %s: the kernel cannot tell it; needs Linux >= 6.15", f.Name())
	case err == unix.ESRCH:
		// Linux 6.13 and 6.14 know the call but forget the status with the process.
		return Status{}, errkind.New(errkind.Unsupported, "exit status of %s: the kernel has forgotten it; needs Linux >= 6.15", f.Name())
	case err != nil:
		return Status{}, fmt.Errorf("exit status of %s: %w", f.Name(), err)
	case info.Mask&unix.PIDFD_INFO_EXIT == 0:
		return Status{}, errkind.New(errkind.NotFound, "exit status of %s: nobody has reaped it yet", f.Name())
	}
	ws := unix.WaitStatus(info.Exit_code)
	if ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signaled: true}, nil
	}
	return Status{Code: ws.ExitStatus()}, nil
}

// SetSubreaper makes this process the one to which orphaned descendants fall (PR_SET_CHILD_SUBREAPER), so that it can
// Reap them. It holds for the process's life and is not inherited.
func SetSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become child subreaper: %w", err)
	}
	return nil
}
