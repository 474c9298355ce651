package oci

import (
	"context"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/cgroup"
	"pier/kernel/fsroot"
	"pier/kernel/pidfd"
	"pier/kernel/spawn"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
)

// Exec runs one more process in a running container and returns when its execve has succeeded; the process is a child
// of the caller. Errors are *StartError. Ending ctx kills an exec that hangs (in a paused container, say).
func Exec(ctx context.Context, c *ExecConfig) (*Process, error) {
	if c.Cgroup == nil {
		return execIn(ctx, c, func() (cgroup.Join, error) { return cgroup.Join{}, nil })
	}
	p, err := execIn(ctx, c, c.Cgroup.Join)
	if failed, ok := err.(*StartError); ok && failed.Errno == unix.EBUSY && failed.Call == "clone3" {
		// The cgroup is divided among those below it (an init in the container did so) and takes no process itself.
		return execIn(ctx, c, func() (cgroup.Join, error) { return c.Cgroup.JoinBeside(c.TargetPid) })
	}
	return p, err
}

// execIn is Exec into the cgroup that open gives.
func execIn(ctx context.Context, c *ExecConfig, open func() (cgroup.Join, error)) (*Process, error) {
	e, err := newExec(c)
	defer e.close()
	if err != nil {
		return nil, err
	}
	if c.Process.Terminal {
		if err := e.openTerminal(c); err != nil {
			return nil, e.fail("open", "terminal", err)
		}
	}
	join, err := open()
	if err != nil {
		return nil, e.fail("join cgroup", c.Cgroup.Path(), err)
	}
	defer join.Close()
	if err := e.enter(c, c.Target, func() { e.joinCgroup(join) }); err != nil {
		return nil, err
	}
	return e.run(ctx)
}

// newExec looks at what c asks for. The caller closes the task in any case.
func newExec(c *ExecConfig) (*task, error) {
	e := &task{Builder: calls.New(calls.ToEnter), id: c.ID, process: c.Process, stdio: c.Stdio, preserve: c.PreserveFDs, width: c.Width, height: c.Height,
		pidTo: c.PidTo, runTo: c.RunTo, deposit: c.Deposit}
	if err := e.checkProcess(); err != nil {
		return e, e.fail("check", "process", err)
	}
	var profile *specs.LinuxSeccomp
	state := specs.State{Version: specs.Version, ID: c.ID, Status: specs.StateRunning, Pid: c.TargetPid, Bundle: c.Bundle}
	if c.Spec != nil {
		state.Annotations = c.Spec.Annotations
		if c.Spec.Linux != nil {
			profile = c.Spec.Linux.Seccomp
		}
	}
	return e, e.compile(c.Seccomp, c.SeccompFlags, profile, state)
}

// enter adds all calls of an exec; target is the container's first process, join adds those that join its cgroup.
func (t *task) enter(c *ExecConfig, target *os.File, join func()) error {
	kinds, err := foreignNamespaces(c)
	if err != nil {
		return t.fail("look at", "namespaces", err)
	}
	if err := t.selfAttributes(); err != nil {
		return err
	}
	if a := c.Process.ExecCPUAffinity; a != nil {
		if err := t.affinity(a.Initial, true); err != nil {
			return err
		}
	}
	join()
	if a := c.Process.ExecCPUAffinity; a != nil {
		if err := t.affinity(a.Final, false); err != nil {
			return err
		}
	}
	// In the container's pid namespace the child can be seen, and traced by who has CAP_SYS_PTRACE over our memory: not
	// by those who have it in a user namespace of their own. Then the one that is seen must have nothing to give.
	split := kinds&unix.CLONE_NEWPID != 0 && kinds&unix.CLONE_NEWUSER == 0 && !c.NoTracers || mustSplit(kinds)
	t.enterAll(target, kinds, split)
	t.Add("chdir", "/", unix.SYS_CHDIR, t.String("/"))
	if err := t.streams(); err != nil {
		return err
	}
	if !split {
		t.session()
		t.putItself()
	}
	t.closeDescriptors(nil)
	if t.bound() {
		t.bind()
		t.checkReader()
	}
	var linux *specs.Linux
	if c.Spec != nil {
		linux = c.Spec.Linux
	}
	if err := t.resources(linux); err != nil {
		return err
	}
	if err := t.identity(); err != nil {
		return err
	}
	if t.bound() { // the change of user has undone it
		t.bind()
	}
	if split {
		t.tellRun()
		t.Split()
		if t.bound() {
			t.bind()
		}
		t.session()
	}
	t.program(nil)
	return nil
}

// foreignNamespaces returns the kinds of namespace in which the target is and we are not. It compares instead of reading
// the specification, as a container may share another one's, and the kernel refuses to enter one's own user namespace.
func foreignNamespaces(c *ExecConfig) (uintptr, error) {
	dir := "/proc/" + strconv.Itoa(c.TargetPid) + "/ns/"
	var kinds uintptr
	for kind, name := range namespaceFiles {
		theirs, err := os.Readlink(dir + name)
		if err != nil {
			if kind == unix.CLONE_NEWTIME || kind == unix.CLONE_NEWCGROUP {
				continue // an older kernel has none
			}
			return 0, gone(c)
		}
		mine, err := os.Readlink("/proc/thread-self/ns/" + name)
		if err != nil {
			return 0, err
		}
		if mine != theirs {
			kinds |= kind
		}
	}
	// The number was the target's all the while if the target still lives now.
	if pidfd.Signal(c.Target, 0) != nil {
		return 0, gone(c)
	}
	return kinds, nil
}

// mustSplit reports whether there is a time namespace to enter, which a process that shares our memory cannot.
func mustSplit(kinds uintptr) bool { return kinds&unix.CLONE_NEWTIME != 0 }

func gone(c *ExecConfig) error {
	return errkind.New(errkind.Conflict, "container %s is not running", c.ID)
}

// enterAll adds the entry of namespaces: all in one call, by the target's pidfd, which enters a user namespace first. The
// child is a thread group of its own, so the kernel lets it. A pid namespace holds for children only: the thread
// enters that before the clone, unless the child itself will have one (split).
func (t *task) enterAll(target *os.File, kinds uintptr, split bool) {
	if kinds&unix.CLONE_NEWPID != 0 && !split {
		t.opts.Enter = append(t.opts.Enter, spawn.Namespace{File: target, Kind: unix.CLONE_NEWPID})
		kinds &^= unix.CLONE_NEWPID
	}
	if kinds == 0 {
		return
	}
	t.Add("setns", namesOf(kinds), unix.SYS_SETNS, t.File(target), spawn.Int(kinds))
	if kinds&unix.CLONE_NEWUSER != 0 {
		t.newUsers = true
		t.Add("setresgid", "0", unix.SYS_SETRESGID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
		t.Add("setresuid", "0", unix.SYS_SETRESUID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
	}
}

// openTerminal makes the terminal in the container's own devpts, so that its name means something in there.
func (t *task) openTerminal(c *ExecConfig) error {
	root, err := fsroot.Open("/proc/" + strconv.Itoa(c.TargetPid) + "/root")
	if err != nil {
		return gone(c)
	}
	defer root.Close()
	if pidfd.Signal(c.Target, 0) != nil {
		return gone(c)
	}
	t.terminal, err = tty.OpenIn(root)
	return err
}
