package seccomp

import (
	"cmp"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// answer is what the program returns for a call: an action in the upper 16 bits, its data in the lower.
type answer = uint32

// condition is one comparison of an argument. On a narrow one only the lower 32 bits count, on both sides.
type condition struct {
	arg    uint
	op     specs.LinuxSeccompOperator
	value  uint64
	second uint64 // MASKED_EQ: value is the mask, second the wanted result
	narrow bool
}

// rule answers a call if all conditions hold.
type rule struct {
	conditions []condition
	answer     answer
}

// decision is the whole answer for one call: the first rule that matches, else otherwise.
type decision struct {
	rules     []rule
	otherwise answer
}

// interval gives every call from first to the beginning of the next interval the same decision.
type interval struct {
	first    uint32
	decision decision
}

// group is the part of the program for one value of seccomp_data.arch.
type group struct {
	audit     uint32
	intervals []interval // ascending, the first begins at 0
}

const (
	x32Bit    = 1 << 30
	noSyscall = 0xffffffff // what a tracer sets to skip a call
	maxErrno  = 4095
	maxArg    = 5
)

// read checks p and sorts it by architecture.
func read(p *specs.LinuxSeccomp, native *architecture) ([]group, error) {
	defaultAnswer, err := answerOf(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	archs, err := selectArchitectures(p.Architectures, native)
	if err != nil {
		return nil, err
	}
	rules, err := readRules(p.Syscalls)
	if err != nil {
		return nil, err
	}
	unknown := defaultAnswer
	switch defaultAnswer & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
	default:
		unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	var groups []group
	for _, arch := range archs {
		decisions := decide(arch, rules, defaultAnswer)
		if arch.audit != unix.AUDIT_ARCH_X86_64 {
			groups = append(groups, group{arch.audit, arrange(decisions, 0, defaultAnswer, unknown)})
			continue
		}
		// x32 shares the architecture's number with x86_64; its calls have bit 30 set.
		i := slices.IndexFunc(groups, func(g group) bool { return g.audit == arch.audit })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{audit: arch.audit, intervals: []interval{
				{first: 0, decision: decision{otherwise: unix.SECCOMP_RET_KILL_PROCESS}},
				{first: x32Bit, decision: decision{otherwise: unix.SECCOMP_RET_KILL_PROCESS}},
				{first: noSyscall, decision: decision{otherwise: unknown}},
			}})
		}
		mine, base := arrange(decisions, arch.bit, defaultAnswer, unknown), arch.bit
		groups[i].intervals = slices.DeleteFunc(groups[i].intervals, func(v interval) bool { return v.first == base })
		groups[i].intervals = append(groups[i].intervals, mine...)
	}
	for _, g := range groups {
		slices.SortFunc(g.intervals, func(a, b interval) int { return cmp.Compare(a.first, b.first) })
	}
	for i := range groups {
		groups[i].intervals = slices.CompactFunc(groups[i].intervals, func(a, b interval) bool { return a.decision.equal(b.decision) })
	}
	return groups, nil
}

// namedRule is one entry of the profile, still by name.
type namedRule struct {
	names []string
	rules []rule // alternatives
}

func readRules(entries []specs.LinuxSyscall) ([]namedRule, error) {
	out := make([]namedRule, 0, len(entries))
	for _, entry := range entries {
		ans, err := answerOf(entry.Action, entry.ErrnoRet)
		if err != nil {
			return nil, err
		}
		var conditions []condition
		repeated := false
		for _, arg := range entry.Args {
			if arg.Index > maxArg {
				return nil, errkind.New(errkind.Invalid, "seccomp rule for %v: a system call has no argument %d", entry.Names, arg.Index)
			}
			if !knownOperator(arg.Op) {
				return nil, errkind.New(errkind.Invalid, "seccomp rule for %v: operator %q is unknown", entry.Names, arg.Op)
			}
			for _, other := range conditions {
				repeated = repeated || other.arg == arg.Index
			}
			conditions = append(conditions, condition{arg: arg.Index, op: arg.Op, value: arg.Value, second: arg.ValueTwo})
		}
		named := namedRule{names: entry.Names}
		if repeated {
			for _, c := range conditions {
				named.rules = append(named.rules, rule{[]condition{c}, ans})
			}
		} else {
			named.rules = []rule{{conditions, ans}}
		}
		out = append(out, named)
	}
	return out, nil
}

// decide finds for every call that arch has and the profile names what to answer.
func decide(arch *architecture, named []namedRule, otherwise answer) map[uint32]decision {
	out := make(map[uint32]decision)
	decided := make(map[uint32]bool)
	for _, n := range named {
		for _, name := range n.names {
			call, ok := arch.call(name)
			if !ok {
				continue
			}
			d, seen := out[call.number]
			if !seen {
				d.otherwise = otherwise
			}
			for _, r := range n.rules {
				switch {
				case decided[call.number] || r.answer == otherwise:
					// Nothing to add; yet the profile knows the call.
				case len(r.conditions) == 0:
					d = decision{otherwise: r.answer}
					decided[call.number] = true
				default:
					d.rules = append(d.rules, rule{call.widen(r.conditions), r.answer})
				}
			}
			out[call.number] = d
		}
	}
	return out
}

// arrange turns decisions by number into intervals that begin at base: gaps get otherwise, what lies above the highest
// number gets unknown.
func arrange(decisions map[uint32]decision, base uint32, otherwise, unknown answer) []interval {
	numbers := make([]uint32, 0, len(decisions))
	for number := range decisions {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	var out []interval
	next := uint32(0)
	for _, number := range numbers {
		gap := otherwise
		if number >= privateCalls && next < privateCalls {
			gap = unknown // arm's private calls lie far above the last ordinary one
		}
		if number > next {
			out = append(out, interval{base + next, decision{otherwise: gap}})
		}
		out = append(out, interval{base + number, decisions[number]})
		next = number + 1
	}
	return append(out, interval{base + next, decision{otherwise: unknown}})
}

func (d decision) equal(e decision) bool {
	return d.otherwise == e.otherwise && slices.EqualFunc(d.rules, e.rules, func(a, b rule) bool {
		return a.answer == b.answer && slices.Equal(a.conditions, b.conditions)
	})
}

func knownOperator(op specs.LinuxSeccompOperator) bool {
	switch op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
		specs.OpGreaterThan, specs.OpMaskedEqual:
		return true
	}
	return false
}

// answerOf is the value that the program returns for an action; number is its error or trace number, EPERM if nil.
func answerOf(action specs.LinuxSeccompAction, number *uint) (answer, error) {
	data := uint(unix.EPERM)
	if number != nil {
		data = *number
	}
	if data > maxErrno {
		return 0, errkind.New(errkind.Invalid, "seccomp action %s: error number %d is above %d", action, data, maxErrno)
	}
	if number != nil && action != specs.ActErrno && action != specs.ActTrace {
		return 0, errkind.New(errkind.Invalid, "seccomp action %s takes no error number", action)
	}
	switch action {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | uint32(data), nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | uint32(data), nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, errkind.New(errkind.Invalid, "seccomp action %q is unknown", action)
}
