package spawn

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// Options are what the clone itself needs.
type Options struct {
	// Context kills the child when it ends while Run is under way; Run then fails. nil: nothing does.
	Context context.Context
	// Flags are CLONE_NEW* namespaces for the child.
	Flags uintptr
	// Cgroup is a cgroup v2 folder to be born in; nil: the parent's. Linux >= 5.7.
	Cgroup *os.File
	// Enter lists namespaces that the thread enters before the clone and leaves after it: a pid namespace, which holds
	// for children only, and others that the child's own user namespace would not be allowed to join.
	Enter []Namespace
	// PidTo, where not nil, gets the child's number from the kernel before the child makes its first call. In memory that
	// outlives this process it tells a successor of a child whose making was cut off. With a Split it gets the second
	// process's number over that of the first; then it lies in a shared mapping, of which the first process keeps that one
	// page and the second none. It stays in use until Run has returned.
	PidTo *int32
}

// Namespace is a namespace to enter. File is its file, or a pidfd (Linux >= 5.8); Kind is one CLONE_NEW* flag: pid, net,
// ipc, uts or cgroup.
type Namespace struct {
	File *os.File
	Kind int
}

var nsNames = map[int]string{
	syscall.CLONE_NEWPID: "pid", syscall.CLONE_NEWNET: "net", syscall.CLONE_NEWIPC: "ipc",
	syscall.CLONE_NEWUTS: "uts", syscall.CLONE_NEWCGROUP: "cgroup",
}

// Child is a running child of this process; the caller closes Pidfd and reaps.
type Child struct {
	Pid   int
	Pidfd *os.File
}

// Error is the call that failed in the child, or the clone itself (Index -1).
type Error struct {
	Call, Path string
	Errno      syscall.Errno
	Index      int // of the call in the list
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %s", e.Call, e.Errno.Error())
	}
	return fmt.Sprintf("%s %s: %s", e.Call, e.Path, e.Errno.Error())
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }
