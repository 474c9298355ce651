package oci

import (
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/cgroup"
)

// Stdio is the child's end of its three streams. The files are borrowed: the caller closes them after Start or Exec
// returned. A nil file means /dev/null.
type Stdio struct {
	Stdin, Stdout, Stderr *os.File
}

// Container says what to start. All files are borrowed for the length of the call.
type Container struct {
	// ID names the container in errors and its session keyring. One path component.
	ID string
	// Spec is the OCI runtime configuration. It is not changed.
	Spec *specs.Spec
	// Bundle is the folder that a relative Spec.Root.Path starts from, and the state given to hooks. May be empty.
	Bundle string
	// Rootfs is the root as a detached mount. Start attaches it in the container's mount namespace (it is used up) but
	// the caller still closes the descriptor. nil: a private clone of the mounts at Spec.Root.Path is taken.
	Rootfs *os.File
	// Netns is joined if it is not nil; else Spec.Linux.Namespaces decides.
	Netns *os.File
	// Empty, where not nil, is what EmptyMounts made. Where that serves, the container's begins as a copy
	// of it and not of the host's.
	Empty *os.File
	// Seccomp is the compiled filter (kernel/seccomp). nil: Spec.Linux.Seccomp is compiled, if set.
	Seccomp []byte
	// SeccompFlags are what Seccomp is loaded with (SECCOMP_FILTER_FLAG_*), besides those of Spec.Linux.Seccomp.
	SeccompFlags uint
	// Cgroup is joined before anything else happens. nil: the parent's own.
	Cgroup *cgroup.Cgroup
	// Stdio holds the streams where Spec.Process.Terminal is not set.
	Stdio Stdio
	// Gate is a folder of the host in which Create makes what Release needs; only root may enter it. Start ignores it.
	Gate string
	// Init, where not nil, is the program of kernel/reaper: it becomes the first process and runs Spec.Process as its
	// child. Create ignores it.
	Init *os.File
	// PreserveFDs is how many descriptors from 3 on stay open in the new process (they must not be close-on-exec).
	PreserveFDs int
	// NoPivot changes the root by chroot: on a host that runs from its initial memory disk the kernel refuses pivot_root.
	// The host's mounts then stay below the container's root; who has CAP_SYS_CHROOT finds them.
	NoPivot bool
	// MakeCwd makes the working folder where it is missing, with root's ownership and mode 0755. In a mount namespace that
	// is joined nothing is made.
	MakeCwd bool
	// NoKeyring leaves the process in its parent's session keyring.
	NoKeyring bool
	// Width and Height are the terminal's first size in cells; 0: Spec.Process.ConsoleSize, else the kernel's default.
	Width, Height uint16
	// PidTo, where not nil, gets the process's number before the process does anything (spawn.Options.PidTo).
	PidTo *int32
	// RunTo, where not nil, gets something other than zero right before the program is executed. It lies where PidTo does, on
	// the same page: a process that has ended and left zero here has never run its program. So does one whose program could
	// not be executed. A child that is divided (spawn.List.Split) sets it before that, and leaves it: its second half does not
	// share our memory.
	RunTo *uint64
	// Deposit, where not nil, is where what must outlive the caller is put (fdsock.NewDeposit): the terminal's master, and, by
	// itself, the process, before it can run its program. One that is divided (spawn.List.Split) does not put itself there: it
	// could be traced from inside.
	Deposit *os.File
}

// Process is a process that runs. The caller owns both files and reaps the child (pidfd.Reap).
type Process struct {
	Pid int
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot.
	StartTime uint64
	// Pidfd is close-on-exec, fit for pidfd.Wait.
	Pidfd *os.File
	// Master is the terminal's master side, non-blocking; nil without a terminal.
	Master *os.File
}

// StartError says what failed on the way to a running process, and that nothing of it is left behind.
// It unwraps to an errkind error: NotFound and Invalid for a command that is missing or cannot be executed.
type StartError struct {
	// Call names what failed: a system call, with its purpose where it has one ("execve", "mount proc", "chdir").
	Call string
	// Path is the object of the call inside the container or on the host, "" where it has none.
	Path string
	// Errno is the kernel's answer, 0 where no system call failed.
	Errno syscall.Errno
	// Err is the whole story.
	Err error
}

func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

// Is reports whether target is the Errno of e, so that errors.Is(err, syscall.ENOENT) works.
func (e *StartError) Is(target error) bool {
	errno, ok := target.(syscall.Errno)
	return ok && e.Errno != 0 && e.Errno == errno
}

// ExecConfig says what to run in a container that runs already. All files are borrowed.
type ExecConfig struct {
	// ID is the container's, for errors and its session keyring.
	ID string
	// Target is a pidfd of the container's first process, TargetPid its number.
	Target    *os.File
	TargetPid int
	// Spec is the container's own, for its namespaces. nil: all namespaces of the target that differ from ours.
	Spec *specs.Spec
	// Bundle is the container's, for a seccomp listener. May be empty.
	Bundle string
	// Process is what to run.
	Process *specs.Process
	// Seccomp is the compiled filter, SeccompFlags as in Container. nil: Spec.Linux.Seccomp is compiled, if set.
	Seccomp      []byte
	SeccompFlags uint
	// Cgroup is the container's; it is joined first.
	Cgroup      *cgroup.Cgroup
	Stdio       Stdio
	PreserveFDs int
	Width       uint16
	Height      uint16
	// NoTracers says that no process in the container's pid namespace can have CAP_SYS_PTRACE over the host's user
	// namespace, now or while Exec runs. Then the child may share our memory, which is faster by a millisecond.
	NoTracers bool
	// PidTo, RunTo and Deposit are as in Container. Where the child does not share our memory RunTo is set a moment early.
	PidTo   *int32
	RunTo   *uint64
	Deposit *os.File
}

func errnoOf(err error) syscall.Errno {
	for err != nil {
		if e, ok := err.(syscall.Errno); ok {
			return e
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}
