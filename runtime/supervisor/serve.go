package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/supervisor/internal/journal"
	"pier/runtime/supervisor/internal/wire"
)

// serve answers the requests of one connection, one after the other.
func (s *Supervisor) serve(c *net.UnixConn) {
	defer c.Close()
	if _, uid, _, err := fdsock.PeerCred(c); err != nil || uid != os.Getuid() {
		s.log.Warn("refuse a connection", "uid", uid, "err", err)
		return
	}
	conn := fdsock.NewConn(c)
	for {
		payload, files, err := conn.Receive(shim.MaxFrame)
		if err != nil {
			return // the peer went away, or does not speak our language
		}
		var r shim.Request
		again := false
		if err := json.Unmarshal(payload, &r); err != nil {
			err = wire.Send(conn, shim.Response{Error: wire.Error(errkind.New(errkind.Invalid, "request: %w", err))})
			again = err == nil
		} else {
			payload = nil // may be large, and a stream lasts long
			again = s.answer(conn, &r, files)
		}
		for _, f := range files {
			f.Close()
		}
		if !again {
			return
		}
	}
}

// answer handles one request; it owns neither connection nor files, and sets those entries of files to nil that it keeps.
// It reports whether the connection can take another request.
func (s *Supervisor) answer(conn *fdsock.Conn, r *shim.Request, files []*os.File) bool {
	switch {
	case r.Kind == shim.KindAttach && r.Attach != nil:
		s.attach(conn, r.Attach)
		return false
	case r.Kind == shim.KindWatch:
		s.watch(conn)
		return false
	case r.Kind == shim.KindUpgrade:
		return wire.Send(conn, shim.Response{Error: wire.Error(s.upgrade(conn))}) == nil // answered by the next program if it works
	case r.Kind == shim.KindStart && r.Start != nil:
		return s.started(conn, nil, func() (*task, error) {
			if err := wantFiles(files, r.Start.HasRootfs, r.Start.HasNetns, r.Start.Restore != nil, r.Start.HasDeposit); err != nil {
				return nil, errkind.New(errkind.Invalid, "start %s: %w", r.Start.ID, err)
			}
			t, err := s.start(context.Background(), r.Start, files)
			if err == nil && r.Start.HasRootfs {
				files[0] = nil // the task's
			}
			return t, err
		})
	case r.Kind == shim.KindExec && r.Exec != nil:
		var hello *shim.Hello
		if r.Exec.Joined != nil {
			hello = s.hello()
		}
		return s.started(conn, hello, func() (*task, error) {
			if err := wantFiles(files, r.Exec.Joined != nil, r.Exec.HasDeposit); err != nil {
				return nil, errkind.New(errkind.Invalid, "exec in %s: %w", r.Exec.ID, err)
			}
			if conn.HungUp() { // this process was stopped meanwhile, say, and the caller has given up
				return nil, errkind.New(errkind.Unavailable, "exec in %s: who asked for it has gone", r.Exec.ID)
			}
			return s.exec(context.Background(), r.Exec, files)
		})
	case r.Kind == shim.KindProbes && len(r.Probes) > 0:
		if n := len(r.Probes); n > shim.MaxProbes {
			return wire.Send(conn, shim.Response{Error: wire.Error(errkind.New(errkind.Invalid, "%d probes in a request are more than %d", n, shim.MaxProbes))}) == nil
		}
		defer s.tidy.probes()
		return s.probes.Run(conn, r.Probes)
	case r.Kind == shim.KindCustody && r.Custody != nil:
		return s.started(conn, nil, func() (*task, error) { return s.find(*r.Custody) })
	case r.Kind == shim.KindDump && r.Dump != nil:
		defer s.tidy.request()
		err := wantFiles(files, true)
		if err == nil {
			err = s.dump(context.Background(), r.Dump, files[0])
		}
		return wire.Send(conn, shim.Response{Error: wire.Error(err)}) == nil
	case r.Kind == shim.KindRecover:
		return wire.Send(conn, shim.Response{Error: wire.Error(s.recover(r.Recover, files))}) == nil
	case r.Kind == shim.KindAdopt && r.Adopt != nil:
		return wire.Send(conn, shim.Response{Error: wire.Error(s.adopt(r.Adopt, files))}) == nil
	}
	response, err := s.plain(r)
	response.Error = wire.Error(err)
	if err := wire.Send(conn, response); err != nil {
		return false
	}
	if r.Kind == shim.KindShutdown && response.Error == nil {
		s.stop()
		return false
	}
	return true
}

// wantFiles fails unless there are as many files as flags are set.
func wantFiles(files []*os.File, flags ...bool) error {
	want := 0
	for _, has := range flags {
		if has {
			want++
		}
	}
	if len(files) != want {
		return errkind.New(errkind.Invalid, "%d descriptors came with it, not %d", len(files), want)
	}
	return nil
}

// plain handles the requests that carry no descriptors.
func (s *Supervisor) plain(r *shim.Request) (response shim.Response, err error) {
	switch {
	case r.Kind == shim.KindHello:
		response.Hello = s.hello()
	case r.Kind == shim.KindSignal && r.Signal != nil:
		err = s.signal(r.Signal)
	case r.Kind == shim.KindResize && r.Resize != nil:
		err = s.resize(r.Resize)
	case r.Kind == shim.KindFreeze && r.Freeze != nil:
		err = s.freeze(r.Freeze)
	case r.Kind == shim.KindUpdate && r.Update != nil:
		err = s.update(r.Update)
	case r.Kind == shim.KindStdin && r.Stdin != nil:
		err = s.closeStdin(*r.Stdin)
	case r.Kind == shim.KindList:
		response.Tasks = s.list()
	case r.Kind == shim.KindReaped && r.Reaped != nil:
		err = s.reaped(r.Reaped)
	case r.Kind == shim.KindDelete && r.Delete != nil:
		defer s.tidy.request()
		err = s.delete(*r.Delete)
	case r.Kind == shim.KindShutdown:
		err = s.shutdown()
	default:
		err = errkind.New(errkind.Unsupported, "request %q: this supervisor does not know it, or its argument is missing", r.Kind)
	}
	return response, err
}

// started answers with the task that get returns, and with hello where that is not nil.
func (s *Supervisor) started(conn *fdsock.Conn, hello *shim.Hello, get func() (*task, error)) bool {
	defer s.tidy.request()
	t, err := get()
	if err != nil {
		return wire.Send(conn, shim.Response{Error: wire.Error(err)}) == nil
	}
	for again := true; ; again = false {
		which, files, done := t.files()
		err := wire.Send(conn, shim.Response{Started: &shim.Started{Task: t.view(), Files: which, Hello: hello}}, files...)
		done()
		if !again || !errors.Is(err, os.ErrClosed) { // else it has ended meanwhile, which the next look tells
			return err == nil
		}
	}
}

func (s *Supervisor) hello() *shim.Hello {
	return &shim.Hello{Pid: os.Getpid(), Generation: s.generation, Deposits: true, Checkpoints: true, Joins: true}
}

func (s *Supervisor) list() []shim.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]shim.Task, 0, len(s.tasks))
	for _, t := range s.tasks {
		all = append(all, t.info)
	}
	return all
}

const sigkill = 9

func (s *Supervisor) signal(r *shim.Signal) error {
	t, err := s.find(r.TaskRef)
	if err != nil {
		return err
	}
	s.mu.Lock()
	ended := t.info.Exit != nil
	if !ended && r.All && r.Signal == sigkill {
		t.journal.SetFlag(journal.Doomed, true) // should this one die over it, the next goes on
	}
	s.mu.Unlock()
	switch {
	case ended:
		return errkind.New(errkind.NotFound, "send signal %d to task %s: it has ended", r.Signal, name(t.ref))
	case r.All && r.Signal == sigkill:
		err = t.cgroup.Kill()
	case r.All:
		err = cgroup.Signal(t.cgroup, r.Signal)
	default:
		err = pidfd.Signal(t.pidfd, r.Signal)
	}
	if err == nil && r.Signal == sigkill && r.Exec == "" {
		err = s.letDie(t)
	}
	return err
}

// letDie thaws a container whose first process was killed: on cgroup v1 nothing frozen can die, and that process waits for
// all others. Who has frozen it, or a part of it, is all the same: pierd, a supervisor that died over it, or the container
// itself, where it has cgroups of its own.
func (s *Supervisor) letDie(t *task) error {
	if t.cgroup == nil {
		return nil
	}
	if t.view().Frozen {
		if err := s.freeze(&shim.Freeze{ID: t.ref.ID}); err != nil {
			return err
		}
	}
	return cgroup.Release(t.cgroup)
}

func (s *Supervisor) resize(r *shim.Resize) error {
	t, err := s.find(r.TaskRef)
	if err != nil {
		return err
	}
	if t.master == nil || t.view().Exit != nil {
		return errkind.New(errkind.Conflict, "resize task %s: it has no terminal", name(t.ref))
	}
	return tty.SetSize(t.master, r.Width, r.Height)
}

// running returns the living container with its cgroup.
func (s *Supervisor) running(id string) (*task, error) {
	t, err := s.find(shim.TaskRef{ID: id})
	if err != nil {
		return nil, err
	}
	if t.view().Exit != nil || t.cgroup == nil {
		return nil, errkind.New(errkind.Conflict, "container %s is not running", id)
	}
	return t, nil
}

func (s *Supervisor) freeze(r *shim.Freeze) error {
	t, err := s.running(r.ID)
	if err != nil {
		return err
	}
	t.standing.Lock()
	defer t.standing.Unlock()
	if r.On {
		err = t.cgroup.Freeze()
	} else {
		err = t.cgroup.Thaw()
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.info.Exit == nil {
		t.journal.SetFlag(journal.Frozen, r.On)
		t.info.Frozen = r.On
	}
	return nil
}

func (s *Supervisor) update(r *shim.Update) error {
	t, err := s.running(r.ID)
	if err != nil {
		return err
	}
	resources := &specs.LinuxResources{}
	if err := json.Unmarshal(r.Resources, resources); err != nil {
		return errkind.New(errkind.Invalid, "update %s: the resources: %w", r.ID, err)
	}
	return t.cgroup.Set(resources)
}

func (s *Supervisor) shutdown() error {
	release, err := s.still("end the supervisor")
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.info.Exit == nil {
			return errkind.New(errkind.Conflict, "end the supervisor: task %s is running", name(t.ref))
		}
	}
	s.stopping = true
	return nil
}
