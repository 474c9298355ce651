package engine

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/describe"
	"pier/daemon/engine/internal/execs"
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

// execution is one exec.
type execution = execs.Exec[*ctr]

// ExitUnknown is the exit code of a process whose end nobody could learn.
const ExitUnknown = lifecycle.UnknownExit

func (e *Engine) execExited(exit shim.Exit) {
	if x, err := e.execs.Get(exit.Exec); err == nil {
		e.execEnded(x, exit.Code)
	}
}

// execEnded records how an exec ended and has it forgotten later, here and in the supervisor.
func (e *Engine) execEnded(x *execution, code int) {
	if !x.Finish(code) {
		return
	}
	e.say(x.In, "exec_die", map[string]string{"execID": x.ID, "exitCode": itoa(code)})
	e.bg.Go(func() {
		_ = e.o.Custody.Delete(context.WithoutCancel(e.ctx), shim.TaskRef{ID: x.Container, Exec: x.ID})
	})
	e.o.Clock.AfterFunc(execMemory, func() { e.execs.Forget(x) })
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
	return container.ExecCreateResponse{ID: x.ID}, nil
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
	x := execs.New(id.New(), c.id, c, r, keys)
	e.execs.Add(x)
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
	e.say(x.In, describe.ExecAction(action, x.Want.Cmd), map[string]string{"execID": x.ID})
}

// Start runs a prepared exec, once. With Detach the stream is nil and a failing start is the error; otherwise the stream
// carries the failure's text, as Docker has it, and Inspect the exit code 126 or 127.
func (xs *Execs) Start(ctx context.Context, id string, o ExecStartOptions) (*Stream, error) {
	e := xs.e
	x, err := e.execs.Get(id)
	if err != nil {
		return nil, err
	}
	if err := runs(x.In, x.In.id); err != nil {
		return nil, err
	}
	if err := x.Ask(); err != nil {
		return nil, err
	}
	e.sayExec(x, "exec_start")
	var s *Stream
	prepared := e.preparing(x)
	if !o.Detach {
		s, err = e.attach(x.In, shim.TaskRef{ID: x.In.id, Exec: x.ID}, x.Want.Tty, AttachOptions{
			Stream: true, Stdin: x.Want.AttachStdin, Stdout: x.Want.AttachStdout, Stderr: x.Want.AttachStderr}, x.Keys, func() { _, _ = prepared() })
		if err != nil {
			x.Finish(ExitNotExecutable)
			return nil, err
		}
	}
	if err := e.execute(context.WithoutCancel(ctx), x, o, prepared); err != nil {
		if s == nil {
			return nil, err
		}
		_ = s.Close()
		return failedStream(x.Want.Tty, err), nil
	}
	if s != nil {
		// Clients ask for the exit code right after the end of output.
		s.BeforeEnd(func() {
			select {
			case <-x.Ended():
			case <-e.ctx.Done():
			case <-time.After(killPatience):
			}
		})
	}
	return s, nil
}

// failedStream says why an exec did not start, where its output would have been.
func failedStream(tty bool, err error) *Stream {
	text := []byte(err.Error() + "\r\n")
	if !tty {
		text = streams.AppendFrame(nil, streams.Stdout, text)
	}
	return streams.Said(tty, text)
}

// preparing returns what makes the request for the process, the first time that it is called.
func (e *Engine) preparing(x *execution) func() (process.Prepared, error) {
	return sync.OnceValues(func() (process.Prepared, error) {
		r := x.In.row()
		return process.Prepare(&e.filters, e.execInput(r, x.Want))
	})
}

func (e *Engine) execInput(r *row, want container.ExecCreateRequest) process.ExecInput {
	return process.ExecInput{Pid: r.Pid, StartTime: r.StartTime, Config: r.Config, Host: r.Host, Want: want, Sized: e.mounts.Sized(r.Mounts)}
}

// execute starts the process. Whatever the result, the exec knows it.
func (e *Engine) execute(ctx context.Context, x *execution, o ExecStartOptions, prepared func() (process.Prepared, error)) error {
	r := x.In.row()
	p, err := prepared()
	fail := func(err error) error {
		code, err := process.ExecError(r.Pid, x.Want.Cmd[0], p.Process, err)
		if code == process.ExitUnstarted {
			code = ExitNotExecutable
		}
		if x.Finish(code) {
			e.o.Clock.AfterFunc(execMemory, func() { e.execs.Forget(x) })
		}
		return err
	}
	if err != nil {
		return fail(err)
	}
	width, height := o.Width, o.Height
	if size := x.Want.ConsoleSize; size != nil && width == 0 && height == 0 {
		height, width = uint16(min(size[0], 1<<16-1)), uint16(min(size[1], 1<<16-1))
	}
	x.Begin()
	task, err := e.o.Custody.Exec(ctx, &shim.Exec{
		TaskRef: shim.TaskRef{ID: r.ID, Exec: x.ID}, Process: p.JSON,
		Launch: shim.Launch{
			Seccomp: p.Filter.Program, SeccompFlags: p.Filter.Flags, Width: width, Height: height,
			Stdio: shim.Stdio{Terminal: x.Want.Tty, OpenStdin: x.Want.AttachStdin, StdinOnce: true},
		},
	})
	if err != nil {
		return fail(err)
	}
	x.Began(task.Pid)
	return nil
}

// Resize sets the size of an exec's terminal in cells.
func (xs *Execs) Resize(ctx context.Context, id string, width, height uint16) error {
	x, err := xs.e.execs.Get(id)
	if err != nil {
		return err
	}
	if !x.Running() {
		return errkind.New(errkind.Conflict, "exec command %s is not running", id)
	}
	return xs.e.o.Custody.Resize(ctx, shim.Resize{TaskRef: shim.TaskRef{ID: x.In.id, Exec: x.ID}, Width: width, Height: height})
}

// Inspect describes one exec. Execs are remembered until five minutes after their end, or their container's removal.
func (xs *Execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	x, err := xs.e.execs.Get(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	return x.Inspect(), nil
}
