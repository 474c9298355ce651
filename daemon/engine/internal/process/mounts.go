package process

import (
	"fmt"
	"os"
	"slices"

	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/settings"
)

// mounts lists Docker's own and then the user's, which take the place of those at the same destination.
func mounts(in Input, sec settings.Security) ([]specs.Mount, error) {
	h := in.Host
	sys, cgroup := "ro", "ro"
	if h.Privileged {
		sys, cgroup = "rw", "rw"
	}
	if sec.WritableCgroups {
		cgroup = "rw"
	}
	cgroups := []string{cgroup, "nosuid", "noexec", "nodev"}
	if sec.Systemd && cgroup == "ro" {
		cgroups = append(cgroups, shim.DelegateOption)
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sys}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cgroups},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	switch {
	case h.IpcMode.IsNone():
	case h.IpcMode.IsHost():
		list = append(list, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "nosuid", "noexec", "nodev", "rw"}})
		list = slices.DeleteFunc(list, func(m specs.Mount) bool { return m.Destination == "/dev/mqueue" })
		if _, err := os.Stat("/dev/mqueue"); err == nil {
			list = append(list, specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev", "rw"}})
		}
	case in.Shm != "":
		list = append(list, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.Shm, Options: []string{"rbind", "nosuid", "noexec", "nodev", "rw"}})
	default:
		list = append(list, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", h.ShmSize)}})
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		if m.Destination == "/dev/shm" || m.Destination == "/dev/mqueue" || m.Destination == "/dev" || m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup" {
			return covered(in.Mounts, m.Destination)
		}
		return false
	})
	for _, m := range in.Mounts {
		list = append(list, userMount(m))
	}
	for _, dest := range []string{"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"} {
		if src := in.Files[dest]; src != "" && !covered(in.Mounts, dest) {
			options := []string{"rbind", "rprivate", "rw"}
			if h.ReadonlyRootfs {
				options[2] = "ro"
			}
			list = append(list, specs.Mount{Destination: dest, Type: "bind", Source: src, Options: options})
		}
	}
	return list, nil
}

func userMount(m settings.Mount) specs.Mount {
	if m.Type == mount.TypeTmpfs {
		options := []string{"noexec", "nosuid", "nodev"} // Docker's defaults; what the user says comes later and wins
		for _, o := range m.Options {
			if o != "defaults" {
				options = append(options, o)
			}
		}
		return specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: options}
	}
	bind := "rbind"
	if m.NonRecursive {
		bind = "bind"
	}
	options := []string{bind}
	switch {
	case m.RW:
		options = append(options, "rw")
	case m.ReadOnlyTop:
		options = append(options, "ro")
	default:
		options = append(options, "ro", "rro") // where the kernel can, also what is mounted below the source
	}
	if m.Propagation != "" {
		options = append(options, string(m.Propagation))
	} else {
		options = append(options, string(mount.PropagationRPrivate))
	}
	if m.Subpath != "" {
		options = append(options, shim.SubpathOption+m.Subpath)
	}
	return specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: options}
}
