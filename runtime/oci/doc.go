// Package oci turns an OCI runtime configuration into a running process: Start makes a container's first process, Exec
// one more in a running container, Create a first process that waits for Prepared.Start.
//
// All three follow one path. The parent opens what the specification names (bind sources, namespaces, the terminal, the
// cgroup's files) and writes a list of system calls; kernel/spawn clones a child that runs no Go code and works
// through that list; its last call is execve. No program of Pier is ever visible inside a container, and an error names
// the very call and path that failed.
//
//	parent                                   child (one list, in this order)
//	------                                   -----
//	check the specification (check.go)
//	open bind sources, /dev, devpts          join cgroup                                 start.go
//	clone3 ---------------------------->     namespaces, user maps, time offsets         namespaces.go, times.go
//	                                         network devices (the parent moves them)     netdevices.go
//	                                         attach root, mounts on pinned descriptors   internal/rootfs
//	                                         sysctls, masked and read-only paths         sysctl.go, internal/rootfs
//	                                         pivot_root, hostname                        internal/rootfs, start.go
//	                                         session, terminal, rlimits                  process.go
//	                                         scheduling, memory policy                   schedule.go
//	                                         folder, user, capabilities, seccomp         identity.go, listener.go
//	                                         (Create: wait at the gate)                  create.go
//	pid, pidfd, start time  <-----------     execve                                      program.go
//
// Where the child needs the parent on the way (user namespace maps, hooks, a seccomp listener) the two meet: internal/meeting.
// An exec or a start among processes that might trace it, and a start in namespaces that hold for children only, go
// through two children: spawn.List.Split.
//
// Rules that hold on every path: a mount is only made on a descriptor that was resolved inside the root
// (openat2 RESOLVE_IN_ROOT and NO_MAGICLINKS); /proc and /sys must be real folders of the root and /dev is never reached
// through a symbolic link; sysctls are written through a descriptor of the child's own procfs; every descriptor above
// standard error is closed by execve; inheritable capabilities are empty unless ambient ones are asked for. A program
// that calls Start calls spawn.HideMemory first.
//
// In internal, rootfs fills the root, calls adds to the list, meeting is where child and parent meet, agent hands seccomp
// listeners on; what the specification says in words is read in mountopts, schedule and idmap.
//
// Needs Linux 5.15 (probe.Oldest; of the calls in here mount_setattr is the youngest, 5.12), on amd64 or arm64.
//
// Start reading at Start.
package oci
