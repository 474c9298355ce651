package process

import (
	"fmt"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/capability"
	"pier/kernel/fsroot"
	"pier/kernel/ids"
)

// ExecInput is what a further process in a running container is made of.
type ExecInput struct {
	Pid    int // the container's first process: its root is where users are looked up
	Config *container.Config
	Host   *container.HostConfig
	Want   container.ExecCreateRequest
}

// Exec returns the process. Unless privileged it has the capabilities that the container has, and none that its user
// would not have.
func Exec(in ExecInput) (*specs.Process, error) {
	sec, err := settings.ParseSecurity(in.Host.SecurityOpt)
	if err != nil {
		return nil, err
	}
	name := in.Want.User
	if name == "" {
		name = in.Config.User
	}
	user, err := lookupIn(in.Pid, name, in.Host.GroupAdd)
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
	}
	p.User.Umask = in.Host.Umask
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

// CheckUser refuses a user that the container of pid does not have.
func CheckUser(pid int, user string) error {
	_, err := lookupIn(pid, user, nil)
	return err
}

func lookupIn(pid int, user string, groups []string) (ids.User, error) {
	root, err := fsroot.Open(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return ids.User{}, err
	}
	defer root.Close()
	return resolve(root, user, groups)
}
