package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/logging"
	"pier/runtime/supervisor/internal/journal"
	"pier/runtime/supervisor/internal/origin"
)

// given is what a predecessor's task comes with, as far as anybody kept it.
type given struct {
	pidfd, master, stdin, rootfs *os.File
	deposit                      *os.File // the caller's
	child                        bool     // of pierd
	attached                     waiting
}

func (g given) close() {
	for _, f := range []*os.File{g.pidfd, g.master, g.stdin, g.rootfs} {
		if f != nil {
			f.Close()
		}
	}
}

// adopt takes up a task that pierd hands over. The output FIFOs are opened by their names; those that came along have
// done their work, which was to keep the content.
func (s *Supervisor) adopt(r *shim.Adopt, files []*os.File) error {
	if err := validate(r.Task.TaskRef); err != nil {
		return err
	}
	g := given{child: r.Child, attached: waiting{Patient: r.Patient, Others: r.Others}}
	for _, f := range []struct {
		there bool
		to    **os.File
	}{{r.Files.Pidfd, &g.pidfd}, {r.Files.Master, &g.master}, {r.Files.Stdin, &g.stdin}} {
		if !f.there {
			continue
		}
		if len(files) == 0 {
			g.close()
			return errkind.New(errkind.Invalid, "adopt task %s: a descriptor is missing", name(r.Task.TaskRef))
		}
		*f.to, files[0] = files[0], nil
		files = files[1:]
	}
	return s.takeUp(r.Task.TaskRef, g)
}

// recover takes up every other task there is a record of. files are those that came with r.
func (s *Supervisor) recover(r *shim.Recover, files []*os.File) error {
	known := map[shim.TaskRef]given{}
	if r != nil {
		for _, a := range r.Streams {
			g := given{attached: waiting{Patient: a.Patient}}
			if a.HasDeposit && len(files) > 0 {
				g.deposit, files = files[0], files[1:]
			}
			known[a.TaskRef] = g
		}
	}
	containers, err := os.ReadDir(filepath.Join(s.root, "tasks"))
	if err != nil {
		return err
	}
	for _, c := range containers {
		ref := shim.TaskRef{ID: c.Name()}
		if err := s.recoverOne(ref, known[ref]); err != nil {
			s.log.Error("recover task", "task", ref, "err", err)
		}
		execs, err := os.ReadDir(filepath.Join(s.dir(ref), "exec"))
		if err != nil {
			continue // it has none, or was removed
		}
		for _, e := range execs {
			ref.Exec = e.Name()
			if err := s.recoverOne(ref, known[ref]); err != nil {
				s.log.Error("recover task", "task", ref, "err", err)
			}
		}
	}
	return nil
}

func (s *Supervisor) recoverOne(ref shim.TaskRef, g given) error {
	if err := validate(ref); err != nil {
		return err
	}
	s.mu.Lock()
	known := s.tasks[ref] != nil || s.making[ref] != nil
	s.mu.Unlock()
	if known {
		return nil
	}
	return s.takeUp(ref, g)
}

// takeUp continues with a task as its files, journal and g show it. It owns the files in g. What never began, or is from
// before the last boot, is removed.
func (s *Supervisor) takeUp(ref shim.TaskRef, g given) (err error) {
	t := s.newTask(record{Task: shim.Task{TaskRef: ref}})
	defer func() {
		if err != nil {
			t.discard()
			g.close()
			err = fmt.Errorf("take up task %s: %w", name(ref), err)
		}
	}()
	s.starting.RLock()
	defer s.starting.RUnlock()
	if err := t.reopen(); os.IsNotExist(err) { // the predecessor died before anything began
		t.made = true
		return errkind.New(errkind.NotFound, "it never began")
	} else if err != nil {
		return err
	}
	if t.record.Boot != s.boot {
		t.made = true
		return errkind.New(errkind.NotFound, "the machine was started anew since")
	}
	if t.log, err = logging.Open(t.record.Task.Log, s.packer); err != nil {
		return err
	}
	// A predecessor may have made, or removed, a part of it.
	if t.cgroup, err = cgroup.At(t.info.Cgroup); err != nil {
		return err
	}
	pid, startTime, at := s.begun(t)
	if pid == 0 {
		t.made = true
		s.sweep(t)
		return errkind.New(errkind.NotFound, "its process was not made")
	}
	if err := g.withdraw(); err != nil {
		s.log.Error("look for what was put away of a task", "task", t.ref, "err", err)
	}
	if t.pidfd, g.pidfd = g.pidfd, nil; t.pidfd == nil {
		if t.pidfd, err = pidfd.Open(pid, startTime); err != nil && !errkind.Is(err, errkind.NotFound) {
			return err
		}
	}
	t.child, t.master, t.rootfs = g.child, g.master, g.rootfs
	if err := t.takeStdin(g.stdin); err != nil {
		return err
	}
	g = given{attached: g.attached}
	if exit := t.journal.Exit(ref); exit != nil { // all but the announcement was done
		t.hub.closed = true
		for _, kind := range []int{shim.FrameStdout, shim.FrameStderr} { // a stream that had not got all will be told so
			t.hub.sent[kind] = t.journal.Slot(kind - shim.FrameStdout).Done()
		}
		s.enter(t, pid, startTime, at)
		s.finish(t, exit)
		return nil
	}
	if err := t.openOutput(); err != nil {
		return err
	}
	t.hub.expect(g.attached)
	if t.journal.Flag(journal.Doomed) {
		if err := t.cgroup.Kill(); err != nil {
			s.log.Error("kill a task that a predecessor was killing", "task", t.ref, "err", err)
		}
	}
	if t.ref.Exec == "" {
		t.takeFrozen()
	}
	s.enter(t, pid, startTime, at)
	go s.wait(t)
	return nil
}

// begun is the process of a task, as the journal has it or, where its start was cut off under way, as cutOff decides. pid is
// 0 where there is none.
func (s *Supervisor) begun(t *task) (pid int, startTime uint64, at time.Time) {
	pid, startTime, at = t.journal.Process()
	if pid == 0 || startTime != 0 {
		return pid, startTime, at
	}
	if t.ref.Exec == "" { // nobody freezes what has not begun, but a predecessor that was ending it
		if err := cgroup.Release(t.cgroup); err != nil {
			s.log.Error("thaw a start that was cut off", "task", t.ref, "err", err)
		}
	}
	if pid, startTime = s.cutOff(t); startTime == 0 {
		return 0, 0, at
	}
	at = time.Now()
	t.journal.Started(pid, startTime, at)
	return pid, startTime, at
}

// takeFrozen finds out whether a container is frozen: a predecessor may have died between the deed and the note.
func (t *task) takeFrozen() {
	t.info.Frozen = t.cgroup.Frozen()
	if origin.Dumping(t.dir) { // criu goes on without the predecessor, and stands for what that had noted
		t.info.Frozen = t.info.Frozen || t.journal.Flag(journal.Frozen)
		t.standing.Lock()
		go func() {
			defer t.standing.Unlock()
			origin.AwaitDump(t.dir)
		}()
	}
	t.journal.SetFlag(journal.Frozen, t.info.Frozen)
}

// takeStdin continues to hold standard input, with f if somebody kept it.
func (t *task) takeStdin(f *os.File) (err error) {
	closed := t.journal.Flag(journal.StdinClosed) || !t.info.Stdio.OpenStdin || t.info.Terminal
	if closed {
		if f != nil {
			f.Close()
		}
		return nil
	}
	if f == nil {
		if f, err = pipe.Open(t.path("stdin"), os.O_WRONLY); err != nil {
			return nil // no reader is left
		}
	}
	t.stdin, err = pipe.Hold(f)
	return err
}

// sweep ends what a predecessor may have begun to start.
func (s *Supervisor) sweep(t *task) {
	if t.ref.Exec != "" {
		return
	}
	for _, step := range []func() error{t.cgroup.Kill, t.cgroup.Delete} {
		if err := step(); err != nil {
			s.log.Error("end a start that was cut off", "task", t.ref, "err", err)
		}
	}
}

// reaped takes the word of pierd for how its child ended.
func (s *Supervisor) reaped(e *shim.Exit) error {
	t, err := s.find(e.TaskRef)
	if err != nil {
		return err
	}
	if e.Pid != t.info.Pid {
		return errkind.New(errkind.Invalid, "task %s: its process is %d, not %d", name(e.TaskRef), t.info.Pid, e.Pid)
	}
	select {
	case t.reaped <- *e:
	default: // told before
	}
	return nil
}
