package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"

	"pier/kernel/cgroup"
	"pier/kernel/tty"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// makeOptions are the flags of create and run.
type makeOptions struct {
	bundle        string
	consoleSocket string
	pidFile       string
	pidfdSocket   string
	preserve      int
	noPivot       bool
	noKeyring     bool
	detach        bool
	keep          bool
}

func (m *makeOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&m.bundle, "bundle", "b", "", "path of the bundle (default: the working folder)")
	f.StringVar(&m.consoleSocket, "console-socket", "", "unix socket that takes the terminal's master")
	f.StringVar(&m.pidFile, "pid-file", "", "file to write the process's number to")
	f.IntVar(&m.preserve, "preserve-fds", 0, "how many descriptors from 3 on to pass on")
	f.StringVar(&m.pidfdSocket, "pidfd-socket", "", "unix socket that takes a pidfd of the process")
	f.BoolVar(&m.noPivot, "no-pivot", false, "change the root by chroot, for a host that runs from its initial memory disk")
	f.BoolVar(&m.noKeyring, "no-new-keyring", false, "keep the caller's session keyring")
}

func createCommand(o *options) *cobra.Command {
	var m makeOptions
	c := &cobra.Command{Use: "create ID", Short: "Make a container that waits for start", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := o.create(c.Context(), args[0], &m, false)
			return err
		}}
	m.flags(c)
	return c
}

func runCommand(o *options) *cobra.Command {
	var m makeOptions
	c := &cobra.Command{Use: "run ID", Short: "Make and start a container", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), args[0], &m) }}
	m.flags(c)
	c.Flags().BoolVarP(&m.detach, "detach", "d", false, "return when the container runs")
	c.Flags().BoolVar(&m.keep, "keep", false, "keep the container's state when it ends")
	c.Flags().Bool("no-subreaper", false, "accepted for compatibility")
	return c
}

func startCommand(o *options) *cobra.Command {
	return &cobra.Command{Use: "start ID", Short: "Start a container that was created", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.load(args[0])
			if err != nil {
				return err
			}
			return r.start(c.Context())
		}}
}

// made is a container that waits for start.
type made struct {
	*record
	process *oci.Prepared
	relay   *relay // between our terminal and the container's, nil without one
}

// create makes the container of a bundle, up to its start. In the foreground its terminal stays with us. After an error
// nothing is left.
func (o *options) create(ctx context.Context, id string, m *makeOptions, foreground bool) (*made, error) {
	r, err := o.fromBundle(id, m, foreground)
	if err != nil {
		return nil, err
	}
	return o.assemble(r, m, foreground, func(c *oci.Container) (*oci.Prepared, error) {
		c.Gate, c.NoPivot, c.NoKeyring = r.gate(), m.noPivot, m.noKeyring
		c.MakeCwd = true // as runc does: containerd leaves it to the runtime
		c.PreserveFDs, c.Spec = passed(m.preserve, r.Spec)
		var err error
		if c.Spec, err = withEnvironment(c.Spec, r.Bundle); err != nil {
			return nil, err
		}
		return oci.Create(ctx, c)
	})
}

// assemble makes all of a container that is recorded but its first process, which begin makes: its cgroup before, and
// afterwards what others wait for, the whole record, the terminal, the process's pidfd and its number. After an error nothing
// is left, the record's folder included.
func (o *options) assemble(r *record, m *makeOptions, foreground bool, begin func(*oci.Container) (*oci.Prepared, error)) (_ *made, err error) {
	defer func() {
		if err != nil {
			o.warn(clearFolder(r.dir))
		}
	}()
	var limits *specs.LinuxResources
	if r.Spec.Linux != nil {
		limits = r.Spec.Linux.Resources
	}
	group, err := cgroup.Create(r.Cgroup, limits)
	if err != nil {
		return nil, err
	}
	out := &made{record: r}
	defer func() {
		if err != nil {
			_ = group.Kill()
			_ = group.Delete()
			out.relay.close()
		}
	}()
	c := &oci.Container{ID: r.ID, Spec: r.Spec, Bundle: r.Bundle, Cgroup: group}
	if !r.Spec.Process.Terminal {
		c.Stdio = oci.Stdio{Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr}
	} else if foreground {
		c.Width, c.Height, _ = tty.Size(o.stdin)
	}
	p, err := begin(c)
	if err != nil {
		return nil, err
	}
	out.process = p
	r.Pid, r.StartTime = p.Pid, p.StartTime
	if err = r.save(); err != nil {
		return nil, err
	}
	if out.relay, err = o.terminal(p.Master, m.consoleSocket); err != nil {
		return nil, err
	}
	if err = sendPidfd(m.pidfdSocket, p.Pidfd); err != nil {
		return nil, err
	}
	if m.pidFile != "" {
		if err = atomicfile.WriteVolatile(m.pidFile, []byte(strconv.Itoa(p.Pid)), 0o644); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fromBundle reads the configuration of a bundle and begins a record of a container of it, whose folder there is already.
func (o *options) fromBundle(id string, m *makeOptions, foreground bool) (*record, error) {
	bundle, err := filepath.Abs(m.bundle)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{}
	if err := o.readDocument(filepath.Join(bundle, "config.json"), spec); err != nil {
		return nil, err
	}
	if spec.Process == nil {
		return nil, errkind.New(errkind.Invalid, "config.json has no process")
	}
	if major, _, ok := strings.Cut(spec.Version, "."); !ok || major != strconv.Itoa(specs.VersionMajor) {
		return nil, errkind.New(errkind.Unsupported, "ociVersion %q in config.json is not known: this runtime reads versions 1.0.0 to %s", spec.Version, specs.Version)
	}
	if err := checkConsole(spec.Process.Terminal, m.consoleSocket, foreground); err != nil {
		return nil, err
	}
	group, err := cgroupPath(spec, id)
	if err != nil {
		return nil, err
	}
	r, err := o.newRecord(id)
	if err != nil {
		return nil, err
	}
	r.Bundle, r.Spec, r.Cgroup = bundle, spec, group
	return r, nil
}

// passed returns how many descriptors to pass on: those asked for, and before them those that a service manager gave us
// for the container (sd_listen_fds(3)). The container is told of the latter.
func passed(preserve int, spec *specs.Spec) (int, *specs.Spec) {
	given, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || given <= 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return preserve, spec
	}
	with, process := *spec, *spec.Process
	process.Env = append(slices.Clone(process.Env), "LISTEN_FDS="+strconv.Itoa(given), "LISTEN_PID=1")
	with.Process = &process
	return preserve + given, &with
}

// sendPidfd hands a process to whoever listens on socket, if there is one.
func sendPidfd(socket string, f *os.File) error {
	if socket == "" {
		return nil
	}
	return tty.Send(socket, f)
}

// start runs the startContainer hooks, lets the process go and runs the poststart hooks.
func (r *record) start(ctx context.Context) error {
	if s := r.status(); s != specs.StateCreated {
		return errkind.New(errkind.Conflict, "cannot start a container in the %s state", s)
	}
	h := r.Spec.Hooks
	if h != nil && len(h.StartContainer) > 0 {
		f, err := r.open()
		if err != nil {
			return err
		}
		defer f.Close()
		if err := oci.RunHooksIn(ctx, "startContainer", h.StartContainer, r.state(), f); err != nil {
			return errors.Join(err, r.kill())
		}
	}
	if err := oci.Release(ctx, r.gate(), r.Spec.Process.Args); err != nil {
		return err
	}
	if h != nil {
		if err := oci.RunHooks(ctx, "poststart", h.Poststart, r.state()); err != nil {
			return errors.Join(err, r.kill())
		}
	}
	return nil
}

// run makes, starts and, in the foreground, waits for a container and removes it.
func (o *options) run(ctx context.Context, id string, m *makeOptions) error {
	c, err := o.create(ctx, id, m, !m.detach)
	if err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		c.relay.close()
		return errors.Join(err, o.remove(ctx, c.record, true))
	}
	if m.detach {
		return nil
	}
	return o.foreground(ctx, c, m.keep)
}

// foreground waits for a container and removes it, unless it is to be kept.
func (o *options) foreground(ctx context.Context, c *made, keep bool) error {
	status, err := oci.Foreground(ctx, &c.process.Process, c.relay.resize)
	c.relay.close()
	if !keep {
		err = errors.Join(err, o.remove(ctx, c.record, true))
	}
	if err != nil {
		return err
	}
	if status.Code != 0 {
		return exitCode(status.Code)
	}
	return nil
}
