package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// KeepProject returns p with the calls refused by which the owner of a file takes it out of its project, the number by
// which a quota counts it: those that set the number, and those that set the flag by which new files take it from their
// folder. Programs are told that the file system does not know them (ENOTTY, ENOSYS). p stays as it is.
//
// The rules lean on the order in which Compile looks at conditional ones; another compiler may know none.
func KeepProject(p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	const (
		setAttr = "file_setattr"
		ioctl   = "ioctl"
		request = 1 // its argument
	)
	out := *p
	unknown, none := uint(unix.ENOTTY), uint(unix.ENOSYS)
	if same, err := answerOf(p.DefaultAction, p.DefaultErrnoRet); err == nil && same == unix.SECCOMP_RET_ERRNO|uint32(unknown) {
		unknown = uint(unix.EOPNOTSUPP) // a rule with the default answer would be none
	}
	out.Syscalls = nil
	// A profile of what is allowed, which does not name it, refuses it already. To name it there would make all calls before
	// it known ones, see Compile.
	if p.DefaultAction == specs.ActAllow || p.DefaultAction == specs.ActLog || p.DefaultAction == specs.ActTrace ||
		slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool { return slices.Contains(s.Names, setAttr) }) {
		out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: []string{setAttr}, Action: specs.ActErrno, ErrnoRet: &none})
	}
	for _, number := range []uint64{fsSetXattr, fsSetFlags, fsSetFlags32} {
		out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: []string{ioctl}, Action: specs.ActErrno, ErrnoRet: &unknown,
			Args: []specs.LinuxSeccompArg{{Index: request, Value: number, Op: specs.OpEqualTo}}})
	}
	for _, rule := range p.Syscalls {
		if len(rule.Args) > 0 || !slices.Contains(rule.Names, ioctl) {
			out.Syscalls = append(out.Syscalls, rule)
			continue
		}
		// Without a condition it would come before those above: it gets one that always holds.
		always := rule
		always.Names, always.Args = []string{ioctl}, []specs.LinuxSeccompArg{{Index: request, Op: specs.OpMaskedEqual}}
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool { return name == ioctl })
		out.Syscalls = append(out.Syscalls, rule, always)
	}
	return &out
}

// The requests of linux/fs.h, the same on all architectures that we know. A file system takes those for 32 bit programs
// from such a program alone, and refuses them otherwise.
const (
	fsSetXattr   = 0x401c5820 // FS_IOC_FSSETXATTR
	fsSetFlags   = 0x40086602 // FS_IOC_SETFLAGS
	fsSetFlags32 = 0x40046602 // FS_IOC32_SETFLAGS
)
