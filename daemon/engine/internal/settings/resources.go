package settings

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

const minMemory = 6 << 20 // bytes; less cannot hold a process and its page tables

func checkResources(r *container.Resources, host Host) (warnings []string, err error) {
	if host.NoSwapLimit && r.Memory > 0 && r.MemorySwap != 0 && r.MemorySwap != -1 {
		warnings = append(warnings, "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.")
		r.MemorySwap = -1
	}
	switch {
	case r.Memory < 0, r.Memory > 0 && r.Memory < minMemory:
		return nil, refuse("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return nil, refuse("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0:
		return nil, refuse("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwap < -1:
		return nil, refuse("Invalid value: %d, the memoryswap limit is a number of bytes, or -1 for no limit", r.MemorySwap)
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return nil, refuse("Invalid value: %v, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation < 0, r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return nil, refuse("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return nil, refuse("Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return nil, refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return nil, refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(host.CPUs)*1e9:
		return nil, refuse("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", host.CPUs)
	case r.NanoCPUs > 0 && r.NanoCPUs < 1e7:
		return nil, refuse("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", host.CPUs)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return nil, refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota < -1, r.CPUQuota > 0 && r.CPUQuota < 1000:
		return nil, refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.CPUShares < 0:
		return nil, refuse("Invalid value: %d, CPU shares cannot be negative", r.CPUShares)
	case r.PidsLimit != nil && *r.PidsLimit < -1:
		return nil, refuse("Invalid value: %d, the PIDs limit is a number of processes, or -1 for no limit", *r.PidsLimit)
	case r.BlkioWeight != 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return nil, refuse("Range of blkio weight is from 10 to 1000")
	case (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !host.Realtime:
		return nil, refuse("Your kernel does not support CPU real-time scheduler: it needs cgroup v1 and CONFIG_RT_GROUP_SCHED; create the container without --cpu-rt-period and --cpu-rt-runtime")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return nil, refuse("cpu real-time runtime cannot be higher than cpu real-time period")
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	if err := checkCPUSet("cpus", r.CpusetCpus, host.CPUs); err != nil {
		return nil, err
	}
	if err := checkCPUSet("mems", r.CpusetMems, cmp.Or(host.MemNodes, 1<<10)); err != nil {
		return nil, err
	}
	for _, u := range r.Ulimits {
		if u == nil {
			return nil, refuse("invalid ulimit: null")
		}
		if _, err := u.GetRlimit(); err != nil {
			return nil, refuse("%w", err)
		}
		if u.Soft > u.Hard && u.Hard != -1 {
			return nil, refuse("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	if r.CPUShares > 0 {
		r.CPUShares = min(max(r.CPUShares, 2), 262144) // the kernel's own bounds
	}
	return warnings, nil
}

// checkCPUSet reads "0-2,4" without ever building the set: a huge number must cost nothing.
func checkCPUSet(what, s string, n int) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		lo, err1 := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || lo < 0 || hi < lo {
			return refuse("Invalid value %s for cpuset %s: invalid format: %s", s, what, part)
		}
		if hi >= n {
			kind := "CPUs"
			if what == "mems" {
				kind = "memory nodes"
			}
			return refuse("Requested %s are not available - requested %s, available: 0-%d", kind, s, n-1)
		}
	}
	return nil
}
