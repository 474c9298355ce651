package oci

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/runtime/oci/internal/schedule"
)

func (t *task) ioPriority(p *specs.LinuxIOPriority) error {
	priority, err := schedule.IOPriority(p)
	if err != nil {
		return t.fail("ioprio_set", string(p.Class), err)
	}
	const who = 1 // IOPRIO_WHO_PROCESS
	t.Add("ioprio_set", string(p.Class), unix.SYS_IOPRIO_SET, spawn.Int(who), spawn.Int(0), spawn.Int(priority))
	return nil
}

func (t *task) scheduler(p *specs.Scheduler) error {
	a, err := schedule.Attributes(p)
	if err != nil {
		return t.fail("sched_setattr", string(p.Policy), err)
	}
	t.Add("sched_setattr", string(p.Policy), unix.SYS_SCHED_SETATTR, spawn.Int(0), spawn.Pointer(t.List, a), spawn.Int(0))
	return nil
}

// personality sets what kind of machine the process is to see.
func (t *task) personality(p *specs.LinuxPersonality) error {
	domain, err := schedule.Personality(p)
	if err != nil {
		return t.fail("personality", string(p.Domain), err)
	}
	t.Add("personality", string(p.Domain), unix.SYS_PERSONALITY, spawn.Int(domain))
	return nil
}

// memoryPolicy says from which memory nodes the process gets its memory.
func (t *task) memoryPolicy(p *specs.LinuxMemoryPolicy) error {
	mode, nodes, err := schedule.MemoryPolicy(p)
	if err != nil {
		return t.fail("set_mempolicy", string(p.Mode), err)
	}
	const spare = 1 // the kernel looks at one bit less than it is told
	t.Add("set_mempolicy", string(p.Mode), unix.SYS_SET_MEMPOLICY, spawn.Int(mode), spawn.Slice(t.List, nodes), spawn.Int(len(nodes)*64+spare))
	return nil
}

// MemoryPolicies lists the modes and flags of memory policies that are known, sorted.
func MemoryPolicies() (modes, flags []string) { return schedule.MemoryPolicies() }

// affinity adds that the process runs only on the CPUs of list, if it is not empty. The kernel takes from it those that
// the process's cgroup has. At first that may be none: on v2 the process is born in its cgroup.
func (t *task) affinity(list string, first bool) error {
	cpus, err := schedule.Set(list)
	if err != nil {
		return t.fail("sched_setaffinity", list, err)
	}
	if len(cpus) > 0 {
		call := t.Add("sched_setaffinity", list, unix.SYS_SCHED_SETAFFINITY, spawn.Int(0), spawn.Int(len(cpus)*8), spawn.Slice(t.List, cpus))
		if first {
			call.Tolerate(unix.EINVAL)
		}
	}
	return nil
}
