package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"pier/cli/internal/request"
	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/errkind"
)

func newRun(a *app) *cobra.Command {
	var f request.Container
	var detach, sigProxy bool
	var keys string
	cmd := &cobra.Command{
		Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create and run a new container from an image", Args: minArgs(1),
		Example: "  pier run --rm -it busybox sh\n  pier run -d --name web -p 8080:80 -m 64m nginx\n" +
			"  pier run --secret src=./key.pem --secret env=TOKEN,target=token app     files in /run/secrets\n" +
			"  pier run -d --health-http :8080/healthz app                             checked without a program in it",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			if detach {
				if len(f.Attach) > 0 {
					return &exitError{code: 125, err: invalid("conflicting options: cannot specify both --attach and --detach")}
				}
				return a.runDetached(ctx, c, &f, args)
			}
			return a.runAttached(ctx, c, &f, args, keys, sigProxy)
		}),
	}
	f.Register(cmd.Flags())
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "Run container in background and print container ID")
	cmd.Flags().BoolVar(&sigProxy, "sig-proxy", true, "Proxy received signals to the process")
	cmd.Flags().StringVar(&keys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}

func (a *app) runDetached(ctx context.Context, c *client.Client, f *request.Container, args []string) error {
	created, err := a.create(ctx, c, f, args, func(r container.CreateRequest) (container.CreateResponse, error) {
		r.AttachStdin, r.AttachStdout, r.AttachStderr, r.StdinOnce = false, false, false, false
		return c.Containers().Create(ctx, f.Name, f.Platform, r, f.Secrets...)
	})
	if err != nil {
		return &exitError{code: 125, err: err}
	}
	err = c.Containers().Start(ctx, created.ID)
	a.printf("%s\n", created.ID) // it is there, started or not
	if err != nil {
		return startFailure(err)
	}
	return nil
}

// startFailure gives an error of starting a command its exit code.
func startFailure(err error) error {
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	code := 125
	switch {
	case has("executable file not found", "no such file or directory", "system cannot find the file specified"):
		code = 127
	case has("permission denied", "exec format error", "is a directory"):
		code = 126
	}
	return &exitError{code: code, err: &startError{err}}
}

// startError is a failure that run words for itself whatever the code.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func (a *app) runAttached(ctx context.Context, c *client.Client, f *request.Container, args []string, keys string, sigProxy bool) error {
	if _, err := terminal.ParseKeys(keys); err != nil {
		return &exitError{code: 125, err: err}
	}
	if _, isTerminal := terminal.Of(a.In); f.TTY && f.Interactive && !isTerminal {
		return &exitError{code: 1, err: errors.New("the input device is not a TTY")}
	}
	var streams client.AttachOptions
	var run *client.Run
	created, err := a.create(ctx, c, f, args, func(r container.CreateRequest) (container.CreateResponse, error) {
		streams = client.AttachOptions{Stdin: r.AttachStdin && r.OpenStdin, Stdout: r.AttachStdout, Stderr: r.AttachStderr, DetachKeys: keys}
		if r.Tty {
			r.HostConfig.ConsoleSize = terminal.Size(a.Out)
		}
		var err error
		if run, err = c.Containers().Run(ctx, f.Name, f.Platform, r, streams, f.Secrets...); err != nil {
			return container.CreateResponse{}, err
		}
		return container.CreateResponse{ID: run.ID, Warnings: run.Warnings}, nil
	})
	if err != nil {
		if run != nil && run.Conn != nil {
			run.Conn.Close()
		}
		return &exitError{code: 125, err: err}
	}
	condition := container.WaitConditionNextExit
	if f.Remove {
		condition = container.WaitConditionRemoved
	}
	how := follow{id: created.ID, tty: f.TTY, streams: streams, condition: condition, sigProxy: sigProxy, start: true}
	if run.Conn != nil {
		return a.noteMemory(context.WithoutCancel(ctx), c, how.id, a.followRun(ctx, c, run, how))
	}
	return a.followContainer(ctx, c, how)
}

// followRun is followContainer for a container that is being started and joined already.
func (a *app) followRun(ctx context.Context, c *client.Client, run *client.Run, f follow) error {
	ctx, cancel := f.interruptible(ctx, c)
	defer cancel()
	if f.tty {
		terminal.FollowSize(ctx, a.Out, func(height, width uint) error { return c.Streams().Resize(ctx, f.id, height, width) })
	}
	switch err := a.session(f, run.Conn).Run(ctx); {
	case errors.Is(err, terminal.ErrDetached):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		a.warnf("%v", err)
	}
	code, err := run.Outcome()
	switch {
	case isAnswer(err):
		return startFailure(err)
	case err != nil:
		return &exitError{code: 125, err: errkind.New(errkind.Unavailable, "wait for the container: %w", err)}
	case code != 0:
		return &exitError{code: code}
	}
	return nil
}

// session connects the standard streams with those that f selects.
func (a *app) session(f follow, conn *client.Conn) *terminal.Session {
	s := &terminal.Session{Conn: conn, TTY: f.tty, Keys: f.streams.DetachKeys}
	if f.streams.Stdin {
		s.In = a.In
	}
	if f.streams.Stdout {
		s.Out = a.Out
	}
	if f.streams.Stderr {
		s.Err = a.Err
	}
	return s
}

// follow describes one attached container.
type follow struct {
	id        string
	tty       bool
	streams   client.AttachOptions
	condition container.WaitCondition
	sigProxy  bool
	start     bool // start it once the streams are joined

	checkpoint, checkpointDir string // to start it from; "" for its beginning
}

// errForced ends pier, and not the container, where the container takes no notice of the signals that it is sent.
var errForced = errors.New("got 3 SIGTERM/SIGINTs, forcefully exiting: the container goes on, pier rm -f ends it")

// interruptible returns the context of following f: where signals are for the container, only many of them end it.
func (f follow) interruptible(ctx context.Context, c *client.Client) (context.Context, context.CancelFunc) {
	if f.sigProxy {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if f.sigProxy {
		terminal.ForwardSignals(ctx, func(signal string) error { return c.Containers().Kill(ctx, f.id, signal) }, func() { cancel(errForced) })
	}
	return ctx, func() { cancel(nil) }
}

// followContainer joins a container's streams, starts it where asked, and returns its exit code as an error when it is
// over (nil for 0). Detaching ends it, as docker does: without an error for who started the container, else with ErrDetached.
func (a *app) followContainer(ctx context.Context, c *client.Client, f follow) error {
	ctx, cancel := f.interruptible(ctx, c)
	defer cancel()
	conn, err := c.Streams().Attach(ctx, f.id, f.streams)
	if err != nil {
		return &exitError{code: 125, err: err}
	}
	wait, err := c.Streams().Wait(ctx, f.id, f.condition)
	if err != nil {
		conn.Close()
		return &exitError{code: 125, err: err}
	}
	s := a.session(f, conn)
	copied := make(chan error, 1)
	go func() { copied <- s.Run(ctx) }()
	if f.start {
		if err := c.Checkpoints().Start(ctx, f.id, f.checkpointDir, f.checkpoint); err != nil {
			cancel()
			<-copied
			return startFailure(err)
		}
	}
	if size := terminal.Size(a.Out); f.tty && !f.start && size[0] > 0 {
		_ = c.Streams().Resize(ctx, f.id, size[0]+1, size[1]+1) // the change back makes programs draw themselves anew
	}
	if f.tty {
		terminal.FollowSize(ctx, a.Out, func(height, width uint) error { return c.Streams().Resize(ctx, f.id, height, width) })
	}
	exited := make(chan error, 1)
	go func() {
		result, err := wait()
		exited <- exitOf(result, err)
	}()
	select {
	case err = <-copied:
		if errors.Is(err, terminal.ErrDetached) {
			if f.start {
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			a.warnf("%v", err)
		}
		return a.noteMemory(ctx, c, f.id, <-exited)
	case err = <-exited:
		<-copied // the output that is still on its way
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return a.noteMemory(ctx, c, f.id, err)
	}
}

func exitOf(result container.WaitResponse, err error) error {
	switch {
	case err != nil:
		return &exitError{code: 125, err: errkind.New(errkind.Unavailable, "wait for the container: %w", err)}
	case result.Error != nil && result.Error.Message != "":
		return &exitError{code: 125, err: errors.New(result.Error.Message)}
	case result.StatusCode != 0:
		return &exitError{code: int(result.StatusCode)}
	}
	return nil
}
