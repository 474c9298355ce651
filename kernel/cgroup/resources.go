package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// set applies r and, where not nil, the device rules. The library's answers are turned into ours.
func (c *Cgroup) set(r *specs.LinuxResources, rules []*devices.Rule) error {
	if err := c.refuse(r); err != nil {
		return err
	}
	out, err := convert(r)
	if err != nil {
		return err
	}
	if rules == nil {
		out.SkipDevices = true
	}
	out.Devices = rules
	if !c.unified && len(r.Unified) > 0 {
		return errkind.New(errkind.Unsupported, "limit cgroup %s: keys of cgroup v2 (%d) mean nothing on this machine's v1", c.path, len(r.Unified))
	}
	if c.unified {
		out.Unified = r.Unified
		if out.CpuShares != 0 {
			out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(out.CpuShares)
		}
	}
	err = c.manager.Set(out)
	var file *fs.PathError
	if errors.Is(err, unix.EINVAL) && errors.As(err, &file) && filepath.Base(file.Path) == "cpu.rt_runtime_us" {
		return errkind.New(errkind.Invalid, "limit cgroup %s: the kernel refuses the real-time CPU time, which comes out of that of the cgroup above: a new one has none, raise its cpu.rt_runtime_us first: %w", c.path, err)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EBUSY) {
		return errkind.New(errkind.Invalid, "limit cgroup %s: the kernel refuses the value: %w", c.path, err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errkind.New(errkind.Unsupported, "limit cgroup %s: the kernel cannot do that here (the weight of a block device needs the device's I/O scheduler bfq): %w", c.path, err)
	}
	if err != nil {
		return fmt.Errorf("limit cgroup %s: %w", c.path, err)
	}
	return nil
}

// convert maps the OCI runtime specification's "resources" to the library's, field by field.
func convert(r *specs.LinuxResources) (*cgroups.Resources, error) {
	out := &cgroups.Resources{}
	if m := r.Memory; m != nil {
		out.Memory = value(m.Limit)
		out.MemoryReservation = value(m.Reservation)
		out.MemorySwap = value(m.Swap)
		out.MemorySwappiness = m.Swappiness
		out.OomKillDisable = value(m.DisableOOMKiller)
		out.MemoryCheckBeforeUpdate = value(m.CheckBeforeUpdate)
	}
	if c := r.CPU; c != nil {
		out.CpuShares = value(c.Shares)
		out.CpuQuota = value(c.Quota)
		out.CpuBurst = c.Burst
		out.CpuPeriod = value(c.Period)
		out.CpuRtRuntime = value(c.RealtimeRuntime)
		out.CpuRtPeriod = value(c.RealtimePeriod)
		out.CpusetCpus = c.Cpus
		out.CpusetMems = c.Mems
		out.CPUIdle = c.Idle
	}
	if r.Pids != nil {
		out.PidsLimit = r.Pids.Limit
	}
	if b := r.BlockIO; b != nil {
		out.BlkioWeight = value(b.Weight)
		out.BlkioLeafWeight = value(b.LeafWeight)
		for _, d := range b.WeightDevice {
			out.BlkioWeightDevice = append(out.BlkioWeightDevice,
				cgroups.NewWeightDevice(d.Major, d.Minor, value(d.Weight), value(d.LeafWeight)))
		}
		out.BlkioThrottleReadBpsDevice = throttle(b.ThrottleReadBpsDevice)
		out.BlkioThrottleWriteBpsDevice = throttle(b.ThrottleWriteBpsDevice)
		out.BlkioThrottleReadIOPSDevice = throttle(b.ThrottleReadIOPSDevice)
		out.BlkioThrottleWriteIOPSDevice = throttle(b.ThrottleWriteIOPSDevice)
	}
	for _, h := range r.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	for name, limit := range r.Rdma {
		if out.Rdma == nil {
			out.Rdma = make(map[string]cgroups.LinuxRdma)
		}
		out.Rdma[name] = cgroups.LinuxRdma{HcaHandles: limit.HcaHandles, HcaObjects: limit.HcaObjects}
	}
	if n := r.Network; n != nil {
		out.NetClsClassid = value(n.ClassID)
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	for _, d := range r.Devices {
		if err := checkDevice(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func throttle(in []specs.LinuxThrottleDevice) []*cgroups.ThrottleDevice {
	var out []*cgroups.ThrottleDevice
	for _, d := range in {
		out = append(out, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
	}
	return out
}

func checkDevice(d specs.LinuxDeviceCgroup) error {
	switch d.Type {
	case "", "a", "b", "c":
	default:
		return errkind.New(errkind.Invalid, "device rule: type %q is none of a, b, c", d.Type)
	}
	if !devices.Permissions(d.Access).IsValid() || d.Access == "" {
		return errkind.New(errkind.Invalid, "device rule: access %q is no combination of r, w, m in that order", d.Access)
	}
	return nil
}

// deviceRules puts the given rules between "nothing" and what the runtime specification wants in every container. The
// last rule that matches a device decides.
func deviceRules(given []specs.LinuxDeviceCgroup) []*devices.Rule {
	rules := []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"}}
	for _, d := range given {
		kind := devices.WildcardDevice
		if d.Type != "" {
			kind = devices.Type(d.Type[0])
		}
		rules = append(rules, &devices.Rule{
			Type: kind, Major: number(d.Major), Minor: number(d.Minor),
			Permissions: devices.Permissions(d.Access), Allow: d.Allow,
		})
	}
	for i := range alwaysAllowed {
		rule := alwaysAllowed[i]
		rules = append(rules, &rule)
	}
	return rules
}

// allow sets the device rules of a new v1 cgroup, where they only allow one thing after the other (any but a user's odd
// ones), in a tenth of the time that a comparison with the old rules takes. Where it reports false, that has to be done.
func (c *Cgroup) allow(rules []*devices.Rule) bool {
	dir := c.byName["devices"]
	if dir == "" || writeFile(filepath.Join(dir, "devices.deny"), "a") != nil {
		return false
	}
	n, err := openFile(filepath.Join(dir, "devices.allow"), unix.O_WRONLY)
	if err != nil {
		return false
	}
	defer unix.Close(n)
	closed := true
	for _, r := range rules {
		everything := r.Type == devices.WildcardDevice && r.Major == devices.Wildcard && r.Minor == devices.Wildcard && r.Permissions == "rwm"
		if everything && !r.Allow && closed {
			continue // as it is
		}
		if !r.Allow || !everything && r.Type != devices.CharDevice && r.Type != devices.BlockDevice {
			return false
		}
		closed = false
		if _, err := unix.Write(n, []byte(r.CgroupString())); err != nil {
			return false
		}
	}
	return true
}

// alwaysAllowed: making any device node is harmless where opening it is not allowed; then the default devices of the
// runtime specification, whose drivers isolate their users from each other.
var alwaysAllowed = [...]devices.Rule{
	{Type: devices.CharDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
	{Type: devices.BlockDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
	{Type: devices.CharDevice, Major: 1, Minor: 3, Permissions: "rwm", Allow: true},                  // null
	{Type: devices.CharDevice, Major: 1, Minor: 5, Permissions: "rwm", Allow: true},                  // zero
	{Type: devices.CharDevice, Major: 1, Minor: 7, Permissions: "rwm", Allow: true},                  // full
	{Type: devices.CharDevice, Major: 1, Minor: 8, Permissions: "rwm", Allow: true},                  // random
	{Type: devices.CharDevice, Major: 1, Minor: 9, Permissions: "rwm", Allow: true},                  // urandom
	{Type: devices.CharDevice, Major: 5, Minor: 0, Permissions: "rwm", Allow: true},                  // tty
	{Type: devices.CharDevice, Major: 5, Minor: 2, Permissions: "rwm", Allow: true},                  // ptmx
	{Type: devices.CharDevice, Major: 136, Minor: devices.Wildcard, Permissions: "rwm", Allow: true}, // pts/*
}

func number(n *int64) int64 {
	if n == nil {
		return devices.Wildcard
	}
	return *n
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// ParseDevice reads a rule in the form of docker's --device-cgroup-rule: "c 1:3 rwm", with * for any number.
func ParseDevice(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := errkind.New(errkind.Invalid, "invalid device cgroup format: '%s'", rule)
	fields := strings.Fields(rule)
	if len(fields) != 3 {
		return specs.LinuxDeviceCgroup{}, bad
	}
	d := specs.LinuxDeviceCgroup{Allow: true, Type: fields[0], Access: fields[2]}
	if err := checkDevice(d); err != nil {
		return specs.LinuxDeviceCgroup{}, err
	}
	major, minor, ok := strings.Cut(fields[1], ":")
	if !ok {
		return specs.LinuxDeviceCgroup{}, bad
	}
	for _, part := range []struct {
		text string
		to   **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		n := int64(devices.Wildcard)
		if part.text != "*" {
			parsed, err := strconv.ParseUint(part.text, 10, 32)
			if err != nil {
				return specs.LinuxDeviceCgroup{}, bad
			}
			n = int64(parsed)
		}
		*part.to = &n
	}
	return d, nil
}
