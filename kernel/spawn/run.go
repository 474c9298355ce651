//go:build linux && (amd64 || arm64)

package spawn

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags      uint64
	pidfd      unsafe.Pointer
	childTID   uint64
	parentTID  unsafe.Pointer
	exitSignal uint64
	stack      uint64
	stackSize  uint64
	tls        uint64
	setTID     uint64
	setTIDSize uint64
	cgroup     uint64
}

// childIDs are written by the kernel before the child makes its first call.
type childIDs struct{ pid, pidfd atomic.Int32 }

// Supported reports whether this package can start processes on this architecture.
const Supported = true

// clone is the assembly. It is not marked noescape, and it takes the list that it does not use, so that everything the
// child writes to or reads from is on the heap: a stack may move between two calls of the parent.
func clone(args *cloneArgs, size uintptr, first, end *call, failed **call, keep *List) uintptr

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// vfork is clone with the scheduler told. entersyscallblock gives the processor away while the child sets itself up, and at
// once: it will take long, and the scheduler's monitor would look every 20 microseconds whether it does. beforeFork blocks
// all signals, so that the child, which shares our stack pointer, never runs a handler on it. In this order, because
// exitsyscall may reschedule and must not be called with signals blocked.
//
//go:nosplit
//go:norace
func vfork(args *cloneArgs, first, end *call, failed **call, keep *List) uintptr {
	entersyscallblock()
	beforeFork()
	r := clone(args, unsafe.Sizeof(*args), first, end, failed, keep)
	afterFork()
	exitsyscall()
	return r
}

// Run clones the child and returns when it has executed its program, or with *Error when a call failed; the child is
// then gone and reaped. A child that came to the end of the list is an error too, that of the last call; the caller looks at
// tolerated errnos through Call.Result. Before the list can be used again it needs Again.
func (l *List) Run(o Options) (*Child, error) {
	defer runtime.KeepAlive(l)
	if len(l.calls) == 0 {
		return nil, &Error{Call: "clone", Errno: syscall.EINVAL}
	}
	args := &cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_PIDFD |
			unix.CLONE_PARENT_SETTID | uint64(o.Flags),
		pidfd:      unsafe.Pointer(&l.child.pidfd),
		parentTID:  unsafe.Pointer(&l.child.pid),
		exitSignal: uint64(syscall.SIGCHLD),
	}
	if o.PidTo != nil {
		l.pid.Store((*atomic.Int32)(unsafe.Pointer(o.PidTo)))
		args.parentTID = unsafe.Pointer(o.PidTo)
	}
	if o.Cgroup != nil {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(number(o.Cgroup))
	}
	defer runtime.KeepAlive(o.Cgroup)
	if l.split {
		return l.runSplit(o, args)
	}
	failed := new(*call)
	first := &l.calls[0]
	end := (*call)(unsafe.Add(unsafe.Pointer(first), uintptr(len(l.calls))*unsafe.Sizeof(call{})))
	stop := l.killWith(o.Context)
	r, err := l.onThread(o, args, first, end, failed)
	stop()
	if err != nil {
		return nil, err
	}
	if errno := -int64(r); errno > 0 && errno <= 4095 {
		return nil, &Error{Call: "clone3", Errno: syscall.Errno(errno), Index: -1}
	}
	pidfd := os.NewFile(uintptr(l.child.pidfd.Load()), "pidfd:"+strconv.Itoa(int(r)))
	child := &Child{Pid: int(r), Pidfd: pidfd}
	if *failed == nil && l.executed() {
		return child, nil
	}
	reap(child)
	return nil, l.failure(*failed)
}

// failure describes why there is no child: the failed call, or else the last one, or a child that was killed.
func (l *List) failure(failed *call) *Error {
	i := len(l.calls) - 1
	if failed != nil {
		i = int((uintptr(unsafe.Pointer(failed)) - uintptr(unsafe.Pointer(&l.calls[0]))) / unsafe.Sizeof(call{}))
	} else if l.calls[i].done == 0 {
		return &Error{Call: "child killed before execve", Errno: syscall.EINTR, Index: -1}
	}
	return &Error{Call: l.names[i].call, Path: l.names[i].path, Errno: syscall.Errno(-l.calls[i].result), Index: i}
}

// killWith kills the child when ctx ends before stop is called. Until then the descriptor is Run's own.
func (l *List) killWith(ctx context.Context) (stop func()) {
	if ctx == nil || ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(done)
		for l.child.pidfd.Load() < 0 { // the clone is about to happen, or has failed
			select {
			case <-l.cloned:
				return
			case <-time.After(time.Millisecond):
			}
		}
		_ = unix.PidfdSendSignal(int(l.child.pidfd.Load()), unix.SIGKILL, nil, 0)
	})
	return func() {
		close(l.cloned)
		if !end() {
			<-done
		}
	}
}

// onThread runs the clone, in another pid namespace if the options ask for it. A thread that cannot come back from
// there is never used again.
func (l *List) onThread(o Options, args *cloneArgs, first, end *call, failed **call) (uintptr, error) {
	if len(o.Enter) == 0 {
		return vfork(args, first, end, failed, l), nil
	}
	runtime.LockOSThread()
	home, err := enter(o.Enter)
	var r uintptr
	if err == nil {
		r = vfork(args, first, end, failed, l)
	}
	if backErr := home.back(); backErr == nil {
		runtime.UnlockOSThread()
	}
	return r, err
}

// executed reports that an execve has succeeded: it has begun and will never have a result.
func (l *List) executed() bool {
	for i := range l.calls {
		c := &l.calls[i]
		if (c.nr == unix.SYS_EXECVE || c.nr == unix.SYS_EXECVEAT) && c.done != 0 && c.result == 0 {
			return true
		}
	}
	return false
}

// reap takes the status of a child that has exited or is about to.
func reap(c *Child) {
	defer c.Pidfd.Close()
	for {
		err := unix.Waitid(unix.P_PIDFD, int(c.Pidfd.Fd()), nil, unix.WEXITED|unix.WALL, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// Child returns the number of the child from any goroutine, while Run is under way: 0 before the clone, after a Split
// that of the second process.
func (l *List) Child() (pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.second != nil && *l.second != 0 {
		return int(*l.second)
	}
	return int(l.pid.Load().Load())
}

// home remembers the namespaces of a thread.
type home []homeNS

type homeNS struct {
	fd   int
	kind int
}

// enter moves the calling, locked thread into namespaces and remembers its own.
func enter(list []Namespace) (home, error) {
	var h home
	for _, ns := range list {
		own, err := unix.Open("/proc/thread-self/ns/"+nsNames[ns.Kind], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return h, &Error{Call: "open own namespace", Path: nsNames[ns.Kind], Errno: err.(syscall.Errno), Index: -1}
		}
		var setErr error
		raw, err := ns.File.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { setErr = unix.Setns(int(fd), ns.Kind) })
		}
		if err == nil {
			err = setErr
		}
		if err != nil {
			unix.Close(own)
			errno, _ := err.(syscall.Errno)
			return h, &Error{Call: "setns", Path: ns.File.Name(), Errno: errno, Index: -1}
		}
		h = append(h, homeNS{own, ns.Kind})
	}
	return h, nil
}

// back returns the thread to where it was.
func (h home) back() error {
	var failed error
	for i := len(h) - 1; i >= 0; i-- {
		if err := unix.Setns(h[i].fd, h[i].kind); err != nil {
			failed = fmt.Errorf("return to own namespace: %w", err)
		}
		unix.Close(h[i].fd)
	}
	return failed
}
