package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/spf13/cobra"

	"pier/cli/internal/progress"
	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/errkind"
)

// Streams are the standard streams of one invocation.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is one invocation of pier. It belongs to one goroutine, but for client, which any may use.
type app struct {
	Streams
	env     func(string) string // of the process, but for what flags say otherwise
	config  string              // --config
	choice  client.Choice
	debug   bool
	current *client.Client
}

// exitError ends the program with a code. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// client returns the client of the daemon that flags and environment name; it is made once.
func (a *app) client() (*client.Client, error) {
	if a.current != nil {
		return a.current, nil
	}
	endpoint, err := client.Find(a.choice, a.env)
	if err != nil {
		return nil, err
	}
	a.current, err = client.New(endpoint)
	return a.current, err
}

// withClient makes a command's body from a function that needs the daemon.
func (a *app) withClient(f func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, args)
	}
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.Out, format, args...) }

// warnf prints a line on standard error. What a terminal would obey in it is escaped: names come from containers.
func (a *app) warnf(format string, args ...any) {
	fmt.Fprintln(a.Err, terminal.Harmless(fmt.Sprintf(format, args...)))
}

// errQuiet is success without a line.
type errQuiet struct{}

func (errQuiet) Error() string { return "nothing to tell" }

// each calls f for every argument, prints the argument when it succeeded, and goes on after an error. All errors are
// reported but errQuiet; the result carries exit code 1 where there was one. An interrupt ends it.
func (a *app) each(args []string, f func(arg string) error) error {
	failed := false
	for _, arg := range args {
		err := f(arg)
		if err == (errQuiet{}) {
			continue
		}
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			a.report(err)
			failed = true
			continue
		}
		a.printf("%s\n", arg)
	}
	if failed {
		return &exitError{code: 1}
	}
	return nil
}

// showProgress prints a stream of progress messages; an error in it ends pier with the code that it names.
func showProgress(r io.Reader, w io.Writer) error { return failedProgress(progress.Show(r, w, nil)) }

// failedProgress gives an error of a stream of progress messages the exit code that it names.
func failedProgress(err error) error {
	var failure *jsonstream.Error
	if errors.As(err, &failure) && failure.Code > 0 && failure.Code < 256 {
		return &exitError{code: failure.Code, err: errors.New(failure.Message)}
	}
	return err
}

// report prints an error as pier prints all of them.
func (a *app) report(err error) {
	var answer *client.Error
	if errors.As(err, &answer) {
		a.warnf("Error response from daemon: %s", strings.TrimSpace(err.Error()))
		return
	}
	a.warnf("%s", strings.TrimSpace(err.Error()))
}

// colours reports whether Out may carry colour: a terminal, and NO_COLOR is not set.
func (a *app) colours() bool {
	_, ok := terminal.Of(a.Out)
	return ok && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}

func invalid(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }

// exactArgs, minArgs, rangeArgs and noArgs word a wrong number of arguments as docker does.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usage(cmd, "Run", "'%s' requires %d argument%s", cmd.CommandPath(), n, plural(n))
	}
}

func minArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return usage(cmd, "See", "'%s' requires at least %d argument%s", cmd.CommandPath(), n, plural(n))
	}
}

func rangeArgs(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		if low == 0 {
			return usage(cmd, "Run", "'%s' requires at most %d argument%s", cmd.CommandPath(), high, plural(high))
		}
		return usage(cmd, "Run", "'%s' requires at least %d and at most %d arguments", cmd.CommandPath(), low, high)
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(cmd, "Run", "'%s' accepts no arguments", cmd.CommandPath())
}

// usage words a wrong use; verb is how docker points to the help in that case.
func usage(cmd *cobra.Command, verb, format string, args ...any) error {
	return invalid("%s: %s\n\nUsage:  %s\n\n%s '%s --help' for more information", cmd.Root().Name(), fmt.Sprintf(format, args...), cmd.UseLine(), verb, cmd.CommandPath())
}

// wrongFlag words a flag that does not exist or has no such value as docker does; the exit code is 125.
func wrongFlag(cmd *cobra.Command, err error) error {
	return &exitError{code: 125, err: &usageError{fmt.Sprintf("%s\n\nUsage:  %s\n\nRun '%s --help' for more information", err, cmd.UseLine(), cmd.CommandPath())}}
}

// usageError is text that is printed as it is.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
