package process

import (
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/capability"
	"pier/kernel/probe"
)

// Input is all that a container's specification is made of.
type Input struct {
	ID     string
	Config *container.Config
	Host   *container.HostConfig
	Mounts []settings.Mount // sources filled in
	// Files maps places inside ("/etc/hosts") to host files that are bound there, writable, unless a mount of the
	// user's covers them.
	Files map[string]string
	Args  []string
	// Cgroup is the path of the container's cgroup below the hierarchies' mount points.
	Cgroup string
	// Join gives, by namespace type, the path of a namespace to join instead of a new one.
	Join map[specs.LinuxNamespaceType]string
	// Shm is the host folder to bind at /dev/shm, "" for a tmpfs of the container's own.
	Shm string
	// Root is the container's root file system.
	Root *os.File
}

// Container returns the specification, complete but for the seccomp filter, which travels compiled (see Filter). It
// makes the working directory in the root where that is missing.
func Container(in Input) (*specs.Spec, error) {
	sec, err := settings.ParseSecurity(in.Host.SecurityOpt)
	if err != nil {
		return nil, err
	}
	process, err := process(in, sec)
	if err != nil {
		return nil, err
	}
	resources, err := resources(in.Host)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: "rootfs", Readonly: in.Host.ReadonlyRootfs},
		Annotations: in.Host.Annotations,
		Linux: &specs.Linux{
			CgroupsPath: in.Cgroup,
			Namespaces:  namespaces(in),
			Sysctl:      ipcSysctls(in.Host),
			Resources:   resources,
		},
	}
	if in.Host.UTSMode.IsPrivate() && in.Join[specs.UTSNamespace] == "" {
		s.Hostname, s.Domainname = in.Config.Hostname, in.Config.Domainname
	}
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = in.Host.MaskedPaths, in.Host.ReadonlyPaths
	if in.Host.Privileged {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	}
	if s.Mounts, err = mounts(in, sec); err != nil {
		return nil, err
	}
	s.Linux.RootfsPropagation = rootPropagation(in.Mounts)
	if s.Linux.Devices, err = devices(in.Host, s.Linux.Resources); err != nil {
		return nil, err
	}
	return s, nil
}

func process(in Input, sec settings.Security) (*specs.Process, error) {
	user, home, err := lookup(in.Root, in.Config.User, in.Host.GroupAdd)
	if err != nil {
		return nil, err
	}
	user.Umask = in.Host.Umask
	caps, err := Capabilities(in.Host)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        in.Config.Tty,
		User:            user,
		Args:            in.Args,
		Env:             withHome(Env(in.Config), home),
		Cwd:             in.Config.WorkingDir,
		Capabilities:    sets(user.UID, caps),
		NoNewPrivileges: sec.NoNewPrivileges,
	}
	if _, given := settings.EnvValue(p.Env, "container_uuid"); sec.Systemd && !given {
		p.Env = append(p.Env, settings.SystemIdentity(in.ID))
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if err := makeDir(in.Root, p.Cwd); err != nil {
		return nil, err
	}
	if in.Host.OomScoreAdj != 0 {
		p.OOMScoreAdj = &in.Host.OomScoreAdj
	}
	p.Rlimits = rlimits(in.Host.Ulimits)
	if sec.AppArmor != "" && sec.AppArmor != "unconfined" && probe.AppArmor() {
		p.ApparmorProfile = sec.AppArmor
	}
	return p, nil
}

// rlimits are the resource limits of each process of a container. Of two with one name the last counts, as with Docker,
// whose runtime sets one after the other; ours refuses two, as the OCI's specification wants.
func rlimits(of []*container.Ulimit) (out []specs.POSIXRlimit) {
	for i, u := range of {
		if !slices.ContainsFunc(of[i+1:], func(later *container.Ulimit) bool { return later.Name == u.Name }) {
			out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
		}
	}
	return out
}

// Capabilities are the names of those that a container with these settings holds.
func Capabilities(h *container.HostConfig) ([]string, error) {
	if h.Privileged {
		return capability.All(), nil
	}
	return capability.Adjust(capability.Default(), h.CapAdd, h.CapDrop)
}

// sets never fills the inheritable set: a container's programs must not hand capabilities through execve to files that
// merely allow inheriting them. A user other than root loses the others with execve; it must not have them before
// either, or it could execute what its permissions keep from it.
func sets(uid uint32, caps []string) *specs.LinuxCapabilities {
	if uid != 0 {
		return &specs.LinuxCapabilities{Bounding: caps}
	}
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Env is the environment of a container's first process, but for HOME, which depends on its user.
func Env(c *container.Config) []string {
	env := []string{defaultPath, "HOSTNAME=" + c.Hostname}
	if c.Tty {
		env = append(env, "TERM=xterm")
	}
	return Override(env, c.Env)
}

// Override lays more over base: NAME=VALUE replaces or adds, a bare NAME removes.
func Override(base, more []string) []string {
	out := slices.Clone(base)
	for _, e := range more {
		name, _, set := strings.Cut(e, "=")
		at := slices.IndexFunc(out, func(o string) bool { return strings.HasPrefix(o, name+"=") })
		switch {
		case at >= 0 && set:
			out[at] = e
		case at >= 0:
			out = slices.Delete(out, at, at+1)
		case set:
			out = append(out, e)
		}
	}
	return out
}

func withHome(env []string, home string) []string {
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "HOME=") }) {
		return env
	}
	return append(env, "HOME="+home)
}

// namespaces lists the new and the joined ones. What is not listed is the host's.
func namespaces(in Input) []specs.LinuxNamespace {
	h := in.Host
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(t specs.LinuxNamespaceType, private bool) {
		if p := in.Join[t]; p != "" {
			list = append(list, specs.LinuxNamespace{Type: t, Path: p})
		} else if private {
			list = append(list, specs.LinuxNamespace{Type: t})
		}
	}
	add(specs.NetworkNamespace, !h.NetworkMode.IsHost())
	add(specs.UTSNamespace, h.UTSMode.IsPrivate())
	add(specs.PIDNamespace, h.PidMode.IsPrivate())
	add(specs.IPCNamespace, !h.IpcMode.IsHost())
	add(specs.CgroupNamespace, h.CgroupnsMode.IsPrivate())
	return list
}

// ipcSysctls are those left after the network room has taken its own.
func ipcSysctls(h *container.HostConfig) map[string]string {
	out := maps.Clone(h.Sysctls)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, "net.") })
	return out
}

// NetworkSysctls are the user's for the network namespace.
func NetworkSysctls(h *container.HostConfig) map[string]string {
	if h.NetworkMode.IsHost() || h.NetworkMode.IsContainer() {
		return nil
	}
	out := map[string]string{}
	for k, v := range h.Sysctls {
		if strings.HasPrefix(k, "net.") {
			out[k] = v
		}
	}
	return out
}

// rootPropagation is private, as nothing mounted inside may leak out, unless a mount asks to share with the host.
func rootPropagation(mounts []settings.Mount) string {
	out := "rprivate"
	for _, m := range mounts {
		switch m.Propagation {
		case mount.PropagationShared, mount.PropagationRShared:
			return "shared"
		case mount.PropagationSlave, mount.PropagationRSlave:
			out = "rslave"
		}
	}
	return out
}

// covered reports whether one of the user's mounts is at p.
func covered(mounts []settings.Mount, p string) bool {
	return slices.ContainsFunc(mounts, func(m settings.Mount) bool { return m.Destination == path.Clean(p) })
}
