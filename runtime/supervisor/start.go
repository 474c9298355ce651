package supervisor

import (
	"context"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/origin"
)

// start runs a container's first process. files are those that came with r.
func (s *Supervisor) start(ctx context.Context, r *shim.Start, files []*os.File) (*task, error) {
	ref := shim.TaskRef{ID: r.ID}
	if err := validate(ref); err != nil {
		return nil, err
	}
	c, err := s.container(r, files)
	if err != nil {
		return nil, err
	}
	spec := c.Spec
	letGo, err := s.holdDonors(spec.Linux)
	if err != nil {
		return nil, err
	}
	defer letGo()
	uid, gid := owner(spec.Process.User, spec.Linux)
	if r.Restore != nil {
		defer s.restoring(r.ID)()
	}
	s.starting.RLock()
	defer s.starting.RUnlock()
	t, err := s.begin(record{SharedPids: !hasPidNamespace(spec.Linux), Uid: uid, Gid: gid, Task: shim.Task{TaskRef: ref,
		Cgroup: spec.Linux.CgroupsPath, Terminal: r.Stdio.Terminal, Stdio: r.Stdio, Log: r.Log}, Runtime: r.Runtime}, r.Expected)
	if err != nil {
		return nil, err
	}
	if joinsPids(spec.Linux) {
		s.expectTracers(t)
	}
	if canTrace(spec.Process, spec.Linux) {
		if err := s.admitTracer(ctx, t, joinsPids(spec.Linux)); err != nil {
			return nil, s.fail(t, err)
		}
	}
	if t.cgroup, err = cgroup.Create(spec.Linux.CgroupsPath, spec.Linux.Resources); err != nil {
		return nil, s.fail(t, err)
	}
	c.Cgroup, c.PidTo, c.RunTo = t.cgroup, t.journal.PidWord(), t.journal.RunWord()
	c.Dir = t.dir
	err = s.launch(ctx, t, c.Limit(), c.Deposit, func(ctx context.Context, stdio oci.Stdio) (*oci.Process, error) {
		c.Stdio = stdio
		return origin.Start(ctx, c)
	})
	if err != nil {
		t.forgetForeign()
		if deleteErr := t.cgroup.Delete(); deleteErr != nil {
			s.log.Error("remove cgroup after a failed start", "task", ref, "err", deleteErr)
		}
		return nil, s.fail(t, err)
	}
	t.rootfs = c.Rootfs
	go s.wait(t)
	return t, nil
}

// container is what r asks to start, whose configuration it completes, with the descriptors that came along.
func (s *Supervisor) container(r *shim.Start, files []*os.File) (*origin.Container, error) {
	spec := r.Spec
	if spec == nil || spec.Process == nil {
		return nil, errkind.New(errkind.Invalid, "start %s: the configuration has no process", r.ID)
	}
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	if spec.Linux.CgroupsPath == "" {
		spec.Linux.CgroupsPath = "/pier/" + r.ID
	}
	spec.Process.Terminal = r.Stdio.Terminal
	c := &origin.Container{Container: oci.Container{ID: r.ID, Spec: spec, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags, Width: r.Width, Height: r.Height, Bundle: r.Bundle},
		Runtime: r.Runtime, Restore: r.Restore, Root: s.root}
	c.Empty, _ = s.empty() // without it, the way is longer
	if r.HasRootfs {
		c.Rootfs, files = files[0], files[1:]
	}
	if r.HasNetns {
		c.Netns, files = files[0], files[1:]
	}
	if r.Restore != nil {
		c.Images, files = files[0], files[1:]
	}
	if r.HasDeposit {
		c.Deposit = files[0]
	}
	if r.Init && r.Restore == nil { // a checkpoint has it
		var err error
		if c.Init, err = s.init(); err != nil {
			return nil, err
		}
		// All such containers share the file. Where its mode cannot be sealed (Linux < 6.3), root in one may have taken from
		// others the permission to execute it.
		_ = c.Init.Chmod(0o777)
	}
	return c, nil
}

// dump makes a checkpoint of a container in the folder images. Nobody freezes or thaws it meanwhile.
func (s *Supervisor) dump(ctx context.Context, r *shim.Dump, images *os.File) error {
	t, err := s.running(r.ID)
	if err != nil {
		return err
	}
	t.standing.Lock()
	defer t.standing.Unlock()
	return origin.Dump(ctx, &origin.Running{Pid: t.info.Pid, StartTime: t.info.StartTime, Cgroup: t.cgroup, Terminal: t.info.Terminal, Runtime: t.record.Runtime, Dir: t.dir}, r, images)
}

// exec runs one more process in a container that runs. files are those that came with r.
func (s *Supervisor) exec(ctx context.Context, r *shim.Exec, files []*os.File) (*task, error) {
	if r.Joined == nil {
		return s.execUnjoined(ctx, r, files)
	}
	a, err := s.attachNext(files[0], r.TaskRef, *r.Joined)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "exec in %s: %w", r.ID, err)
	}
	t, err := s.execUnjoined(ctx, r, files[1:])
	if err != nil {
		a.leave()
	}
	go s.follow(a, r.TaskRef)
	return t, err
}

func (s *Supervisor) execUnjoined(ctx context.Context, r *shim.Exec, files []*os.File) (*task, error) {
	if r.Exec == "" {
		return nil, errkind.New(errkind.Invalid, "exec in %s: it has no name", r.ID)
	}
	process := r.Process
	if process == nil {
		return nil, errkind.New(errkind.Invalid, "exec in %s: it has no process", r.ID)
	}
	init, err := s.find(shim.TaskRef{ID: r.ID})
	if err != nil {
		return nil, err
	}
	process.Terminal = r.Stdio.Terminal
	s.starting.RLock()
	defer s.starting.RUnlock()
	if init.view().Exit != nil || init.cgroup == nil {
		return nil, errkind.New(errkind.Conflict, "container %s is not running", r.ID)
	}
	uid, gid := int(process.User.UID), int(process.User.GID)
	if init.record.Uid != 0 && uid == 0 { // a user namespace maps the container's root
		uid, gid = init.record.Uid, init.record.Gid
	}
	t, err := s.begin(record{SharedPids: true, Uid: uid, Gid: gid, Task: shim.Task{TaskRef: r.TaskRef, Cgroup: init.info.Cgroup,
		Terminal: r.Stdio.Terminal, Stdio: r.Stdio}}, r.Expected)
	if err != nil {
		return nil, err
	}
	t.cgroup = init.cgroup
	var deposit *os.File
	if r.HasDeposit {
		deposit = files[0]
	}
	err = s.launch(ctx, t, shim.ExecLimit, deposit, func(ctx context.Context, stdio oci.Stdio) (*oci.Process, error) {
		return s.execIn(ctx, init, &oci.ExecConfig{Process: process, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags, Stdio: stdio, Width: r.Width, Height: r.Height,
			PidTo: t.journal.PidWord(), RunTo: t.journal.RunWord(), Deposit: deposit})
	})
	if err != nil {
		return nil, s.fail(t, err)
	}
	go s.wait(t)
	return t, nil
}

// execIn makes the process of c in the container of init, which c does not name yet. s.starting is held.
func (s *Supervisor) execIn(ctx context.Context, init *task, c *oci.ExecConfig) (*oci.Process, error) {
	done, err := s.aim(ctx, init, c)
	if err != nil {
		return nil, err
	}
	defer done()
	return oci.Exec(ctx, c)
}

// aim has c name the container of init. done is called when the process is made.
func (s *Supervisor) aim(ctx context.Context, init *task, c *oci.ExecConfig) (done func(), err error) {
	if canTrace(c.Process, nil) {
		if err := s.admitTracer(ctx, init, init.record.SharedPids); err != nil {
			return nil, err
		}
	}
	c.NoTracers, done = s.hurry(init)
	c.ID, c.Target, c.TargetPid, c.Cgroup = init.ref.ID, init.pidfd, init.info.Pid, init.cgroup
	return done, nil
}

// begin makes a task, with the streams that were attached before; expected is how many there should be. It has no process
// yet.
func (s *Supervisor) begin(r record, expected int) (*task, error) {
	t := s.newTask(r)
	s.mu.Lock()
	_, alive := s.tasks[t.ref]
	_, making := s.making[t.ref]
	if alive || making {
		s.mu.Unlock()
		return nil, &shim.Error{Kind: errkind.Conflict, Message: "task " + name(t.ref) + " exists already; delete it first", Call: shim.CallBegin}
	}
	if s.stopping {
		s.mu.Unlock()
		return nil, errkind.New(errkind.Unavailable, "start %s: the supervisor is about to end", name(t.ref))
	}
	s.making[t.ref] = t
	t.hub.streams, s.waiting[t.ref] = s.waiting[t.ref], nil
	for _, a := range t.hub.streams { // nothing is sent yet
		a.loose = t.hub.loose
	}
	delete(s.waiting, t.ref)
	t.hub.missing.Patient = max(0, expected-len(t.hub.streams))
	s.mu.Unlock()
	if err := t.prepare(); err != nil {
		return nil, s.fail(t, err)
	}
	return t, nil
}

// launch opens the standard streams, makes the process and starts to carry its output. deposit may be nil.
func (s *Supervisor) launch(ctx context.Context, t *task, limit time.Duration, deposit *os.File, run func(context.Context, oci.Stdio) (*oci.Process, error)) error {
	if err := t.openOutput(); err != nil {
		return err
	}
	var stdio oci.Stdio
	var err error
	if !t.record.Task.Terminal {
		for i, to := range []**os.File{&stdio.Stdout, &stdio.Stderr} {
			// For reading too: the process keeps its own FIFO whole when nobody else is left.
			if *to, err = pipe.OpenChild(t.streams[i].fifo.Name(), os.O_RDWR); err != nil {
				return err
			}
			defer (*to).Close()
		}
		if t.record.Task.Stdio.OpenStdin {
			if stdio.Stdin, err = t.openStdin(); err != nil {
				return err
			}
			defer stdio.Stdin.Close()
		}
	}
	if deposit != nil {
		t.putOutput(deposit)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := run(ctx, stdio)
	if err != nil {
		return err
	}
	at := time.Now()
	t.journal.Started(p.Pid, p.StartTime, at)
	t.pidfd, t.master = p.Pidfd, p.Master
	for _, o := range t.streams {
		o.master = p.Master
	}
	s.enter(t, p.Pid, p.StartTime, at)
	return nil
}

// enter makes a task that has a process known, and lets its output flow.
func (s *Supervisor) enter(t *task, pid int, startTime uint64, at time.Time) {
	s.mu.Lock()
	t.info.Pid, t.info.StartTime, t.info.StartedAt = pid, startTime, at
	delete(s.making, t.ref)
	s.tasks[t.ref] = t
	s.mu.Unlock()
	t.hub.begin()
	for _, o := range t.streams {
		go o.run()
	}
}

// fail undoes begin and launch, and returns err.
func (s *Supervisor) fail(t *task, err error) error {
	s.mu.Lock()
	delete(s.making, t.ref)
	s.mu.Unlock()
	t.hub.close(shim.FrameError, []byte("the task did not start: "+err.Error()))
	t.discard()
	return err
}

func hasPidNamespace(l *specs.Linux) bool {
	for _, n := range l.Namespaces {
		if n.Type == specs.PIDNamespace {
			return n.Path == ""
		}
	}
	return false
}

// owner returns the host's ids of the container's user.
func owner(u specs.User, l *specs.Linux) (uid, gid int) {
	mapped := func(id uint32, maps []specs.LinuxIDMapping) int {
		for _, m := range maps {
			if id >= m.ContainerID && id-m.ContainerID < m.Size {
				return int(m.HostID + (id - m.ContainerID))
			}
		}
		return int(id)
	}
	return mapped(u.UID, l.UIDMappings), mapped(u.GID, l.GIDMappings)
}
