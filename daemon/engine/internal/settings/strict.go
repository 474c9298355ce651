package settings

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

// What this file refuses, Docker takes at create and trips over, or passes over in silence, at start. A request that can
// never work is answered when it is made.

// maxID is the largest number of a user or a group.
const maxID = 1<<31 - 1

// maxCells bounds a terminal's width and height.
const maxCells = 1<<16 - 1

// maxParent bounds the path of a container's parent control group: with the container's own below it, and the mount point
// before it, it is to fit into the 4,096 bytes that the kernel takes for a path.
const maxParent = 3000

// checkUser refuses numbers that no user or group has. Names are looked up at the start, in the container's own files.
func checkUser(user string) error {
	who, group, grouped := strings.Cut(user, ":")
	if strings.Contains(group, ":") || grouped && user == ":" {
		return refuse("invalid user %q: want user[:group]", user)
	}
	for _, s := range []string{who, group} {
		if err := checkID(s); err != nil {
			return err
		}
	}
	return nil
}

func checkID(s string) error {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && (n < 0 || n > maxID) || errorsRange(err) {
		return refuse("user or group %s: uids and gids must be in range 0-%d", s, maxID)
	}
	return nil
}

// errorsRange reports a number that does not fit, as opposed to a name.
func errorsRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// checkPort refuses a protocol that does not exist: the published types take any word.
func checkPort(p network.Port) error {
	switch p.Proto() {
	case network.TCP, network.UDP, network.SCTP:
		return nil
	}
	return refuse("invalid port %s: invalid proto: %s: want tcp, udp or sctp", p, p.Proto())
}

// labelKinds are the parts of an SELinux label.
var labelKinds = [...]string{"disable", "user", "role", "level", "type", "filetype", "nested"}

// checkStrict looks at what the other checks leave to the kernel. It runs after them.
func checkStrict(c *container.Config, h *container.HostConfig) error {
	if err := checkUser(c.User); err != nil {
		return err
	}
	for _, g := range h.GroupAdd {
		if g == "" || strings.ContainsAny(g, ":\n\r\x00") {
			return refuse("invalid group %q", g)
		}
		if err := checkID(g); err != nil {
			return err
		}
	}
	for p := range c.ExposedPorts {
		if err := checkPort(p); err != nil {
			return err
		}
	}
	for p := range h.PortBindings {
		if err := checkPort(p); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		name  string
		paths []string
	}{{"masked", h.MaskedPaths}, {"read-only", h.ReadonlyPaths}} {
		for _, p := range list.paths {
			if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
				return refuse("invalid %s path %q: want an absolute path", list.name, p)
			}
		}
	}
	if p := h.CgroupParent; strings.ContainsAny(p, "\n\r\x00") || slices.Contains(strings.Split(p, "/"), "..") {
		return refuse("invalid cgroup-parent %q: want a path without '..'", p)
	}
	if p := h.CgroupParent; len(p) > maxParent || slices.ContainsFunc(strings.Split(p, "/"), func(part string) bool { return len(part) > 255 }) {
		return refuse("invalid cgroup-parent of %d bytes: a name in it may have 255, the whole %d", len(p), maxParent)
	}
	if h.Umask != nil && *h.Umask > 0o777 {
		return refuse("invalid umask %#o: want 0 to 0777", *h.Umask)
	}
	if s := h.ConsoleSize; max(s[0], s[1]) > maxCells {
		return refuse("invalid console size %dx%d: at most %d cells each way", s[1], s[0], maxCells)
	}
	if err := checkForWindows(&h.Resources); err != nil {
		return err
	}
	if err := checkDevices(&h.Resources); err != nil {
		return err
	}
	if s, err := ParseSecurity(h.SecurityOpt); err == nil && s.Seccomp != "" && s.Seccomp != SeccompUnconfined && !json.Valid([]byte(s.Seccomp)) {
		return refuse("Decoding seccomp profile failed: it is no JSON: clients send what is in the file, not its name")
	}
	for _, o := range h.SecurityOpt {
		if label, ok := strings.CutPrefix(o, "label"); ok && len(label) > 1 {
			if kind, _, _ := strings.Cut(label[1:], ":"); !slices.Contains(labelKinds[:], kind) {
				return refuse("bad label option %q, valid options 'disable' or 'user, role, level, type, filetype' followed by ':' and a value", label[1:])
			}
		}
	}
	for _, m := range h.Mounts {
		if !slices.Contains([]mount.Consistency{"", mount.ConsistencyDefault, mount.ConsistencyFull, mount.ConsistencyCached, mount.ConsistencyDelegated}, m.Consistency) {
			return refuse("invalid mount config for type %q: invalid consistency: %s", m.Type, m.Consistency)
		}
		if o := m.VolumeOptions; o != nil && o.DriverConfig != nil && o.DriverConfig.Name != "" && o.DriverConfig.Name != "local" {
			return noVolumeDriver(o.DriverConfig.Name)
		}
	}
	return nil
}

// noVolumeDriver is in Docker's words and not of kind NotFound: clients take that for a missing image, and pull.
func noVolumeDriver(name string) error {
	return refuse("error looking up volume plugin %s: plugin %q not found: use the driver local", name, name)
}

// checkForWindows refuses what only containers on Windows have.
func checkForWindows(r *container.Resources) error {
	for name, set := range map[string]bool{"CpuCount": r.CPUCount != 0, "CpuPercent": r.CPUPercent != 0,
		"IOMaximumIOps": r.IOMaximumIOps != 0, "IOMaximumBandwidth": r.IOMaximumBandwidth != 0} {
		if set {
			return refuse("Invalid QoS settings: linux does not support %s", name)
		}
	}
	return nil
}

// isDeviceRule accepts a line of the devices controller: kind, major:minor, access.
func isDeviceRule(rule string) bool {
	parts := strings.Split(rule, " ")
	if len(parts) != 3 || !slices.Contains([]string{"a", "b", "c"}, parts[0]) || !isAccess(parts[2]) {
		return false
	}
	major, minor, two := strings.Cut(parts[1], ":")
	for _, n := range []string{major, minor} {
		if _, err := strconv.ParseUint(n, 10, 32); err != nil && n != "*" {
			return false
		}
	}
	return two
}

// isAccess accepts one to three letters of rwm.
func isAccess(s string) bool { return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "rwm") == "" }

func checkDevices(r *container.Resources) error {
	for _, d := range r.Devices {
		switch {
		case d.PathOnHost == "" || strings.ContainsRune(d.PathOnHost+d.PathInContainer, 0):
			return refuse("bad device specification %q: want the path of a device on the host", d.PathOnHost)
		case d.PathInContainer != "" && !path.IsAbs(d.PathInContainer):
			return refuse("bad device specification %q: its path in the container %q is not absolute", d.PathOnHost, d.PathInContainer)
		case d.CgroupPermissions != "" && !isAccess(d.CgroupPermissions):
			return refuse("bad device specification %q: invalid device mode: %s: want letters of rwm", d.PathOnHost, d.CgroupPermissions)
		}
	}
	for _, rule := range r.DeviceCgroupRules {
		if !isDeviceRule(rule) {
			return refuse("invalid device cgroup rule format: '%s'", rule)
		}
	}
	for _, w := range r.BlkioWeightDevice {
		if w == nil || !path.IsAbs(w.Path) || w.Weight != 0 && (w.Weight < 10 || w.Weight > 1000) {
			return refuse("invalid weight of a block device: want its absolute path and 10 to 1000")
		}
	}
	for _, t := range slices.Concat(r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps) {
		if t == nil || !path.IsAbs(t.Path) {
			return refuse("invalid limit of a block device: want its absolute path")
		}
	}
	return nil
}

// CheckEndpoints refuses addresses where there are none to choose, or of the wrong family, links that are none, and options of drivers
// in what is asked for of networks.
func CheckEndpoints(mode container.NetworkMode, endpoints map[string]*network.EndpointSettings) error {
	for name, e := range endpoints {
		if e == nil {
			continue
		}
		if (mode.IsContainer() || mode.IsHost()) && len(e.MacAddress) > 0 {
			return refuse("conflicting options: mac-address and the network mode")
		}
		for option := range e.DriverOpts {
			return errkind.New(errkind.Unsupported, "endpoint option %q in DriverOpts is not supported: create the container without it", option)
		}
		for _, link := range e.Links {
			if _, err := ParseLink(link); err != nil {
				return err
			}
		}
		if e.IPAMConfig == nil {
			continue
		}
		if a := e.IPAMConfig.IPv4Address; a.IsValid() && !a.Is4() {
			return refuse("invalid endpoint settings for network %s: invalid IPv4 address: %s", name, a)
		}
		if a := e.IPAMConfig.IPv6Address; a.IsValid() && (!a.Is6() || a.Is4In6()) {
			return refuse("invalid endpoint settings for network %s: invalid IPv6 address: %s", name, a)
		}
		if c := e.IPAMConfig; !container.NetworkMode(name).IsUserDefined() && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
			return refuse("invalid config for network %s: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only", name)
		}
	}
	return nil
}

// checkTmpfsParam checks the value of one of tmpfs's parameters.
func checkTmpfsParam(name, value string) bool {
	switch name {
	case "size":
		if percent, ok := strings.CutSuffix(value, "%"); ok {
			_, err := strconv.ParseUint(percent, 10, 16)
			return err == nil
		}
		n, err := units.RAMInBytes(value)
		return err == nil && n >= 0
	case "mode":
		_, err := strconv.ParseUint(value, 8, 12)
		return err == nil
	case "uid", "gid":
		_, err := strconv.ParseUint(value, 10, 31)
		return err == nil
	case "nr_inodes", "nr_blocks":
		_, err := units.RAMInBytes(value)
		return err == nil
	}
	return true
}

// CheckExec refuses what no process can be started with: words with a zero byte, variables without a name, a relative
// working directory, a user or a terminal beyond all bounds.
func CheckExec(r *container.ExecCreateRequest) error {
	for _, v := range slices.Concat(r.Cmd, r.Env, []string{r.WorkingDir}) {
		if strings.ContainsRune(v, 0) {
			return refuse("invalid exec: a word holds a zero byte")
		}
	}
	for _, e := range r.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			return refuse("invalid environment variable: %s", e)
		}
	}
	if s := r.ConsoleSize; s != nil && max(s[0], s[1]) > maxCells {
		return refuse("invalid console size %dx%d: at most %d cells each way", s[1], s[0], maxCells)
	}
	return checkUser(r.User)
}
