// Package spawn starts a process that runs no code of ours: a clone3 child that works through a prepared list of system
// calls, the last of which is execve.
//
//	l := spawn.New()
//	fd := l.Slot()
//	l.Add("open", path, unix.SYS_OPENAT, ...).Into(fd)       results feed later calls
//	l.Add("mount", path, unix.SYS_MOVE_MOUNT, spawn.From(fd), ...)
//	l.Add("execve", argv[0], unix.SYS_EXECVE, l.String(argv[0]), l.Strings(argv), l.Strings(env))
//	child, err := l.Run(spawn.Options{Flags: unix.CLONE_NEWPID | ...})
//
// The child shares the parent's memory (CLONE_VM) and the calling thread waits for its execve (CLONE_VFORK), so nothing
// is copied, however big the parent, and the parent reads from the list which call failed with which errno. The child
// uses no stack, takes no signal (all are blocked; the list unblocks them) and holds no lock; sixty lines of assembly
// interpret the list. The thread counts as being in a system call, so the other goroutines and the collector go on.
//
// Descriptors: the child has a copy of the parent's table. Everything that Go opens is close-on-exec, so nothing of one
// child's set-up reaches another; the list should still end with close_range for descriptors that were inherited.
//
// Where somebody may trace the child on its way, or the list enters a namespace that holds for children only, Split divides
// it in two processes that share nothing with us (split.go).
//
// Linux >= 5.5 (CLONE_CLEAR_SIGHAND), CLONE_INTO_CGROUP >= 5.7; amd64 and arm64. On other architectures Run returns
// errkind.Unsupported.
//
// Start reading at List, then Run.
package spawn
