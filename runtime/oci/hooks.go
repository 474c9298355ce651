package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
)

// hooks adds the meeting at which prestart, createRuntime and createContainer hooks run: everything is mounted, the root
// not yet changed.
func (s *start) hooks() error {
	h := s.spec.Hooks
	if h == nil || len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) == 0 {
		return nil
	}
	return s.meet("hooks", func(pid int) error {
		ctx := context.Background()
		state := &specs.State{Version: specs.Version, ID: s.c.ID, Status: specs.StateCreating, Pid: pid, Bundle: s.c.Bundle, Annotations: s.spec.Annotations}
		if err := RunHooks(ctx, "prestart", h.Prestart, state); err != nil {
			return err
		}
		if err := RunHooks(ctx, "createRuntime", h.CreateRuntime, state); err != nil {
			return err
		}
		if len(h.CreateContainer) == 0 {
			return nil
		}
		child, err := pidfd.Open(pid, 0)
		if err != nil {
			return err
		}
		defer child.Close()
		return RunHooksIn(ctx, "createContainer", h.CreateContainer, state, child)
	})
}

// RunHooks runs hooks one after the other in our own namespaces, with state on their standard input (runtime-spec
// config.md "POSIX-platform Hooks"). The first that fails, or outlives its time, ends it with an error that has the
// end of its output.
func RunHooks(ctx context.Context, kind string, hooks []specs.Hook, state *specs.State) error {
	for i := range hooks {
		h := &hooks[i]
		ctx, cancel := hookTime(ctx, h)
		input, err := json.Marshal(state)
		if err != nil {
			cancel()
			return err
		}
		cmd := exec.CommandContext(ctx, h.Path)
		if len(h.Args) > 0 {
			cmd.Args = h.Args
		}
		cmd.Env = append([]string{}, h.Env...) // the hook's own, never ours
		cmd.Dir = state.Bundle
		cmd.Stdin = bytes.NewReader(input)
		var out tail
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.WaitDelay = time.Second // for a grandchild that keeps the output open
		err = overdue(ctx, h, cmd.Run())
		cancel()
		if err != nil {
			return errkind.New(errkind.Internal, "%s hook %s: %w: %s", kind, h.Path, err, out.b)
		}
	}
	return nil
}

func hookTime(ctx context.Context, h *specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
}

// overdue returns err, of a hook whose time is that of ctx, as what it is where that time was over.
func overdue(ctx context.Context, h *specs.Hook, err error) error {
	if err == nil || h.Timeout == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return errkind.New(errkind.Timeout, "ran past its timeout of %d s", *h.Timeout)
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4096
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

// RunHooksIn is RunHooks in the namespaces of the container of target: with what is its root there, and with the process's
// number there in the state (runtime.md "State").
func RunHooksIn(ctx context.Context, kind string, hooks []specs.Hook, state *specs.State, target *os.File) error {
	for i := range hooks {
		ctx, cancel := hookTime(ctx, &hooks[i])
		err := overdue(ctx, &hooks[i], runHookIn(ctx, &hooks[i], state, target))
		cancel()
		if err != nil {
			return errkind.New(errkind.Internal, "%s hook %s: %w", kind, hooks[i].Path, err)
		}
	}
	return nil
}

func runHookIn(ctx context.Context, h *specs.Hook, state *specs.State, target *os.File) error {
	told := *state
	var err error
	if told.Pid, err = pidfd.Inside(state.Pid); err != nil {
		return err
	}
	input, err := json.Marshal(told)
	if err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	// os.Pipe's ends do not wait: a hook that reads before we have written would find nothing.
	if err := unix.SetNonblock(calls.FD(in), false); err != nil {
		out.Close()
		return err
	}
	go func() { // a hook need not read its input
		defer out.Close()
		_, _ = io.Copy(out, bytes.NewReader(input))
	}()
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	process := &specs.Process{Args: args, Env: h.Env, Cwd: "/"}
	t := &task{Builder: calls.New(calls.ToEnter), id: state.ID, process: process, file: h.Path, stdio: Stdio{Stdin: in}}
	defer t.close()
	kinds, err := foreignNamespaces(&ExecConfig{ID: state.ID, Target: target, TargetPid: state.Pid})
	if err != nil {
		return err
	}
	split := mustSplit(kinds) // for no other reason: what the container runs so far is ours
	t.enterAll(target, kinds, split)
	t.Add("chdir", "/", unix.SYS_CHDIR, t.String("/"))
	if err := t.streams(); err != nil {
		return err
	}
	t.closeDescriptors(nil)
	if split {
		t.Split()
	}
	t.session()
	t.program(nil)
	p, err := t.run(ctx)
	if err != nil {
		return err
	}
	defer p.Pidfd.Close()
	status, err := finish(ctx, p)
	if err == nil && status.Code != 0 {
		err = errkind.New(errkind.Internal, "exit status %d", status.Code)
	}
	return err
}
