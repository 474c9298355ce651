package supervisor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/logging"
	"pier/runtime/supervisor/internal/journal"
	"pier/runtime/supervisor/internal/origin"
	"pier/runtime/supervisor/internal/probes"
)

// task is one process and what belongs to it. Its fields do not change after start, but for those that Supervisor.mu
// guards.
type task struct {
	sup     *Supervisor
	ref     shim.TaskRef
	dir     string
	record  record
	journal *journal.Journal
	log     *logging.File // nil: output is not kept
	cgroup  *cgroup.Cgroup
	hub     hub
	streams []*stream
	made    bool // the folder is this task's
	// repair, if not nil, is closed when what a predecessor was appending to the log as it died is whole. Until then the
	// end of the file belongs to the stream whose output that is. It is set before the streams run.
	repair chan struct{}

	probed probes.Memory // of what was run in the container
	pidfd  *os.File
	master *os.File       // nil without a terminal
	rootfs *os.File       // held so that the exit does not wait for the unmount; nil for an exec
	reaped chan shim.Exit // pierd tells how its child ended; buffered
	over   chan struct{}  // closed when nothing more is done with what is on disk

	// standing is held while somebody freezes the container, thaws it, or makes a checkpoint, for which it must stand still.
	standing sync.Mutex

	// guarded by Supervisor.mu
	info    shim.Task
	stdin   *pipe.Held // the write end, nil once closed
	child   bool       // of pierd
	trouble string     // why output is not logged, "" where it is
	// hurrying counts the execs in this container that are made on the faster way, see hurry.
	hurrying int
}

// record is what was started. It is in the journal, or in task.json where it is too long for that.
type record struct {
	Boot string    `json:"boot"`
	Task shim.Task `json:"task"` // without what the journal and exit.json hold
	// SharedPids is set where the container has no pid namespace of its own: its processes do not end with the first.
	SharedPids bool `json:"sharedPids,omitempty"`
	// Runtime is the other runtime that started it, nil for ours.
	Runtime *shim.Runtime `json:"runtime,omitempty"`
	// Uid and Gid own the FIFOs.
	Uid int `json:"uid,omitempty"`
	Gid int `json:"gid,omitempty"`
}

func (t *task) path(name string) string { return filepath.Join(t.dir, name) }

func (s *Supervisor) newTask(r record) *task {
	t := &task{sup: s, ref: r.Task.TaskRef, dir: s.dir(r.Task.TaskRef), record: r, info: r.Task, reaped: make(chan shim.Exit, 1), over: make(chan struct{})}
	t.hub.exec, t.hub.loose = t.ref.Exec != "", r.Task.Log.Buffer > 0
	return t
}

// prepare makes the folder, record, journal and log of a new task. discard undoes it.
func (t *task) prepare() (err error) {
	if t.ref.Exec != "" {
		if err := os.Mkdir(filepath.Dir(t.dir), 0o700); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return err
	}
	t.made = true
	t.record.Boot = t.sup.boot
	text, err := json.Marshal(t.record)
	if err != nil {
		return err
	}
	if t.journal, err = journal.Open(t.path("journal")); err != nil {
		return err
	}
	if !t.journal.SetRecord(text) {
		// Need not be whole after a crash: there is no process before it is.
		if err := os.WriteFile(t.path("task.json"), text, 0o600); err != nil {
			return err
		}
	}
	t.log, err = logging.Open(t.record.Task.Log, t.sup.packer)
	return err
}

// reopen opens what a predecessor left in the folder, but for the FIFOs.
func (t *task) reopen() (err error) {
	if _, err := os.Stat(t.path("journal")); err != nil {
		return err
	}
	if t.journal, err = journal.Open(t.path("journal")); err != nil {
		return err
	}
	text := t.journal.Record()
	if len(text) == 0 {
		if text, err = os.ReadFile(t.path("task.json")); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(text, &t.record); err != nil {
		if pid, _, _ := t.journal.Process(); pid == 0 { // cut off while it was written
			return os.ErrNotExist
		}
		return err
	}
	t.info = t.record.Task
	return nil
}

// openOutput opens the FIFOs and makes the streams, which do not run yet. It is for new and for adopted tasks.
func (t *task) openOutput() error {
	names, uid, gid := []string{"stdout", "stderr"}, t.record.Uid, t.record.Gid
	if t.record.Task.Terminal {
		names, uid, gid = names[:1], 0, 0
	}
	for i, n := range names {
		f, err := pipe.Create(t.path(n), uid, gid)
		if err != nil {
			return err
		}
		if t.record.Task.Terminal {
			pipe.Widen(f)
		}
		t.streams = append(t.streams, newStream(t, byte(shim.FrameStdout+i), f, t.master))
	}
	return nil
}

// openStdin makes the FIFO of standard input; the supervisor only keeps its write end. It returns the end for the child.
func (t *task) openStdin() (child *os.File, err error) {
	both, err := pipe.Create(t.path("stdin"), t.record.Uid, t.record.Gid)
	if err != nil {
		return nil, err
	}
	defer both.Close()
	w, err := pipe.Open(t.path("stdin"), os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	if t.stdin, err = pipe.Hold(w); err != nil {
		return nil, err
	}
	return pipe.OpenChild(t.path("stdin"), os.O_RDONLY)
}

// view is the task as the wire shows it.
func (t *task) view() shim.Task {
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	return t.info
}

// files returns the descriptors that pierd keeps, and which they are. The caller closes the stdin among them, which is
// a copy, by calling done.
func (t *task) files() (which shim.Files, files []*os.File, done func()) {
	t.sup.mu.Lock()
	held, ended := t.stdin, t.info.Exit != nil
	t.sup.mu.Unlock()
	done = func() {}
	if t.pidfd != nil {
		files, which.Pidfd = append(files, t.pidfd), true
	}
	if t.master != nil && !ended {
		files, which.Master = append(files, t.master), true
	}
	if f, err := held.File(); err == nil {
		files, which.Stdin = append(files, f), true
		done = func() { f.Close() }
	}
	for _, s := range t.streams { // of a task that has ended: closed, and of no use
		if ended {
			break
		}
		files = append(files, s.fifo)
		which.Stdout = true
		which.Stderr = which.Stderr || s.kind == shim.FrameStderr
	}
	return which, files, done
}

// closeStdin closes the write end of standard input, here and, through the watchers, in pierd.
func (s *Supervisor) closeStdin(ref shim.TaskRef) error {
	t, err := s.find(ref)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.info.Exit != nil {
		return nil
	}
	t.journal.SetFlag(journal.StdinClosed, true)
	t.stdin.Close()
	t.stdin = nil
	s.tell(shim.Response{StdinClosed: &ref})
	return nil
}

// release closes what a task holds once it has ended. The streams have ended.
func (t *task) release() {
	for _, s := range t.streams {
		if t.ref.Exec != "" && s.master == nil {
			go linger(s.fifo)
		} else {
			s.fifo.Close()
		}
	}
	t.settled(t.closeLog)
	t.sup.mu.Lock()
	t.stdin.Close()
	t.stdin = nil
	t.sup.mu.Unlock()
	t.probed.Close()
	if t.master != nil {
		t.master.Close()
	}
	t.detachForeign()
	if t.rootfs != nil {
		t.rootfs.Close() // unmounts, and so syncs a whole file system
	}
}

// tellTrouble tells all watchers why output is not logged, "" for that it is again.
func (t *task) tellTrouble(reason string) {
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	if t.info.Exit != nil { // an outlet may outlive its task; nobody asks any more
		return
	}
	t.trouble = reason
	t.sup.tell(shim.Response{LogTrouble: &shim.LogTrouble{ID: t.ref.ID, Reason: reason}})
}

func (t *task) closeLog() {
	t.log.Close()
	for _, s := range t.streams {
		s.ring.Close()
	}
}

// discard removes a task that never began.
func (t *task) discard() {
	for _, s := range t.streams {
		s.fifo.Close()
	}
	t.closeLog()
	t.stdin.Close()
	if t.journal != nil {
		_ = t.journal.Close()
	}
	for _, f := range []*os.File{t.pidfd, t.master, t.rootfs} {
		if f != nil {
			f.Close()
		}
	}
	if t.made {
		_ = t.removeDir()
	}
}

// delete forgets a task that has exited, and with a container its execs.
func (s *Supervisor) delete(ref shim.TaskRef) error {
	t, err := s.find(ref)
	if err != nil {
		return err
	}
	s.mu.Lock()
	gone := []*task{t}
	for _, other := range s.tasks {
		if ref.Exec == "" && other.ref.ID == ref.ID && other != t {
			gone = append(gone, other)
		}
	}
	for _, g := range gone {
		if g.info.Exit == nil {
			s.mu.Unlock()
			return errkind.New(errkind.Conflict, "delete task %s: it is still running; end it first", name(g.ref))
		}
	}
	for _, g := range gone {
		delete(s.tasks, g.ref)
	}
	s.mu.Unlock()
	for _, g := range gone {
		<-g.over
		g.settled(func() { _ = g.journal.Close() })
		g.pidfd.Close()
	}
	s.starting.RLock() // or the end of the other runtime's command could be taken for an orphan's
	t.forgetForeign()
	s.starting.RUnlock()
	if ref.Exec == "" && t.cgroup != nil {
		if err := t.cgroup.Delete(); err != nil {
			s.log.Error("remove cgroup of task", "task", ref, "err", err)
		}
	}
	return t.removeDir()
}

// foreignLimit bounds what another runtime may take to forget a container.
const foreignLimit = 10 * time.Second

// removeDir removes the task's folder; never while the container's root is shown in it to another runtime, or to criu.
func (t *task) removeDir() error {
	if err := origin.Detach(t.dir); err != nil {
		return err
	}
	return os.RemoveAll(t.dir)
}

// forgetForeign lets the runtime that started the container, where it was not ours, forget it.
func (t *task) forgetForeign() {
	if t.record.Runtime == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), foreignLimit)
	defer cancel()
	if err := origin.Forget(ctx, t.ref.ID, *t.record.Runtime, t.dir); err != nil {
		t.sup.log.Error("the container's runtime does not forget it", "task", t.ref, "err", err)
	}
}

// detachForeign takes away the root's place on the host once the container has ended.
func (t *task) detachForeign() {
	if t.record.Runtime == nil {
		return
	}
	if err := origin.Detach(t.dir); err != nil {
		t.sup.log.Error("detach the root of a container", "task", t.ref, "err", err)
	}
}
