package engine

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/describe"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/streams"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Execs are the further processes in running containers.
type Execs struct{ e *Engine }

// execMemory is how long an exec can be inspected after its end.
const execMemory = 5 * time.Minute

// execution is one exec, from its creation to five minutes after its end.
type execution struct {
	id   string
	c    *ctr
	want container.ExecCreateRequest
	keys []byte

	mu      sync.Mutex // guards what follows
	started bool
	running bool
	pid     int
	code    *int
	ended   chan struct{} // closed with the end, or when it could not start
}

func (x *execution) finish(code int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.code != nil {
		return false
	}
	x.running, x.code = false, &code
	close(x.ended)
	return true
}

// exitCode is valid once ended is closed.
func (x *execution) exitCode() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *x.code
}

// execTable finds execs by identifier.
type execTable struct {
	mu   sync.Mutex // guards byID
	byID map[string]*execution
}

func newExecTable() *execTable { return &execTable{byID: map[string]*execution{}} }

func (t *execTable) add(x *execution) {
	t.mu.Lock()
	t.byID[x.id] = x
	t.mu.Unlock()
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if x.c.execs == nil {
		x.c.execs = map[string]*execution{}
	}
	x.c.execs[x.id] = x
}

func (t *execTable) get(id string) (*execution, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.byID[id]; x != nil {
		return x, nil
	}
	return nil, errkind.New(errkind.NotFound, "No such exec instance: %s", id)
}

func (t *execTable) forget(x *execution) {
	t.mu.Lock()
	delete(t.byID, x.id)
	t.mu.Unlock()
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	delete(x.c.execs, x.id)
}

func (t *execTable) forgetAll(c *ctr) {
	c.mu.Lock()
	all := c.execs
	c.execs = nil
	c.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, x := range all {
		delete(t.byID, id)
		x.finish(ExitUnknown)
	}
}

// ExitUnknown is the exit code of a process whose end nobody could learn.
const ExitUnknown = lifecycle.UnknownExit

func (t *execTable) exited(e *Engine, exit shim.Exit) {
	if x, err := t.get(exit.Exec); err == nil {
		t.end(e, x, exit.Code)
	}
}

// end records how an exec ended and has it forgotten later, here and in the supervisor.
func (t *execTable) end(e *Engine, x *execution, code int) {
	if !x.finish(code) {
		return
	}
	e.say(x.c, "exec_die", map[string]string{"execID": x.id, "exitCode": itoa(code)})
	e.bg.Go(func() {
		_ = e.o.Custody.Delete(context.WithoutCancel(e.ctx), shim.TaskRef{ID: x.c.id, Exec: x.id})
	})
	e.o.Clock.AfterFunc(execMemory, func() { t.forget(x) })
}

// Create prepares an exec in a running container. Conflict where it does not run or is paused; Invalid for a user that
// the container does not have.
func (xs *Execs) Create(ctx context.Context, ref string, r container.ExecCreateRequest) (container.ExecCreateResponse, error) {
	none := container.ExecCreateResponse{}
	c, err := xs.e.index.Find(ref)
	if err != nil {
		return none, err
	}
	if len(r.Cmd) == 0 || r.Cmd[0] == "" {
		return none, errkind.New(errkind.Invalid, "No exec command specified")
	}
	if err := runs(c, ref); err != nil {
		return none, err
	}
	keys, err := streams.ParseKeys(r.DetachKeys)
	if err != nil {
		return none, err
	}
	x, err := xs.e.newExec(c, r, keys)
	if err != nil {
		return none, err
	}
	return container.ExecCreateResponse{ID: x.id}, nil
}

func (e *Engine) newExec(c *ctr, r container.ExecCreateRequest, keys []byte) (*execution, error) {
	if err := settings.CheckExec(&r); err != nil {
		return nil, err
	}
	if r.User != "" {
		if err := process.CheckUser(c.row().Pid, r.User); err != nil {
			return nil, err
		}
	}
	x := &execution{id: id.New(), c: c, want: r, keys: keys, ended: make(chan struct{})}
	e.execs.add(x)
	e.sayExec(x, "exec_create")
	return x, nil
}

// runs refuses, in Docker's words, a container that no process can be started in now.
func runs(c *ctr, ref string) error {
	switch c.row().Life.State {
	case lifecycle.Running:
		return nil
	case lifecycle.Paused:
		return errkind.New(errkind.Conflict, "Container %s is paused, unpause the container before exec", ref)
	case lifecycle.Restarting:
		return errkind.New(errkind.Conflict, "Container %s is restarting, wait until the container is running", ref)
	}
	return errkind.New(errkind.Conflict, "container %s is not running", c.id)
}

func (e *Engine) sayExec(x *execution, action string) {
	e.say(x.c, describe.ExecAction(action, x.want.Cmd), map[string]string{"execID": x.id})
}

// Start runs a prepared exec, once. With Detach the stream is nil and a failing start is the error; otherwise the stream
// carries the failure's text, as Docker has it, and Inspect the exit code 126 or 127.
func (xs *Execs) Start(ctx context.Context, id string, o ExecStartOptions) (*Stream, error) {
	e := xs.e
	x, err := e.execs.get(id)
	if err != nil {
		return nil, err
	}
	if err := runs(x.c, x.c.id); err != nil {
		return nil, err
	}
	x.mu.Lock()
	again, running := x.started, x.running
	x.started = true
	x.mu.Unlock()
	if again && running {
		return nil, errkind.New(errkind.Conflict, "exec command %s is already running", id)
	}
	if again {
		return nil, errkind.New(errkind.Conflict, "exec command %s has already run", id)
	}
	e.sayExec(x, "exec_start")
	var s *Stream
	prepared := e.preparing(x)
	if !o.Detach {
		s, err = e.attach(x.c, shim.TaskRef{ID: x.c.id, Exec: x.id}, x.want.Tty, AttachOptions{
			Stream: true, Stdin: x.want.AttachStdin, Stdout: x.want.AttachStdout, Stderr: x.want.AttachStderr}, x.keys, func() { _, _ = prepared() })
		if err != nil {
			x.finish(ExitNotExecutable)
			return nil, err
		}
	}
	if err := e.execute(context.WithoutCancel(ctx), x, o, prepared); err != nil {
		if s == nil {
			return nil, err
		}
		_ = s.Close()
		return failedStream(x.want.Tty, err), nil
	}
	if s != nil {
		// Clients ask for the exit code right after the end of output.
		s.ended = func() {
			select {
			case <-x.ended:
			case <-e.ctx.Done():
			case <-time.After(killPatience):
			}
		}
	}
	return s, nil
}

// failedStream says why an exec did not start, where its output would have been.
func failedStream(tty bool, err error) *Stream {
	text := []byte(err.Error() + "\r\n")
	if !tty {
		text = streams.AppendFrame(nil, streams.Stdout, text)
	}
	return &Stream{Terminal: tty, out: bytes.NewReader(text)}
}

// preparing returns what makes the request for the process, the first time that it is called.
func (e *Engine) preparing(x *execution) func() (process.Prepared, error) {
	return sync.OnceValues(func() (process.Prepared, error) {
		r := x.c.row()
		return process.Prepare(&e.filters, e.execInput(r, x.want))
	})
}

func (e *Engine) execInput(r *row, want container.ExecCreateRequest) process.ExecInput {
	return process.ExecInput{Pid: r.Pid, Config: r.Config, Host: r.Host, Want: want, Sized: e.mounts.Sized(r.Mounts)}
}

// execute starts the process. Whatever the result, the exec knows it.
func (e *Engine) execute(ctx context.Context, x *execution, o ExecStartOptions, prepared func() (process.Prepared, error)) error {
	r := x.c.row()
	p, err := prepared()
	fail := func(err error) error {
		code, err := process.ExecError(r.Pid, x.want.Cmd[0], p.Process, err)
		if code == process.ExitUnstarted {
			code = ExitNotExecutable
		}
		if x.finish(code) {
			e.o.Clock.AfterFunc(execMemory, func() { e.execs.forget(x) })
		}
		return err
	}
	if err != nil {
		return fail(err)
	}
	width, height := o.Width, o.Height
	if size := x.want.ConsoleSize; size != nil && width == 0 && height == 0 {
		height, width = uint16(min(size[0], 1<<16-1)), uint16(min(size[1], 1<<16-1))
	}
	x.mu.Lock()
	x.running = true
	x.mu.Unlock()
	task, err := e.o.Custody.Exec(ctx, &shim.Exec{
		TaskRef: shim.TaskRef{ID: r.ID, Exec: x.id}, Process: p.JSON,
		Launch: shim.Launch{
			Seccomp: p.Filter.Program, SeccompFlags: p.Filter.Flags, Width: width, Height: height,
			Stdio: shim.Stdio{Terminal: x.want.Tty, OpenStdin: x.want.AttachStdin, StdinOnce: true},
		},
	})
	if err != nil {
		return fail(err)
	}
	x.mu.Lock()
	x.pid = task.Pid
	x.mu.Unlock()
	return nil
}

// Resize sets the size of an exec's terminal in cells.
func (xs *Execs) Resize(ctx context.Context, id string, width, height uint16) error {
	x, err := xs.e.execs.get(id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	running := x.running
	x.mu.Unlock()
	if !running {
		return errkind.New(errkind.Conflict, "exec command %s is not running", id)
	}
	return xs.e.o.Custody.Resize(ctx, shim.Resize{TaskRef: shim.TaskRef{ID: x.c.id, Exec: x.id}, Width: width, Height: height})
}

// Inspect describes one exec. Execs are remembered until five minutes after their end, or their container's removal.
func (xs *Execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	x, err := xs.e.execs.get(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	privileged, keys := x.want.Privileged, []byte{}
	if x.want.DetachKeys != "" { // the usual ones are not told
		keys = x.keys
	}
	return container.ExecInspectResponse{
		ID: x.id, Running: x.running, ExitCode: x.code, ContainerID: x.c.id, Pid: x.pid, DetachKeys: keys,
		OpenStdin: x.want.AttachStdin, OpenStdout: x.want.AttachStdout, OpenStderr: x.want.AttachStderr, CanRemove: x.code != nil,
		ProcessConfig: &container.ExecProcessConfig{Tty: x.want.Tty, Entrypoint: x.want.Cmd[0], Arguments: x.want.Cmd[1:],
			Privileged: &privileged, User: x.want.User},
	}, nil
}
