package command

import (
	"context"
	"errors"
	"fmt"
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

// execOptions are the flags of exec.
type execOptions struct {
	makeOptions
	process, cwd, user, label, apparmor string
	env, caps, cgroups                  []string
	groups                              []uint
	terminal, noNewPrivs, ignorePaused  bool
}

func execCommand(o *options) *cobra.Command {
	var x execOptions
	c := &cobra.Command{Use: "exec ID [COMMAND [ARG...]]", Short: "Run a process in a running container", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			err := o.exec(c.Context(), args[0], args[1:], &x)
			var code exitCode
			if err == nil || errors.As(err, &code) {
				return err
			}
			return &execFailed{fmt.Errorf("exec failed: %w", err)}
		}}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&x.process, "process", "p", "", "JSON file with the whole process")
	f.StringVar(&x.cwd, "cwd", "", "working folder")
	f.StringVarP(&x.user, "user", "u", "", "user id, or user:group")
	f.StringArrayVarP(&x.env, "env", "e", nil, "environment variable NAME=VALUE")
	f.UintSliceVarP(&x.groups, "additional-gids", "g", nil, "further group ids")
	f.StringArrayVarP(&x.caps, "cap", "c", nil, "capability to add")
	f.BoolVarP(&x.terminal, "tty", "t", false, "make a terminal")
	f.BoolVarP(&x.detach, "detach", "d", false, "return when the process runs")
	f.BoolVar(&x.noNewPrivs, "no-new-privs", false, "set no_new_privs")
	f.BoolVar(&x.ignorePaused, "ignore-paused", false, "also in a paused container")
	f.StringVar(&x.consoleSocket, "console-socket", "", "unix socket that takes the terminal's master")
	f.StringVar(&x.pidFile, "pid-file", "", "file to write the process's number to")
	f.StringVar(&x.pidfdSocket, "pidfd-socket", "", "unix socket that takes a pidfd of the process")
	f.StringArrayVar(&x.cgroups, "cgroup", nil, "run in a cgroup below the container's: PATH or CONTROLLER[,CONTROLLER]:PATH")
	f.StringVar(&x.label, "process-label", "", "SELinux label")
	f.StringVar(&x.apparmor, "apparmor", "", "AppArmor profile")
	f.IntVar(&x.preserve, "preserve-fds", 0, "how many descriptors from 3 on to pass on")
	return c
}

func (o *options) exec(ctx context.Context, id string, args []string, x *execOptions) error {
	r, err := o.load(id)
	if err != nil {
		return err
	}
	switch s := r.status(); {
	case s == statusPaused && !x.ignorePaused:
		return errkind.New(errkind.Conflict, "cannot exec in a paused container (use --ignore-paused to override)")
	case s == specs.StateStopped:
		return errkind.New(errkind.Conflict, "cannot exec in a stopped container")
	}
	process, err := o.execProcess(r, args, x)
	if err != nil {
		return err
	}
	if err := checkConsole(process.Terminal, x.consoleSocket, !x.detach); err != nil {
		return err
	}
	target, err := r.open()
	if err != nil {
		return err
	}
	defer target.Close()
	if process.Env, err = environment(process.Env, process.User.UID, fmt.Sprintf("/proc/%d/root", r.Pid)); err != nil {
		return err
	}
	group, err := r.group()
	if err != nil {
		return err
	}
	if group, err = below(group, x.cgroups); err != nil {
		return err
	}
	e := &oci.ExecConfig{ID: id, Target: target, TargetPid: r.Pid, Spec: r.Spec, Bundle: r.Bundle, Process: process, Cgroup: group, PreserveFDs: x.preserve}
	if !process.Terminal {
		e.Stdio = oci.Stdio{Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr}
	} else if !x.detach {
		e.Width, e.Height, _ = tty.Size(o.stdin)
	}
	p, err := oci.Exec(ctx, e)
	if err != nil {
		return err
	}
	relay, err := o.terminal(p.Master, x.consoleSocket)
	if err != nil {
		return err
	}
	if err := sendPidfd(x.pidfdSocket, p.Pidfd); err != nil {
		return err
	}
	if x.pidFile != "" {
		if err := atomicfile.WriteVolatile(x.pidFile, []byte(strconv.Itoa(p.Pid)), 0o644); err != nil {
			return err
		}
	}
	if x.detach {
		return nil
	}
	status, err := oci.Foreground(ctx, p, relay.resize)
	relay.close()
	if err != nil {
		return err
	}
	if status.Code != 0 {
		return exitCode(status.Code)
	}
	return nil
}

// below returns the group with some or all of its hierarchies at a cgroup below, which exists.
func below(group *cgroup.Cgroup, places []string) (*cgroup.Cgroup, error) {
	for _, place := range places {
		controllers, path, some := strings.Cut(place, ":")
		var names []string
		if some {
			names = strings.Split(controllers, ",")
		} else {
			path = place
		}
		var err error
		if group, err = group.Below(path, names); err != nil {
			return nil, err
		}
	}
	return group, nil
}

// execProcess is what to run: the whole of --process, or the container's own process with another command.
func (o *options) execProcess(r *record, args []string, x *execOptions) (*specs.Process, error) {
	if x.process != "" {
		p := &specs.Process{}
		err := o.readDocument(x.process, p)
		p.Terminal = p.Terminal || x.terminal
		return p, err
	}
	p := *r.Spec.Process
	p.Args, p.Terminal = args, x.terminal
	p.Env = append(append([]string{}, p.Env...), x.env...)
	if x.cwd != "" {
		p.Cwd = x.cwd
	}
	if x.noNewPrivs {
		p.NoNewPrivileges = true
	}
	if x.apparmor != "" {
		p.ApparmorProfile = x.apparmor
	}
	if x.label != "" {
		p.SelinuxLabel = x.label
	}
	if len(x.caps) > 0 {
		caps := specs.LinuxCapabilities{}
		if p.Capabilities != nil {
			caps = *p.Capabilities
		}
		caps.Bounding = append(append([]string{}, caps.Bounding...), x.caps...)
		caps.Permitted = append(append([]string{}, caps.Permitted...), x.caps...)
		caps.Effective = append(append([]string{}, caps.Effective...), x.caps...)
		p.Capabilities = &caps
	}
	for _, g := range x.groups {
		if uint64(g) >= 1<<32-1 {
			return nil, errkind.New(errkind.Invalid, "group id %d is out of range", g)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(g))
	}
	if x.user != "" {
		uid, gid, both := strings.Cut(x.user, ":")
		u, err := parseID(uid)
		if err != nil {
			return nil, err
		}
		p.User.UID = u
		if both {
			if p.User.GID, err = parseID(gid); err != nil {
				return nil, err
			}
		}
	}
	return &p, nil
}

// parseID reads a user or group number. Anything else is refused: there is no fallback to root.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, errkind.New(errkind.Invalid, "%q is not a user or group number", s)
	}
	return uint32(n), nil
}
