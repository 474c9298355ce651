package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/kernel/self"
	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// options are the flags before the command.
type options struct {
	root      string
	log       string
	logFormat string
	debug     bool
	systemd   bool
	criu      string
	rootless  string
	stdin     *os.File
	stdout    *os.File
	stderr    *os.File
}

// exitCode ends a command with another status than 1 and without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs one command line (without the program's name) and returns the status to exit with: that of the container's
// process for run and exec in the foreground, 1 after an error, which is written to standard error and to --log.
func Main(ctx context.Context, version string, args []string) int {
	o := &options{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	err := spawn.HideMemory()
	if err == nil {
		root := newRoot(o, version)
		root.SetArgs(longFlags(root, args))
		err = root.ExecuteContext(ctx)
	}
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	o.report(err)
	var failed *execFailed
	switch {
	case errors.As(err, &failed):
		return 255
	case strings.HasPrefix(err.Error(), "unknown command"):
		return 3
	}
	return 1
}

// execFailed marks an exec without a process, which has a status of its own.
type execFailed struct{ error }

func (e *execFailed) Unwrap() error { return e.error }

func newRoot(o *options, version string) *cobra.Command {
	root := &cobra.Command{
		Use: "pier-runtime", Short: "Start and manage containers from OCI bundles", Version: version,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if n := c.Name(); n == "create" || n == "run" || n == "exec" || n == "restore" {
				if err := self.Protect(os.Args, os.Environ()); err != nil {
					return err
				}
			}
			if err := o.check(); err != nil {
				return err
			}
			if o.debug {
				o.note("debug", strings.Join(os.Args[1:], " "))
			}
			return nil
		},
	}
	root.SetVersionTemplate("pier-runtime version {{.Version}}\nspec: " + specs.Version + "\n")
	root.CompletionOptions.DisableDefaultCmd = true
	f := root.PersistentFlags()
	f.StringVar(&o.root, "root", "/run/pier-runtime", "folder for the state of containers (should be in memory)")
	f.StringVar(&o.log, "log", "", "file for errors, besides standard error")
	f.StringVar(&o.logFormat, "log-format", "text", "format of --log: text or json")
	f.BoolVar(&o.debug, "debug", false, "log each command, too")
	f.BoolVar(&o.systemd, "systemd-cgroup", false, "not supported: cgroups are made directly")
	f.StringVar(&o.criu, "criu", "", "path of criu, for checkpoint and restore (default: the one on PATH)")
	f.StringVar(&o.rootless, "rootless", "auto", "true, false or auto; accepted for compatibility: this runtime needs root")
	root.AddCommand(createCommand(o), runCommand(o), startCommand(o), execCommand(o), killCommand(o), deleteCommand(o),
		stateCommand(o), listCommand(o), psCommand(o), eventsCommand(o), pauseCommand(o), resumeCommand(o), updateCommand(o),
		specCommand(o), featuresCommand(o), checkpointCommand(o), restoreCommand(o))
	return root
}

func (o *options) check() error {
	if o.systemd {
		return errkind.New(errkind.Unsupported, "--systemd-cgroup is not supported; configure the engine for the cgroupfs driver")
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		return errkind.New(errkind.Invalid, "--log-format %q: want text or json", o.logFormat)
	}
	if o.rootless != "true" && o.rootless != "false" && o.rootless != "auto" {
		return errkind.New(errkind.Invalid, "--rootless %q: want true, false or auto", o.rootless)
	}
	if o.log != "" { // an engine that cannot read why something failed is better told at once
		f, err := os.OpenFile(o.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			o.log = ""
			return err
		}
		return f.Close()
	}
	return nil
}

// report writes err where the caller looks for it: engines read the last line of --log, people standard error.
func (o *options) report(err error) {
	if o.log != "" {
		fmt.Fprintln(o.stderr, err)
	}
	o.note("error", err.Error())
}

// warn writes what went wrong without stopping anything.
func (o *options) warn(err error) {
	if err != nil {
		o.note("warning", err.Error())
	}
}

// note writes one line to the log, which is standard error if there is none.
func (o *options) note(level, text string) {
	now := time.Now().Format(time.RFC3339)
	out := o.stderr
	if o.log != "" {
		f, err := os.OpenFile(o.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			fmt.Fprintln(o.stderr, err)
		} else {
			defer f.Close()
			out = f
		}
	}
	if o.logFormat == "json" {
		_ = json.NewEncoder(out).Encode(map[string]string{"level": level, "msg": text, "time": now})
		return
	}
	fmt.Fprintf(out, "time=%q level=%s msg=%q\n", now, level, text)
}

// maxDocument bounds every JSON document that is read, in bytes.
const maxDocument = 10 << 20

// readDocument decodes the JSON file name into to; "-" is standard input.
func (o *options) readDocument(name string, to any) error {
	in := o.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return err
	}
	if len(data) > maxDocument {
		return errkind.New(errkind.Invalid, "%s is larger than %d bytes", name, maxDocument)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return errkind.New(errkind.Invalid, "%s is not what it should be: %w", name, err)
	}
	return nil
}

func (o *options) printJSON(v any) error {
	e := json.NewEncoder(o.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
