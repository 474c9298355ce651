package settings

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// systemOption is the security option that makes a container one for systemd; Pier's own addition to Docker's.
const systemOption = "systemd"

// systemTmpfs are the places that systemd wants to find empty. Programs are run from the first and the last.
var systemTmpfs = [...]struct{ place, options string }{
	{"/run", "exec,mode=755"}, {"/run/lock", "mode=1777,size=5m"}, {"/tmp", "exec,mode=1777"},
}

// SystemProgram tells whether a container that nobody has decided about may be one for systemd, by the name of its
// program, which is then looked for in its root. It is not where the user arranges things otherwise: by the option
// systemd=false, another first process, namespaces of the host's, or control groups of his own.
func SystemProgram(c *container.Config, h *container.HostConfig) (program string, maybe bool) {
	args := Command(c)
	if len(args) == 0 || h.Init != nil && *h.Init || h.PidMode != "" || h.CgroupnsMode.IsHost() {
		return "", false
	}
	if base := path.Base(args[0]); base != "init" && base != "systemd" {
		return "", false
	}
	if slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, systemOption) }) || mountedAt(h, "/sys/fs/cgroup") {
		return "", false
	}
	return args[0], true
}

// ForSystem records that the container is one for systemd.
func ForSystem(h *container.HostConfig) { h.SecurityOpt = append(h.SecurityOpt, systemOption+"=true") }

// CompleteSystem fills in what systemd needs as the first process (https://systemd.io/CONTAINER_INTERFACE), if the container
// is one for it. What the user has given stays. Call it before Complete. What comes of it is seen in the settings, but for
// SystemIdentity, and for the control groups: see shim.DelegateOption.
func CompleteSystem(c *container.Config, h *container.HostConfig) error {
	sec, err := ParseSecurity(h.SecurityOpt)
	if err != nil || !sec.Systemd {
		return err
	}
	if h.CgroupnsMode.IsHost() { // with v2 it would see all of the host's control groups, and write to them
		return refuse("--security-opt systemd=true needs a cgroup namespace of the container's own: leave out --cgroupns host")
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = container.CgroupnsModePrivate
	}
	if c.StopSignal == "" {
		c.StopSignal = "SIGRTMIN+3" // halt
	}
	for _, t := range systemTmpfs {
		if !mountedAt(h, t.place) {
			if h.Tmpfs == nil {
				h.Tmpfs = map[string]string{}
			}
			h.Tmpfs[t.place] = t.options
		}
	}
	if _, given := EnvValue(c.Env, "container"); !given {
		c.Env = append(c.Env, "container=pier")
	}
	return nil
}

// SystemIdentity is the variable from which systemd in the container id makes its machine-id, where its image has none. It is
// not among the settings: an image made of the container must not take it along.
func SystemIdentity(id string) string {
	return "container_uuid=" + id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:32]
}

// mountedAt reports whether the settings mount something at place.
func mountedAt(h *container.HostConfig, place string) bool {
	for _, raw := range h.Binds {
		if m, err := ParseBind(raw); err == nil && m.Destination == place {
			return true
		}
	}
	for _, m := range h.Mounts {
		if path.Clean(m.Target) == place {
			return true
		}
	}
	for p := range h.Tmpfs {
		if path.Clean(p) == place {
			return true
		}
	}
	return false
}
