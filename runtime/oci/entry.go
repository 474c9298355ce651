package oci

import (
	"context"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/kernel/spawn"
	"pier/runtime/oci/internal/calls"
)

// Entry is an exec that is prepared once and run again and again in one container: what Exec finds out and writes down for
// each process is there already. Its processes get no input, and one pipe for output and errors, which the caller alone
// reads. They are bound to the caller: the kernel kills them when it dies, or the thread of it that made them. A program
// that gets more rights by its execution, a set-user-ID one, is let go: the kernel does not kill that.
//
// It belongs to one goroutine at a time.
type Entry struct {
	t      *task
	c      ExecConfig
	target *os.File // our own: its number must not become another's between two runs
	output spawn.Slot
	join   cgroup.Join
}

// Enter prepares c: a Process without a terminal, whose input is Stdio.Stdin. The rest of Stdio, Spec, PidTo and RunTo count for
// nothing. What it finds out holds for as long as the container lives: which of its namespaces are not the host's. The
// caller closes the Entry, and may close Stdin after that. Errors are *StartError.
func Enter(c *ExecConfig) (e *Entry, err error) {
	e = &Entry{c: *c}
	e.c.Stdio, e.c.Spec, e.c.PidTo, e.c.RunTo = Stdio{Stdin: c.Stdio.Stdin}, nil, nil, nil
	e.t, err = newExec(&e.c)
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if e.target, err = pidfd.Copy(c.Target); err != nil {
		return nil, e.t.fail("hold", c.Target.Name(), err)
	}
	if c.Cgroup != nil {
		if e.join, err = c.Cgroup.Join(); err != nil {
			return nil, e.t.fail("join cgroup", c.Cgroup.Path(), err)
		}
	}
	e.output = e.t.Slot()
	e.t.output = &e.output
	err = e.t.enter(&e.c, e.target, func() { e.t.joinCgroup(e.join) })
	return e, err
}

// Close lets go of what the Entry holds open.
func (e *Entry) Close() {
	e.t.close()
	_ = e.join.Close()
	if e.target != nil {
		e.target.Close()
	}
}

// Run makes one process, whose output goes to out, and returns when its execve has succeeded. The process is a child of
// the caller; when it began is not told. Errors are as those of Exec. Ending ctx kills a process that hangs on its way.
func (e *Entry) Run(ctx context.Context, out *os.File) (*Process, error) {
	p, err := e.run(ctx, out)
	if failed, ok := err.(*StartError); ok && e.join.Dir != nil && failed.Errno == unix.EBUSY && failed.Call == "clone3" { // as in Exec
		join, err := e.c.Cgroup.JoinBeside(e.c.TargetPid)
		if err != nil {
			return nil, e.t.fail("join cgroup", e.c.Cgroup.Path(), err)
		}
		defer join.Close()
		e.t.opts.Cgroup = join.Dir
		defer func() { e.t.opts.Cgroup = e.join.Dir }()
		return e.run(ctx, out)
	}
	return p, err
}

func (e *Entry) run(ctx context.Context, out *os.File) (*Process, error) {
	t := e.t
	spawn.Again(t.List)
	e.output.Set(calls.FD(out))
	defer runtime.KeepAlive(out)
	t.opts.Context = ctx
	child, err := t.Run(t.opts)
	if err != nil {
		return nil, t.unmade(ctx, err)
	}
	return &Process{Pid: child.Pid, Pidfd: child.Pidfd}, nil
}

// bound reports whether this is the task of an Entry.
func (t *task) bound() bool { return t.output != nil }

// bind has the child killed with its parent.
func (t *task) bind() {
	t.Add("prctl PR_SET_PDEATHSIG", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_PDEATHSIG), spawn.Int(uintptr(unix.SIGKILL)), spawn.Int(0), spawn.Int(0), spawn.Int(0))
}

// checkReader has the child end if the caller was dead before bind: then nobody reads its output. It comes before the
// system call filter, which may not know the call, and when the child's own copy of the reading end is closed.
func (t *task) checkReader() {
	look := spawn.Pointer(t.List, &unix.PollFd{Fd: 1})
	t.Add("ppoll", "standard output", unix.SYS_PPOLL, look, spawn.Int(1), spawn.Pointer(t.List, new(unix.Timespec)), spawn.Int(0), spawn.Int(8))
	const broken = unix.POLLERR << 48 // in revents, the last of the three numbers
	t.CheckNot("ppoll", "standard output", look, broken, broken, unix.EPIPE)
}
