// Package schedule turns what a runtime configuration says of scheduling and memory nodes into the arguments of system
// calls. It is pure. Errors are Invalid and name the word that is not known.
//
// Start reading at Attributes.
package schedule

import (
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// IOPriority is the argument of ioprio_set(2).
func IOPriority(p *specs.LinuxIOPriority) (int, error) {
	class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[p.Class]
	if !ok || p.Priority < 0 || p.Priority > 7 {
		return 0, errkind.New(errkind.Invalid, "unknown class, or priority outside 0 to 7")
	}
	const shift = 13 // IOPRIO_CLASS_SHIFT
	return class<<shift | p.Priority, nil
}

// Attributes are those of sched_setattr(2).
func Attributes(p *specs.Scheduler) (*unix.SchedAttr, error) {
	policy, ok := map[specs.LinuxSchedulerPolicy]uint32{specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2,
		specs.SchedBatch: 3, specs.SchedISO: 4, specs.SchedIdle: 5, specs.SchedDeadline: 6}[p.Policy]
	if !ok {
		return nil, errkind.New(errkind.Invalid, "unknown policy")
	}
	a := &unix.SchedAttr{Policy: policy, Nice: p.Nice, Priority: uint32(p.Priority), Runtime: p.Runtime, Deadline: p.Deadline, Period: p.Period}
	a.Size = uint32(unsafe.Sizeof(*a))
	flags := map[specs.LinuxSchedulerFlag]uint64{specs.SchedFlagResetOnFork: 1, specs.SchedFlagReclaim: 2, specs.SchedFlagDLOverrun: 4,
		specs.SchedFlagKeepPolicy: 8, specs.SchedFlagKeepParams: 16, specs.SchedFlagUtilClampMin: 32, specs.SchedFlagUtilClampMax: 64}
	for _, f := range p.Flags {
		bit, ok := flags[f]
		if !ok {
			return nil, errkind.New(errkind.Invalid, "unknown flag %q", f)
		}
		a.Flags |= bit
	}
	return a, nil
}

// Personality is the argument of personality(2).
func Personality(p *specs.LinuxPersonality) (int, error) {
	domain, ok := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}[p.Domain]
	if !ok || len(p.Flags) > 0 {
		return 0, errkind.New(errkind.Invalid, "unknown domain or flags")
	}
	return domain, nil
}

// The modes and flags of set_mempolicy(2).
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3,
		specs.MpolLocal: 4, specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{specs.MpolFNumaBalancing: 1 << 13, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFStaticNodes: 1 << 15}
)

// MemoryPolicies lists the modes and flags of memory policies that are known, sorted.
func MemoryPolicies() (modes, flags []string) {
	for m := range memoryModes {
		modes = append(modes, string(m))
	}
	for f := range memoryFlags {
		flags = append(flags, string(f))
	}
	slices.Sort(modes)
	slices.Sort(flags)
	return modes, flags
}

// MemoryPolicy are the mode and the nodes of set_mempolicy(2). Which combinations make sense is for the kernel to say.
func MemoryPolicy(p *specs.LinuxMemoryPolicy) (mode int, nodes []uint64, err error) {
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return 0, nil, errkind.New(errkind.Invalid, "unknown mode")
	}
	for _, f := range p.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			return 0, nil, errkind.New(errkind.Invalid, "unknown flag %q", f)
		}
		mode |= bit
	}
	nodes, err = Set(p.Nodes)
	return mode, nodes, err
}

// maxInSet bounds the numbers of CPUs and memory nodes.
const maxInSet = 1 << 13

// Set turns a list as "0-3,7" into a bit mask; an empty list into none.
func Set(list string) ([]uint64, error) {
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
