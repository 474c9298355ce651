package settings

import (
	"github.com/moby/moby/api/types/container"

	"pier/lib/errkind"
)

// Update changes the settings of a container that exists: the limits that u names (zero and nil stay as they are) and,
// where it has a name, the restart policy. h is the caller's to keep after an error too: it is then half changed. What a
// living cgroup cannot change is refused by name, never ignored.
func Update(h *container.HostConfig, u container.UpdateConfig, host Host) (warnings []string, err error) {
	if err := unchangeable(&u.Resources); err != nil {
		return nil, err
	}
	if err := conflicts(&h.Resources, &u.Resources); err != nil {
		return nil, err
	}
	to := &h.Resources
	setChanged(&to.BlkioWeight, u.BlkioWeight)
	setChanged(&to.CPUShares, u.CPUShares)
	setChanged(&to.NanoCPUs, u.NanoCPUs)
	setChanged(&to.CPUPeriod, u.CPUPeriod)
	setChanged(&to.CPUQuota, u.CPUQuota)
	setChanged(&to.CPURealtimePeriod, u.CPURealtimePeriod)
	setChanged(&to.CPURealtimeRuntime, u.CPURealtimeRuntime)
	setChanged(&to.CpusetCpus, u.CpusetCpus)
	setChanged(&to.CpusetMems, u.CpusetMems)
	setChanged(&to.Memory, u.Memory)
	setChanged(&to.MemorySwap, u.MemorySwap)
	setChanged(&to.MemoryReservation, u.MemoryReservation)
	setChanged(&to.PidsLimit, u.PidsLimit)
	if u.RestartPolicy.Name == "" && u.RestartPolicy.MaximumRetryCount != 0 {
		return nil, refuse("invalid restart policy: maximum retry count can only be used with 'on-failure'")
	}
	if u.RestartPolicy.Name != "" {
		if h.AutoRemove && !u.RestartPolicy.IsNone() {
			return nil, errkind.New(errkind.Conflict, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		if err := checkRestart(u.RestartPolicy); err != nil {
			return nil, err
		}
		h.RestartPolicy = u.RestartPolicy
	}
	return checkResources(to, host)
}

func setChanged[T comparable](to *T, value T) {
	var zero T
	if value != zero {
		*to = value
	}
}

// conflicts refuses what does not go with a limit that the container has already.
func conflicts(have, want *container.Resources) error {
	conflict := func(why string) error { return errkind.New(errkind.Conflict, "%s", why) }
	switch {
	case want.NanoCPUs > 0 && have.CPUPeriod > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case want.NanoCPUs > 0 && have.CPUQuota > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case want.CPUPeriod > 0 && have.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case want.CPUQuota > 0 && have.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case want.Memory > have.MemorySwap && have.MemorySwap > 0 && want.MemorySwap == 0:
		return conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	return nil
}

// unchangeable refuses what a container keeps as it was created.
func unchangeable(r *container.Resources) error {
	if err := checkForWindows(r); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"CgroupParent", r.CgroupParent != ""}, {"BlkioWeightDevice", len(r.BlkioWeightDevice) > 0},
		{"BlkioDeviceReadBps", len(r.BlkioDeviceReadBps) > 0}, {"BlkioDeviceWriteBps", len(r.BlkioDeviceWriteBps) > 0},
		{"BlkioDeviceReadIOps", len(r.BlkioDeviceReadIOps) > 0}, {"BlkioDeviceWriteIOps", len(r.BlkioDeviceWriteIOps) > 0},
		{"Devices", len(r.Devices) > 0}, {"DeviceCgroupRules", len(r.DeviceCgroupRules) > 0},
		{"DeviceRequests", len(r.DeviceRequests) > 0}, {"MemorySwappiness", r.MemorySwappiness != nil && *r.MemorySwappiness != -1},
		{"OomKillDisable", r.OomKillDisable != nil && *r.OomKillDisable}, {"Ulimits", len(r.Ulimits) > 0},
	} {
		if f.set {
			return errkind.New(errkind.Unsupported, "%s cannot be updated: create the container anew with it", f.name)
		}
	}
	return nil
}
