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
// errkind.Invalid; one that hands calls to a listener (SCMP_ACT_NOTIFY, listenerPath) is errkind.Unsupported.
func Compile(p *specs.LinuxSeccomp) (Program, error) {
	return compile(p, native)
}

func compile(p *specs.LinuxSeccomp, native *architecture) (Program, error) {
	if p == nil {
		return nil, errkind.New(errkind.Invalid, "compile seccomp profile: there is none")
	}
	if p.ListenerPath != "" || p.ListenerMetadata != "" {
		return nil, errkind.New(errkind.Unsupported, "compile seccomp profile: listenerPath is not supported; remove it")
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
			return 0, errkind.New(errkind.Unsupported, "seccomp flag %s: it needs a listener, which is not supported", flag)
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
