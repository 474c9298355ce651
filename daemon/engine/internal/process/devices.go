package process

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/cgroup"
	"pier/kernel/fsinfo"
	"pier/lib/errkind"
)

// devices lists the nodes to make besides the runtime's own and completes the cgroup's rules: nothing but what is
// listed, or everything for a privileged container.
func devices(h *container.HostConfig, r *specs.LinuxResources) ([]specs.LinuxDevice, error) {
	if h.Privileged {
		r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}
		return hostDevices(), nil
	}
	r.Devices = defaultRules()
	var nodes []specs.LinuxDevice
	for _, m := range h.Devices {
		list, err := mapping(m)
		if err != nil {
			return nil, err
		}
		access := m.CgroupPermissions
		if access == "" {
			access = "rwm"
		}
		if strings.Trim(access, "rwm") != "" {
			return nil, errkind.New(errkind.Invalid, "invalid device mode: %s", access)
		}
		for _, n := range list {
			nodes = append(nodes, n)
			r.Devices = append(r.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &n.Major, Minor: &n.Minor, Access: access})
		}
	}
	for _, s := range h.DeviceCgroupRules {
		rule, err := cgroup.ParseDevice(s)
		if err != nil {
			return nil, err
		}
		r.Devices = append(r.Devices, rule)
	}
	return nodes, nil
}

// defaultRules allow null, zero, full, random, urandom, tty, console, ptmx and pseudo-terminals, and making any node
// (which is not the same as opening it).
func defaultRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Type: "a", Access: "rwm"}}
	allow := func(kind string, major, minor int64, access string) {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access})
	}
	allow("c", -1, -1, "m")
	allow("b", -1, -1, "m")
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, -1}} {
		allow("c", d[0], d[1], "rwm")
	}
	return rules
}

// mapping resolves one --device: a node, or a folder of nodes.
func mapping(m container.DeviceMapping) ([]specs.LinuxDevice, error) {
	host, inside := path.Clean(m.PathOnHost), path.Clean(m.PathInContainer)
	if m.PathInContainer == "" {
		inside = host
	}
	if !path.IsAbs(host) || !path.IsAbs(inside) {
		return nil, errkind.New(errkind.Invalid, "invalid device mapping %q: paths must be absolute", m.PathOnHost)
	}
	info, err := os.Stat(host)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "error gathering device information while adding custom device %q: no such file or directory", m.PathOnHost)
	}
	if !info.IsDir() {
		d, err := stat(host)
		d.Path = inside
		return []specs.LinuxDevice{d}, err
	}
	var out []specs.LinuxDevice
	err = filepath.WalkDir(host, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type()&os.ModeDevice != 0 {
			if d, err := stat(p); err == nil {
				d.Path = inside + strings.TrimPrefix(p, host)
				out = append(out, d)
			}
		}
		return nil // nodes come and go while we look
	})
	return out, err
}

// hostDevices are all of /dev, but for what every container has of its own.
func hostDevices() []specs.LinuxDevice {
	var out []specs.LinuxDevice
	own := map[string]bool{"/dev/pts": true, "/dev/shm": true, "/dev/fd": true, "/dev/mqueue": true, "/dev/.lxc": true,
		"/dev/.lxd-mounts": true, "/dev/.udev": true}
	standard := map[string]bool{"/dev/null": true, "/dev/zero": true, "/dev/full": true, "/dev/random": true,
		"/dev/urandom": true, "/dev/tty": true, "/dev/console": true, "/dev/ptmx": true}
	_ = filepath.WalkDir("/dev", func(p string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
		case e.IsDir() && own[p]:
			return filepath.SkipDir
		case e.Type()&os.ModeDevice != 0 && !standard[p]:
			if d, err := stat(p); err == nil {
				out = append(out, d)
			}
		}
		return nil
	})
	return out
}

func stat(p string) (specs.LinuxDevice, error) {
	info, err := os.Stat(p)
	if err != nil {
		return specs.LinuxDevice{}, errkind.New(errkind.Invalid, "error gathering device information while adding custom device %q: %w", p, err)
	}
	d, _ := fsinfo.Details(info)
	if info.Mode()&os.ModeDevice == 0 {
		return specs.LinuxDevice{}, errkind.New(errkind.Invalid, "error gathering device information while adding custom device %q: not a device node", p)
	}
	kind := "b"
	if info.Mode()&os.ModeCharDevice != 0 {
		kind = "c"
	}
	mode, uid, gid := info.Mode().Perm(), uint32(d.UID), uint32(d.GID)
	return specs.LinuxDevice{Path: p, Type: kind, FileMode: &mode, UID: &uid, GID: &gid,
		Major: int64(fsinfo.Major(d.Rdev)), Minor: int64(fsinfo.Minor(d.Rdev))}, nil
}
