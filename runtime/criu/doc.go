// Package criu makes checkpoints of containers and containers of checkpoints, by the program of that name (https://criu.org).
//
//	Dump     survey of what comes from outside -> criu swrk: DUMP    -> folder: *.img, pier-runtime.json
//	Restore  folder, root, sources of mounts   -> criu swrk: RESTORE -> first process, a child of ours
//
// criu runs for one request and is asked on a socket (wire.go), as other runtimes do it: by that way alone it hands out the
// master of a restored terminal, waits for hooks, and makes the first process a child of who has asked. It does not outlive
// the request.
//
// # What is in a checkpoint, and what comes from outside
//
//	in it      processes, memory, files of namespaces and of tmpfs that only the container has, names of all other open files
//	outside    root, bind mounts, control groups, standard streams, the network namespace where it was given
//
// What is outside has a name in the checkpoint: a mount point, "file[mount:inode]" or "pipe:[inode]", "extRootNetNS". Restore
// gives each of them what the new container has there, so one checkpoint serves for many containers. Control groups
// are not criu's affair at all: it is started in the new container's, with the cgroup namespace and the session keyring that
// this is to have, and what it makes has them from it.
//
// A folder with a checkpoint is data, as an image is, and what comes of it has the rights that the data says: nobody can lay a
// filter of system calls, or a bounding set, on processes that exist. So they are held against the container's configuration while
// they stand still, and those that have more do not go on (verify.go).
//
// Start reading at Dump.
package criu
