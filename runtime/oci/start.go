package oci

import (
	"context"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/kernel/spawn"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/rootfs"
)

// start is the making of a container's first process.
type start struct {
	task
	c     *Container
	spec  *specs.Spec
	linux *specs.Linux

	join       cgroup.Join
	root       rootfs.Root // the root file system; neither opened nor filled where a mount namespace is joined
	namespaces namespaces
	uids, gids []specs.LinuxIDMapping // of the container's user namespace
}

// Start runs c's first process and returns when its execve has succeeded. On an error nothing is left behind: the child
// is reaped, its mounts and namespaces are gone, the cgroup is as it was. Errors are *StartError. Ending ctx kills a
// start that hangs.
func Start(ctx context.Context, c *Container) (*Process, error) {
	s, err := prepare(c)
	defer s.close()
	if err != nil {
		return nil, err
	}
	if err := s.build(nil); err != nil {
		return nil, err
	}
	return s.run(ctx)
}

// prepare checks c and opens what its start will need. The caller closes the answer, also after an error.
func prepare(c *Container) (*start, error) {
	s := &start{c: c, spec: c.Spec, linux: c.Spec.Linux}
	s.task = task{Builder: calls.New(calls.ToStart), id: c.ID, process: c.Spec.Process, stdio: c.Stdio, preserve: c.PreserveFDs,
		width: c.Width, height: c.Height, pidTo: c.PidTo, runTo: c.RunTo, deposit: c.Deposit, init: c.Init}
	if s.noKeyring = c.NoKeyring; s.linux == nil {
		s.linux = &specs.Linux{}
	}
	if err := s.check(); err != nil {
		return s, s.fail("check", "configuration", err)
	}
	state := specs.State{Version: specs.Version, ID: c.ID, Status: specs.StateCreating, Bundle: c.Bundle, Annotations: c.Spec.Annotations}
	if err := s.compile(c.Seccomp, c.SeccompFlags, s.linux.Seccomp, state); err != nil {
		return s, err
	}
	if err := s.openNamespaces(); err != nil {
		return s, err
	}
	return s, s.openRoot()
}

// close lets go of everything that the parent held for the child.
func (s *start) close() {
	s.task.close()
	s.join.Close()
}

// build writes the child's list. With a gate the child waits at it before the program's execve.
func (s *start) build(g *gate) error {
	if s.c.Cgroup != nil {
		open := s.c.Cgroup.Join
		if slices.ContainsFunc(s.spec.Mounts, rootfs.Delegated) {
			open = s.c.Cgroup.JoinDelegated
		}
		join, err := open()
		if err != nil {
			return s.fail("join cgroup", s.c.Cgroup.Path(), err)
		}
		s.join = join
	}
	s.Add("umask", "", unix.SYS_UMASK, spawn.Int(0))
	if err := s.selfAttributes(); err != nil {
		return err
	}
	s.task.joinCgroup(s.join)
	if err := s.enterNamespaces(); err != nil {
		return err
	}
	if err := s.moveDevices(); err != nil {
		return err
	}
	if err := s.fillRoot(); err != nil {
		return err
	}
	if err := s.sysctls(); err != nil {
		return err
	}
	s.root.Cover()
	if err := s.hooks(); err != nil {
		return err
	}
	s.changeRoot()
	s.names()
	if err := s.streams(); err != nil {
		return err
	}
	late := s.namespaces.pids != nil
	if !late {
		s.session()
		s.putItself()
	}
	s.closeDescriptors(g)
	if err := s.resources(s.linux); err != nil {
		return err
	}
	if err := s.identity(); err != nil {
		return err
	}
	if late {
		if g != nil {
			g.closeOthers(&s.task)
		}
		s.tellRun()
		s.Split()
		s.session()
	}
	if g != nil {
		s.lookUp()
		g.wait(&s.task)
	}
	s.program(g)
	return nil
}

// joinCgroup adds the child's way into its cgroup. It comes before the new cgroup namespace, whose root it becomes.
// On v1 the child writes to "tasks" itself: a single thread needs none of the locks that "cgroup.procs" takes.
func (t *task) joinCgroup(join cgroup.Join) {
	t.opts.Cgroup = join.Dir
	for _, name := range join.Tasks {
		fd := t.Slot()
		t.Add("join cgroup", name, unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), t.String(name), spawn.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
		t.Write("join cgroup", name, spawn.From(fd), "0")
	}
}

// names adds the host name and the domain name.
func (s *start) names() {
	if n := s.spec.Hostname; n != "" {
		s.Add("sethostname", n, unix.SYS_SETHOSTNAME, s.String(n), spawn.Int(len(n)))
	}
	if n := s.spec.Domainname; n != "" {
		s.Add("setdomainname", n, unix.SYS_SETDOMAINNAME, s.String(n), spawn.Int(len(n)))
	}
}

// run clones the child into its namespaces.
func (s *start) run(ctx context.Context) (*Process, error) {
	s.opts.Flags = s.namespaces.flags
	return s.task.run(ctx)
}

// run clones the child, meets it where it asks for something, waits for its execve and completes the Process.
func (t *task) run(ctx context.Context) (*Process, error) {
	t.size()
	t.putTerminal()
	t.opts.Context = ctx
	t.opts.PidTo = t.pidTo
	for _, m := range t.meetings {
		m.Serve(t.List)
	}
	child, err := t.Run(t.opts)
	for _, m := range t.meetings {
		if failed := m.Result(); failed != nil && err != nil {
			return nil, t.fail("do", m.What(), failed)
		}
	}
	if err != nil {
		return nil, t.unmade(ctx, err)
	}
	p := &Process{Pid: child.Pid, Pidfd: child.Pidfd}
	// The child is ours and not reaped, so its number is still its own.
	if p.StartTime, err = pidfd.StartTime(p.Pid); err != nil {
		p.StartTime = 0
	}
	if t.terminal != nil && t.terminal.Master != nil {
		p.Master, t.terminal.Master = t.terminal.Master, nil
	}
	return p, nil
}

// unmade turns the error of Run, which ctx may have ended, into the caller's.
func (t *task) unmade(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &StartError{Call: "start", Err: errkind.New(errkind.Of(ctx.Err()), "container %s: start: %w", t.id, ctx.Err())}
	}
	return t.startError(err)
}

// close lets go of what the parent held, the terminal's master included unless run gave it away.
func (t *task) close() {
	t.Builder.Close()
	for _, m := range t.meetings {
		m.Close()
	}
	if t.listener != nil {
		t.listener.agent.Close()
	}
	if t.terminal != nil {
		t.terminal.Close()
	}
}

// size gives the terminal its first size.
func (t *task) size() {
	width, height := t.width, t.height
	if box := t.process.ConsoleSize; width == 0 && height == 0 && box != nil {
		width, height = uint16(box.Width), uint16(box.Height)
	}
	if t.terminal != nil && t.terminal.Master != nil && (width != 0 || height != 0) {
		_ = tty.SetSize(t.terminal.Master, width, height)
	}
}
