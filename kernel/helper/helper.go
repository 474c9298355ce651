// Package helper starts a program of the host that works for a container and makes processes of it: in the container's
// control group from its first instruction, with a session keyring of its own, and without a
// way to new rights where the container has none, for all of this passes on to what it makes.
//
// Linux >= 5.9 (close_range), amd64 and arm64.
//
// Start reading at Start.
package helper

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/cgroup"
	"pier/kernel/self"
	"pier/kernel/spawn"
)

// Program says what to start. All files are borrowed until Start has returned.
type Program struct {
	// Path is the program's, absolute. Args begin with its name. Env is all of its environment.
	Path      string
	Args, Env []string
	// Files are its descriptors from 0 on; nil is /dev/null. It gets no others.
	Files []*os.File
	// Cgroup, where not nil, is what it comes up in.
	Cgroup *cgroup.Cgroup
	// OwnCgroups gives it a cgroup namespace whose root is that cgroup.
	OwnCgroups bool
	// Keyring names its new session keyring; "" leaves it in ours. A kernel without keys is no error.
	Keyring string
	// NoNewPrivileges takes from it the way to more rights by executing a program (no_new_privs).
	NoNewPrivileges bool
}

// calls is about how many system calls a start takes, besides those for each descriptor.
const calls = 32

// Start starts p and returns when its execve has succeeded. The caller closes the Pidfd and reaps the child, and what the
// child makes with CLONE_PARENT. An error is *spawn.Error where a call of the new process failed.
func Start(p *Program) (*spawn.Child, error) {
	l := spawn.New(calls + 2*len(p.Files))
	var o spawn.Options
	if p.Cgroup != nil {
		join, err := p.Cgroup.Join()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", p.Path, err)
		}
		defer join.Close()
		o.Cgroup = join.Dir
		for _, name := range join.Tasks {
			fd := l.Slot()
			l.Add("join cgroup", name, unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), l.String(name), spawn.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
			l.Add("join cgroup", name, unix.SYS_WRITE, spawn.From(fd), l.String("0"), spawn.Int(1))
		}
	}
	if p.OwnCgroups {
		l.Add("unshare", "cgroup", unix.SYS_UNSHARE, spawn.Int(unix.CLONE_NEWCGROUP))
	}
	if p.Keyring != "" {
		l.Add("keyctl", "", unix.SYS_KEYCTL, spawn.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), l.String(p.Keyring)).
			Tolerate(unix.ENOSYS, unix.EPERM, unix.EINVAL)
	}
	if p.NoNewPrivileges {
		l.Add("prctl PR_SET_NO_NEW_PRIVS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_NO_NEW_PRIVS), spawn.Int(1), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	}
	for _, n := range self.Ignored() {
		const size = 8 // of the kernel's sigset_t; 32 zero bytes are a sigaction that says SIG_DFL
		l.Add("rt_sigaction", "", unix.SYS_RT_SIGACTION, spawn.Int(n), spawn.Slice(l, make([]byte, 32)), spawn.Int(0), spawn.Int(size))
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	above := make([]spawn.Slot, len(p.Files)) // out of the way of the numbers that they are to have
	for i, f := range p.Files {
		if f == nil {
			f = null
		}
		above[i] = l.Slot()
		l.Add("dup", f.Name(), unix.SYS_FCNTL, l.File(f), spawn.Int(unix.F_DUPFD_CLOEXEC), spawn.Int(len(p.Files))).Into(above[i])
	}
	for i := range p.Files {
		l.Add("dup3", "", unix.SYS_DUP3, spawn.From(above[i]), spawn.Int(i), spawn.Int(0))
	}
	l.Add("close_range", "", unix.SYS_CLOSE_RANGE, spawn.Int(len(p.Files)), spawn.Int(^uint32(0)), spawn.Int(0))
	l.Add("setsid", "", unix.SYS_SETSID)
	l.Add("rt_sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_SETMASK), spawn.Pointer(l, new(uint64)), spawn.Int(0), spawn.Int(8))
	l.Add("execve", p.Path, unix.SYS_EXECVE, l.String(p.Path), l.Strings(p.Args), l.Strings(p.Env))
	return l.Run(o)
}
