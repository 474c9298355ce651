package oci

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

func (t *task) ioPriority(p *specs.LinuxIOPriority) error {
	class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[p.Class]
	if !ok || p.Priority < 0 || p.Priority > 7 {
		return t.fail("ioprio_set", string(p.Class), errkind.New(errkind.Invalid, "unknown class, or priority outside 0 to 7"))
	}
	const who, shift = 1, 13 // IOPRIO_WHO_PROCESS, IOPRIO_CLASS_SHIFT
	t.Add("ioprio_set", string(p.Class), unix.SYS_IOPRIO_SET, spawn.Int(who), spawn.Int(0), spawn.Int(class<<shift|p.Priority))
	return nil
}

func (t *task) scheduler(p *specs.Scheduler) error {
	policy, ok := map[specs.LinuxSchedulerPolicy]uint32{specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2,
		specs.SchedBatch: 3, specs.SchedISO: 4, specs.SchedIdle: 5, specs.SchedDeadline: 6}[p.Policy]
	if !ok {
		return t.fail("sched_setattr", string(p.Policy), errkind.New(errkind.Invalid, "unknown policy"))
	}
	a := &unix.SchedAttr{Policy: policy, Nice: p.Nice, Priority: uint32(p.Priority), Runtime: p.Runtime, Deadline: p.Deadline, Period: p.Period}
	a.Size = uint32(unsafe.Sizeof(*a))
	flags := map[specs.LinuxSchedulerFlag]uint64{specs.SchedFlagResetOnFork: 1, specs.SchedFlagReclaim: 2, specs.SchedFlagDLOverrun: 4,
		specs.SchedFlagKeepPolicy: 8, specs.SchedFlagKeepParams: 16, specs.SchedFlagUtilClampMin: 32, specs.SchedFlagUtilClampMax: 64}
	for _, f := range p.Flags {
		bit, ok := flags[f]
		if !ok {
			return t.fail("sched_setattr", string(f), errkind.New(errkind.Invalid, "unknown flag"))
		}
		a.Flags |= bit
	}
	t.Add("sched_setattr", string(p.Policy), unix.SYS_SCHED_SETATTR, spawn.Int(0), spawn.Pointer(t.List, a), spawn.Int(0))
	return nil
}

// personality sets what kind of machine the process is to see.
func (t *task) personality(p *specs.LinuxPersonality) error {
	domain, ok := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}[p.Domain]
	if !ok || len(p.Flags) > 0 {
		return t.fail("personality", string(p.Domain), errkind.New(errkind.Invalid, "unknown domain or flags"))
	}
	t.Add("personality", string(p.Domain), unix.SYS_PERSONALITY, spawn.Int(domain))
	return nil
}

// The modes and flags of set_mempolicy(2).
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3,
		specs.MpolLocal: 4, specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{specs.MpolFNumaBalancing: 1 << 13, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFStaticNodes: 1 << 15}
)

// MemoryPolicies lists the modes and flags of memory policies that are known, sorted.
func MemoryPolicies() (modes, flags []string) {
	return sortedNames(memoryModes), sortedNames(memoryFlags)
}

// memoryPolicy says from which memory nodes the process gets its memory. Which combinations make sense is for the kernel
// to say.
func (t *task) memoryPolicy(p *specs.LinuxMemoryPolicy) error {
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return t.fail("set_mempolicy", string(p.Mode), errkind.New(errkind.Invalid, "unknown mode"))
	}
	for _, f := range p.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			return t.fail("set_mempolicy", string(f), errkind.New(errkind.Invalid, "unknown flag"))
		}
		mode |= bit
	}
	nodes, err := parseSet(p.Nodes)
	if err != nil {
		return t.fail("set_mempolicy", "nodes", err)
	}
	const spare = 1 // the kernel looks at one bit less than it is told
	t.Add("set_mempolicy", string(p.Mode), unix.SYS_SET_MEMPOLICY, spawn.Int(mode), spawn.Slice(t.List, nodes), spawn.Int(len(nodes)*64+spare))
	return nil
}

// affinity adds that the process runs only on the CPUs of list, if it is not empty. The kernel takes from it those that
// the process's cgroup has. At first that may be none: on v2 the process is born in its cgroup.
func (t *task) affinity(list string, first bool) error {
	cpus, err := parseSet(list)
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

// maxInSet bounds the numbers of CPUs and memory nodes.
const maxInSet = 1 << 13

// parseSet turns a list as "0-3,7" into a bit mask; an empty list into none.
func parseSet(list string) ([]uint64, error) {
	var mask []uint64
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.ParseUint(first, 10, 32)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 32)
		}
		if err != nil || to < from || to >= maxInSet {
			return nil, errkind.New(errkind.Invalid, "%q is no list like 0-3,7 of numbers below %d", list, maxInSet)
		}
		for n := from; n <= to; n++ {
			for uint64(len(mask)) <= n/64 {
				mask = append(mask, 0)
			}
			mask[n/64] |= 1 << (n % 64)
		}
	}
	return mask, nil
}
