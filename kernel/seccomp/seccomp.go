// Package seccomp compiles the OCI runtime specification's "seccomp" into a program for seccomp(2).
//
//	profile --read--> for every architecture: number -> rules --merge--> intervals of equal answer --emit--> BPF
//
// One program serves all architectures of the profile. It looks for the call's number by a binary search over intervals
// and executes about 15 instructions for a call whose arguments do not matter. What differs from the usual compiler:
//
//   - An argument that the kernel takes as an int is compared as one. A 64-bit comparison lets socket(0x100000028, ...)
//     pass for something else than AF_VSOCK, although the kernel then opens just that.
//   - A call on an architecture that is not in the profile ends the process.
//
// As other runtimes do: names that no architecture knows are ignored; a call with a number above every one the profile
// names gets ENOSYS rather than the default error, so that programs fall back from calls newer than the profile; several
// conditions on one argument within a rule are alternatives, on different arguments they must all hold; and an
// unconditional rule for a call beats conditional ones, else the first that matches decides.
//
// Start reading at Compile.
package seccomp

import (
	"encoding/binary"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Program is a compiled filter: an array of struct sock_filter as seccomp(2) and prctl(2) take it, 8 bytes each, in the
// byte order of the machine (little endian). It is never changed after Compile and may be shared.
type Program []byte

// Len returns the number of instructions, the "len" of struct sock_fprog.
func (p Program) Len() int { return len(p) / instructionSize }

const (
	instructionSize = 8
	maxInstructions = 4096 // BPF_MAXINSNS
)

// Compile turns p into a program for this machine. It is deterministic: equal profiles give equal bytes. A profile with
// an unknown action, operator, architecture or flag, an argument index above 5 or an error number above 4095 is
// errkind.Invalid, and so is one that hands calls to a listener (SCMP_ACT_NOTIFY) and names none, or hands it all that it
// does not name.
func Compile(p *specs.LinuxSeccomp) (Program, error) {
	return compile(p, native)
}

func compile(p *specs.LinuxSeccomp, native *architecture) (Program, error) {
	if p == nil {
		return nil, errkind.New(errkind.Invalid, "compile seccomp profile: there is none")
	}
	if err := checkListener(p); err != nil {
		return nil, err
	}
	if _, err := Flags(p); err != nil {
		return nil, err
	}
	groups, err := read(p, native)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	// Built from the end: what runs last comes first.
	next := b.ret(unix.SECCOMP_RET_KILL_PROCESS)
	for i := len(groups) - 1; i >= 0; i-- {
		b.search(groups[i].intervals)
		entry := b.load(offsetNr)
		next = b.jump(unix.BPF_JEQ, groups[i].audit, entry, next)
	}
	b.load(offsetArch)
	return b.program()
}

// NeedsListener reports whether p hands calls to a listener: its program is loaded with SECCOMP_FILTER_FLAG_NEW_LISTENER,
// and what seccomp(2) returns is sent to p.ListenerPath. Linux >= 5.0.
func NeedsListener(p *specs.LinuxSeccomp) bool {
	return p != nil && (p.DefaultAction == specs.ActNotify ||
		slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify }))
}

func checkListener(p *specs.LinuxSeccomp) error {
	switch {
	case p.ListenerPath == "" && p.ListenerMetadata != "":
		return errkind.New(errkind.Invalid, "compile seccomp profile: listenerMetadata without listenerPath")
	case p.DefaultAction == specs.ActNotify:
		return errkind.New(errkind.Invalid, "compile seccomp profile: %s cannot be the default action", specs.ActNotify)
	case p.ListenerPath == "" && NeedsListener(p):
		return errkind.New(errkind.Invalid, "compile seccomp profile: %s needs a listenerPath", specs.ActNotify)
	}
	return nil
}

// Actions lists the actions that a profile may have.
func Actions() []string {
	return []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
		"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"}
}

// Operators lists the comparisons of arguments.
func Operators() []string {
	return []string{"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"}
}

// KnownFlags lists the flags.
func KnownFlags() []string {
	return []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}
}

// SupportedFlags lists those of KnownFlags that the running kernel has.
func SupportedFlags() []string {
	var out []string
	for _, f := range KnownFlags() {
		bits, err := Flags(&specs.LinuxSeccomp{Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(f)}})
		if f == string(specs.LinuxSeccompFlagWaitKillableRecv) {
			bits = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		}
		// The kernel looks at the flags before it looks for the program.
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(bits), 0); err == nil && errno == unix.EFAULT {
			out = append(out, f)
		}
	}
	return out
}

// Flags returns the flags with which p wants its program loaded, for seccomp(SECCOMP_SET_MODE_FILTER, flags, ...). An
// unknown one is errkind.Invalid.
func Flags(p *specs.LinuxSeccomp) (uint, error) {
	var flags uint
	for _, flag := range p.Flags {
		switch flag {
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC":
			// A container's first process has one thread; there is nothing to synchronise.
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if NeedsListener(p) { // the kernel wants both or none
				flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			}
		default:
			return 0, errkind.New(errkind.Invalid, "seccomp flag %q is unknown", flag)
		}
	}
	return flags, nil
}

// Offsets into struct seccomp_data, little endian.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

func encode(instructions []unix.SockFilter) Program {
	out := make(Program, 0, len(instructions)*instructionSize)
	for _, in := range instructions {
		out = binary.LittleEndian.AppendUint16(out, in.Code)
		out = append(out, in.Jt, in.Jf)
		out = binary.LittleEndian.AppendUint32(out, in.K)
	}
	return out
}
