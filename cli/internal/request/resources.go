package request

import (
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// resources fills in limits and devices.
func (f *Container) resources(host *container.HostConfig) error {
	r := &host.Resources
	sizes := []struct {
		flag, value string
		target      *int64
	}{{"memory", f.memory, &r.Memory}, {"memory-reservation", f.memoryReservation, &r.MemoryReservation}, {"shm-size", f.shmSize, &host.ShmSize}}
	for _, s := range sizes {
		n, err := byteCount(s.flag, s.value)
		if err != nil {
			return err
		}
		*s.target = n
	}
	if f.memorySwap == "-1" {
		r.MemorySwap = -1
	} else if n, err := byteCount("memory-swap", f.memorySwap); err != nil {
		return err
	} else {
		r.MemorySwap = n
	}
	if f.memorySwappiness != -1 {
		if f.memorySwappiness < 0 || f.memorySwappiness > 100 {
			return invalid("invalid value: %d. Valid memory swappiness range is 0-100", f.memorySwappiness)
		}
		r.MemorySwappiness = &f.memorySwappiness
	}
	if f.cpus != "" {
		cpus, ok := new(big.Rat).SetString(f.cpus)
		if !ok {
			return invalid("failed to parse %q as a rational number of CPUs", f.cpus)
		}
		nano := cpus.Mul(cpus, big.NewRat(1e9, 1))
		if !nano.IsInt() || !nano.Num().IsInt64() {
			return invalid("value %q for --cpus is too precise", f.cpus)
		}
		r.NanoCPUs = nano.Num().Int64()
	}
	r.CPUShares, r.CPUPeriod, r.CPUQuota = f.cpuShares, f.cpuPeriod, f.cpuQuota
	r.CPURealtimePeriod, r.CPURealtimeRuntime = f.cpuRTPeriod, f.cpuRTRuntime
	r.CpusetCpus, r.CpusetMems = f.cpusetCPUs, f.cpusetMems
	r.BlkioWeight, r.CgroupParent = f.blkioWeight, f.cgroupParent
	if f.changed("pids-limit") {
		r.PidsLimit = &f.pidsLimit
	}
	if f.changed("oom-kill-disable") {
		r.OomKillDisable = &f.oomKillDisable
	}
	for _, u := range f.ulimits {
		limit, err := units.ParseUlimit(u)
		if err != nil {
			return invalid("invalid argument %q for --ulimit: %w", u, err)
		}
		r.Ulimits = append(slices.DeleteFunc(r.Ulimits, func(u *units.Ulimit) bool { return u.Name == limit.Name }), limit) // the last one counts
	}
	if err := f.blockIO.fill(r); err != nil {
		return err
	}
	r.DeviceCgroupRules = f.deviceRules
	if f.gpus != "" {
		request, err := parseGPUs(f.gpus)
		if err != nil {
			return err
		}
		r.DeviceRequests = append(r.DeviceRequests, request)
	}
	var described []string
	for _, d := range f.devices {
		if isDescribed(d) {
			described = append(described, d)
			continue
		}
		mapping, err := parseDevice(d)
		if err != nil {
			return err
		}
		r.Devices = append(r.Devices, mapping)
	}
	if len(described) > 0 {
		r.DeviceRequests = append(r.DeviceRequests, container.DeviceRequest{Driver: "cdi", DeviceIDs: described})
	}
	return nil
}

// parseDevice reads HOST[:CONTAINER][:rwm].
func parseDevice(s string) (container.DeviceMapping, error) {
	d := container.DeviceMapping{CgroupPermissions: "rwm"}
	parts := strings.Split(s, ":")
	permissions := func(p string) bool { return p != "" && strings.Trim(p, "rwm") == "" }
	switch {
	case len(parts) == 1:
	case len(parts) == 2 && permissions(parts[1]):
		d.CgroupPermissions = parts[1]
	case len(parts) == 2:
		d.PathInContainer = parts[1]
	case len(parts) == 3 && permissions(parts[2]):
		d.PathInContainer, d.CgroupPermissions = parts[1], parts[2]
	default:
		return d, invalid("invalid device specification: %s: expected HOST[:CONTAINER][:rwm]", s)
	}
	d.PathOnHost = parts[0]
	if d.PathInContainer == "" {
		d.PathInContainer = parts[0]
	}
	if !strings.HasPrefix(d.PathOnHost, "/") || !strings.HasPrefix(d.PathInContainer, "/") {
		return d, invalid("invalid device specification: %s: paths must be absolute", s)
	}
	return d, nil
}

// policy fills in restart, logs, security, sysctls and the rest.
func (f *Container) policy(host *container.HostConfig, env func(string) string) error {
	restart, err := parseRestart(f.restart)
	if err != nil {
		return err
	}
	if f.Remove && !restart.IsNone() {
		return invalid("conflicting options: cannot specify both --restart and --rm")
	}
	host.RestartPolicy = restart
	host.LogConfig = container.LogConfig{Type: f.logDriver}
	if len(f.logOpts) > 0 {
		if f.logDriver == "none" {
			return invalid("invalid logging opts for driver none")
		}
		host.LogConfig.Config = Map(f.logOpts)
	}
	if len(f.sysctls) > 0 {
		host.Sysctls = Map(f.sysctls)
	}
	if len(f.storageOpts) > 0 {
		host.StorageOpt = Map(f.storageOpts)
	}
	if len(f.annotations) > 0 {
		annotations, err := pairs("annotation", nil, f.annotations, nil)
		if err != nil {
			return err
		}
		host.Annotations = Map(annotations)
	}
	if f.changed("init") {
		host.Init = &f.init
	}
	if err := f.seldom.fill(host); err != nil {
		return err
	}
	return f.security(host)
}

// security reads --security-opt. A seccomp profile's file is sent, not its name; systempaths is a matter of two fields.
func (f *Container) security(host *container.HostConfig) error {
	for _, option := range f.securityOpts {
		key, value, ok := strings.Cut(option, "=")
		if !ok && option != "no-new-privileges" {
			if key, value, ok = strings.Cut(option, ":"); !ok {
				return invalid("invalid --security-opt: %q", option)
			}
		}
		switch {
		case key == "systempaths" && value == "unconfined":
			host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
			continue
		case key == "seccomp" && value != "unconfined" && value != "builtin":
			data, err := os.ReadFile(value)
			if err != nil {
				return invalid("opening seccomp profile (%s) failed: %w", value, err)
			}
			if !json.Valid(data) {
				return invalid("seccomp profile %s is not valid JSON", value)
			}
			option = "seccomp=" + string(data)
		}
		host.SecurityOpt = append(host.SecurityOpt, option)
	}
	return nil
}

// parseRestart reads NAME[:n]; which names there are is the daemon's business.
func parseRestart(s string) (container.RestartPolicy, error) {
	name, count, counted := strings.Cut(s, ":")
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if counted {
		n, err := strconv.Atoi(count)
		if err != nil {
			return p, invalid("invalid restart policy format: maximum retry count must be an integer, not %q", count)
		}
		p.MaximumRetryCount = n
	}
	return p, nil
}
