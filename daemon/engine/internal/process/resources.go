package process

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// resources is what the cgroup bounds. The device rules are completed by devices.
func resources(h *container.HostConfig) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{
		Memory: memory(&h.Resources),
		CPU:    cpu(&h.Resources),
	}
	if p := h.PidsLimit; p != nil && *p > 0 {
		r.Pids = &specs.LinuxPids{Limit: p}
	}
	io, err := blockIO(&h.Resources)
	if err != nil {
		return nil, err
	}
	r.BlockIO = io
	return r, nil
}

// Limits is what the cgroup of a container that runs bounds from now on: all that may change.
func Limits(h *container.HostConfig) (*specs.LinuxResources, error) {
	r, err := resources(h)
	if err != nil {
		return nil, err
	}
	if p := h.PidsLimit; p != nil && *p <= 0 {
		none := int64(-1)
		r.Pids = &specs.LinuxPids{Limit: &none}
	}
	return r, nil
}

func memory(r *container.Resources) *specs.LinuxMemory {
	var m specs.LinuxMemory
	if r.Memory > 0 {
		m.Limit = &r.Memory
	}
	if r.MemorySwap != 0 {
		m.Swap = &r.MemorySwap
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if s := r.MemorySwappiness; s != nil && *s >= 0 {
		v := uint64(*s)
		m.Swappiness = &v
	}
	if d := r.OomKillDisable; d != nil && *d {
		m.DisableOOMKiller = d
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}

func cpu(r *container.Resources) *specs.LinuxCPU {
	c := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares > 0 {
		v := uint64(r.CPUShares)
		c.Shares = &v
	}
	if r.NanoCPUs > 0 {
		period := uint64(100000) // microseconds
		quota := r.NanoCPUs * int64(period) / 1e9
		c.Period, c.Quota = &period, &quota
	}
	if r.CPUPeriod != 0 {
		v := uint64(r.CPUPeriod)
		c.Period = &v
	}
	if r.CPUQuota != 0 {
		c.Quota = &r.CPUQuota
	}
	if r.CPURealtimePeriod != 0 {
		v := uint64(r.CPURealtimePeriod)
		c.RealtimePeriod = &v
	}
	if r.CPURealtimeRuntime != 0 {
		c.RealtimeRuntime = &r.CPURealtimeRuntime
	}
	if c == (specs.LinuxCPU{}) {
		return nil
	}
	return &c
}

func blockIO(r *container.Resources) (*specs.LinuxBlockIO, error) {
	var b specs.LinuxBlockIO
	if r.BlkioWeight > 0 {
		b.Weight = &r.BlkioWeight
	}
	for _, w := range r.BlkioWeightDevice {
		d, err := stat(w.Path)
		if err != nil {
			return nil, err
		}
		dev := specs.LinuxWeightDevice{Weight: &w.Weight}
		dev.Major, dev.Minor = d.Major, d.Minor
		b.WeightDevice = append(b.WeightDevice, dev)
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, f := range t.from {
			d, err := stat(f.Path)
			if err != nil {
				return nil, err
			}
			dev := specs.LinuxThrottleDevice{Rate: f.Rate}
			dev.Major, dev.Minor = d.Major, d.Minor
			*t.to = append(*t.to, dev)
		}
	}
	if b.Weight == nil && b.WeightDevice == nil && b.ThrottleReadBpsDevice == nil && b.ThrottleWriteBpsDevice == nil &&
		b.ThrottleReadIOPSDevice == nil && b.ThrottleWriteIOPSDevice == nil {
		return nil, nil
	}
	return &b, nil
}
