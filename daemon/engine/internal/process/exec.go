package process

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/settings"
	"pier/kernel/capability"
	"pier/kernel/fsroot"
	"pier/kernel/ids"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/lib/id"
)

// ExecInput is what a further process in a running container is made of.
type ExecInput struct {
	Pid       int    // the container's first process: its root is where users are looked up
	StartTime uint64 // of Pid, see kernel/pidfd
	Config    *container.Config
	Host      *container.HostConfig
	Want      container.ExecCreateRequest
	Sized     bool // see Filter
}

// Exec returns the process. It has the container's resource limits. Unless privileged it has the capabilities that the
// container has, and none that its user would not have.
func Exec(in ExecInput) (*specs.Process, error) {
	sec, err := settings.ParseSecurity(in.Host.SecurityOpt)
	if err != nil {
		return nil, err
	}
	name := in.Want.User
	if name == "" {
		name = in.Config.User
	}
	user, err := lookupIn(in, name)
	if err != nil {
		return nil, err
	}
	caps, err := Capabilities(in.Host)
	if err != nil {
		return nil, err
	}
	if in.Want.Privileged {
		caps = capability.All()
	}
	config := *in.Config
	config.Tty = in.Want.Tty
	p := &specs.Process{
		Terminal:        in.Want.Tty,
		User:            identity(user),
		Args:            in.Want.Cmd,
		Env:             withHome(Override(Env(&config), in.Want.Env), user.Home),
		Cwd:             in.Want.WorkingDir,
		Capabilities:    sets(uint32(user.UID), caps),
		NoNewPrivileges: sec.NoNewPrivileges,
		Rlimits:         rlimits(in.Host.Ulimits),
	}
	p.User.Umask = in.Host.Umask
	if p.Cwd != "" && !path.IsAbs(p.Cwd) { // not before the start, which gives the exec its exit code
		return nil, errkind.New(errkind.Invalid, "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown")
	}
	if p.Cwd == "" {
		p.Cwd = in.Config.WorkingDir
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if in.Host.OomScoreAdj != 0 {
		p.OOMScoreAdj = &in.Host.OomScoreAdj
	}
	return p, nil
}

// Prepared is a further process as the supervisor takes it.
type Prepared struct {
	Process *specs.Process // nil where it could not be made
	Filter  Seccomp
}

// Prepare makes the process and its filter. Where it fails the result holds what there is.
func Prepare(cache *Filters, in ExecInput) (p Prepared, err error) {
	if p.Process, err = Exec(in); err != nil {
		return p, err
	}
	host := *in.Host
	host.Privileged = host.Privileged || in.Want.Privileged
	p.Filter, err = Filter(cache, &host, p.Process.Capabilities.Bounding, in.Sized)
	return p, err
}

// Probe is a command that is run again and again in one run of a container. What is asked of the supervisor is made once.
// It belongs to one goroutine at a time.
type Probe struct {
	Command []string
	ask     shim.Probe
	process *specs.Process
}

// Ready reports whether Ask has been answered once, and so needs nothing of the container any more.
func (p *Probe) Ready() bool { return p.ask.Key != "" }

// Ask returns what to ask the supervisor for, but for ID, Timeout and Limit.
func (p *Probe) Ask(cache *Filters, in ExecInput) (shim.Probe, error) {
	if p.ask.Key != "" {
		return p.ask, nil
	}
	made, err := Prepare(cache, in)
	if p.process = made.Process; err != nil {
		return shim.Probe{}, p.Explain(in.Pid, err)
	}
	text, err := json.Marshal(made.Process)
	if err != nil {
		return shim.Probe{}, err
	}
	p.ask = shim.Probe{Key: id.New(), Process: text, Seccomp: made.Filter.Program, SeccompFlags: made.Filter.Flags}
	return p.ask, nil
}

// Explain words why the command did not start in the container of process pid.
func (p *Probe) Explain(pid int, err error) error {
	_, err = ExecError(pid, p.Command[0], p.process, err)
	return err
}

// lookupIn finds out who a user is in the container's root.
func lookupIn(in ExecInput, user string) (ids.User, error) {
	root, err := fsroot.Open(fmt.Sprintf("/proc/%d/root", in.Pid))
	if err != nil {
		return ids.User{}, err
	}
	defer root.Close()
	// What was opened is the container's only if its process has the number now, too.
	if began, err := pidfd.StartTime(in.Pid); err != nil || began != in.StartTime {
		return ids.User{}, errkind.New(errkind.Conflict, "find user %q: the container has just ended, or been started anew; try again", user)
	}
	return resolve(root, user, in.Host.GroupAdd)
}
