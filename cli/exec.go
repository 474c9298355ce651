package cli

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
)

func newExec(a *app) *cobra.Command {
	var r container.ExecCreateRequest
	var interactive, detach bool
	var env, envFiles []string
	cmd := &cobra.Command{
		Use: "exec [OPTIONS] CONTAINER COMMAND [ARG...]", Short: "Execute a command in a running container", Args: minArgs(2),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			var err error
			if r.Env, err = request.Variables(envFiles, env, a.env); err != nil {
				return err
			}
			r.Cmd = args[1:]
			if !detach {
				r.AttachStdin, r.AttachStdout, r.AttachStderr = interactive, true, true
			}
			if _, err := terminal.ParseKeys(r.DetachKeys); err != nil {
				return err
			}
			if _, isTerminal := terminal.Of(a.In); r.Tty && interactive && !detach && !isTerminal {
				return errors.New("the input device is not a TTY")
			}
			return a.exec(ctx, c, args[0], r, detach)
		}),
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVarP(&r.Tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.BoolVarP(&detach, "detach", "d", false, "Detached mode: run command in the background")
	f.StringVar(&r.DetachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.StringVarP(&r.User, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	f.StringVarP(&r.WorkingDir, "workdir", "w", "", "Working directory inside the container")
	f.BoolVar(&r.Privileged, "privileged", false, "Give extended privileges to the command")
	f.VarP(request.List(&env), "env", "e", "Set environment variables")
	f.VarP(request.List(&envFiles), "env-file", "", "Read in a file of environment variables")
	return cmd
}

func (a *app) exec(ctx context.Context, c *client.Client, ref string, r container.ExecCreateRequest, detach bool) error {
	var size *[2]uint
	if s := terminal.Size(a.Out); r.Tty && s != [2]uint{} {
		size = &s
	}
	r.ConsoleSize = size
	var run *client.Run
	var id string
	var err error
	if detach {
		id, err = c.Execs().Create(ctx, ref, r)
	} else if run, err = c.Execs().Run(ctx, ref, r); err == nil {
		id = run.ID
	}
	if err != nil {
		return err
	}
	start := container.ExecStartRequest{Detach: detach, Tty: r.Tty, ConsoleSize: size}
	if detach {
		return c.Execs().Start(ctx, id, start)
	}
	ctx, cancel := context.WithCancel(ctx) // an interrupt ends pier, not what runs in the container
	defer cancel()
	conn := run.Conn
	if conn == nil {
		if conn, err = c.Execs().Attach(ctx, id, start); err != nil {
			if failure := startFailure(err); failure.(*exitError).code != 125 {
				return failure
			}
			return err
		}
	}
	s := &terminal.Session{Conn: conn, TTY: r.Tty, Out: a.Out, Err: a.Err, Keys: r.DetachKeys}
	if r.AttachStdin {
		s.In = a.In
	}
	if r.Tty {
		terminal.FollowSize(ctx, a.Out, func(height, width uint) error { return c.Execs().Resize(ctx, id, height, width) })
	}
	if err := s.Run(ctx); err != nil {
		return err
	}
	code, err := execEnd(ctx, c, run)
	if err == nil && code != 0 {
		return &exitError{code: code}
	}
	return err
}

// execEnd is the exit code of an exec whose output has ended.
func execEnd(ctx context.Context, c *client.Client, run *client.Run) (int, error) {
	if run.Conn != nil {
		return run.Outcome()
	}
	result, err := c.Execs().Inspect(ctx, run.ID)
	if err != nil || result.ExitCode == nil {
		return 0, err
	}
	return *result.ExitCode, nil
}
