package engine

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/custody"
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
	x, err := e.execs.Get(exit.Exec)
	if err != nil {
		return
	}
	e.execEnded(x, exit.Code)
	e.bg.Go(func() {
		_ = e.o.Custody.Delete(context.WithoutCancel(e.ctx), exit.TaskRef)
	})
}

// execEnded records how an exec ended, at the end of its stream or when it is announced, and has it forgotten later.
func (e *Engine) execEnded(x *execution, code int) {
	if !x.Finish(code) {
		return
	}
	e.say(x.In, "exec_die", map[string]string{"execID": x.ID, "exitCode": itoa(code)})
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
	if len(r.Cmd) == 0 {
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
	live, err := e.execute(context.WithoutCancel(ctx), x, o)
	switch {
	case o.Detach:
		return nil, err
	case err != nil:
		return failedStream(x.Want.Tty, err), nil
	}
	s := streams.Live(live, x.Want.Tty, x.Want.AttachStdin, x.Keys, func() {
		e.say(x.In, "exec_detach", map[string]string{"execID": x.ID})
	})
	x.In.streams.Add(s, func() bool { return x.In.row().Life.State.Alive() })
	// Clients ask for the exit code right after the end of output.
	s.BeforeEnd(func() {
		if code, known := live.ExitCode(); known {
			e.execEnded(x, code)
			return
		}
		select {
		case <-x.Ended():
		case <-e.ctx.Done():
		case <-time.After(killPatience):
		}
	})
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

func (e *Engine) execInput(r *row, want container.ExecCreateRequest) process.ExecInput {
	return process.ExecInput{Pid: r.Pid, StartTime: r.StartTime, Config: r.Config, Host: r.Host, Want: want, Sized: e.mounts.Sized(r.Mounts)}
}

// execute starts the process, joined unless it is detached. Whatever the result, the exec knows it.
func (e *Engine) execute(ctx context.Context, x *execution, o ExecStartOptions) (custody.Stream, error) {
	r := x.In.row()
	p, err := process.Prepare(&e.filters, e.execInput(r, x.Want))
	fail := func(err error) (custody.Stream, error) {
		code, err := process.ExecError(r.Pid, x.Want.Cmd[0], p.Process, err)
		if code == process.ExitUnstarted {
			code = ExitNotExecutable
		}
		if x.Finish(code) {
			e.o.Clock.AfterFunc(execMemory, func() { e.execs.Forget(x) })
		}
		return nil, err
	}
	if err != nil {
		return fail(err)
	}
	width, height := o.Width, o.Height
	if size := x.Want.ConsoleSize; size != nil && width == 0 && height == 0 {
		height, width = uint16(min(size[0], 1<<16-1)), uint16(min(size[1], 1<<16-1))
	}
	x.Begin()
	ref := shim.TaskRef{ID: r.ID, Exec: x.ID}
	var join *shim.Attach
	if !o.Detach {
		join = &shim.Attach{TaskRef: ref, Stdin: x.Want.AttachStdin, Stdout: x.Want.AttachStdout, Stderr: x.Want.AttachStderr}
	}
	task, live, err := e.o.Custody.Exec(ctx, &shim.Exec{
		TaskRef: ref, Process: p.Process,
		Launch: shim.Launch{
			Seccomp: p.Filter.Program, SeccompFlags: p.Filter.Flags, Width: width, Height: height,
			Stdio: shim.Stdio{Terminal: x.Want.Tty, OpenStdin: x.Want.AttachStdin, StdinOnce: true},
		},
	}, join)
	if err != nil {
		return fail(err)
	}
	x.Began(task.Pid)
	return live, nil
}

// Resize sets the size of an exec's terminal in cells, if it has one. Conflict where it does not run.
func (xs *Execs) Resize(ctx context.Context, id string, width, height uint16) error {
	x, err := xs.e.execs.Get(id)
	if err != nil {
		return err
	}
	if !x.Running() {
		return errkind.New(errkind.Conflict, "exec command %s is not running", id)
	}
	if !x.Want.Tty {
		return nil
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
