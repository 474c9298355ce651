package shim

// Dump asks for a checkpoint: what the processes of a running container are, written into an empty folder whose descriptor
// is on the frame. The processes stay as they were, running or frozen, whatever the outcome; until the answer their Freeze
// waits. Processes that Exec and Probes began are not in it, nor is the content of any file system but those that only the
// container has (its own tmpfs). The folder's content is the business of the runtime; nothing in it is synced.
//
// Errors: Unsupported where CRIU is missing, too old, or does not work with this kernel, and for a container that cannot be
// dumped: one of another runtime, in the host's pid namespace, with a user namespace, or whose program lies in memory alone
// (Start.Init). Conflict where it does not run, or ends meanwhile. Internal, with CRIU's own words and the place of its log, where
// it failed.
type Dump struct {
	ID string `json:"id"`
	CheckpointOptions
}

// Restore asks for a container that begins as Dump has left it in a folder: that container, or another of the same root
// file system, mount points and namespaces. The processes are those in the folder; Spec, Seccomp and the descriptors say what
// they may be: one that has more rights, or sees more mounts, is ended before it runs. Spec.Process.Args, Env and the like count for
// nothing, nor does Init, and what a filter lets through is what it did.
//
// Errors: as for Dump; Invalid where the folder is no checkpoint, or not one of such a container; Forbidden where it holds more than
// that; Unsupported for namespaces of others but the network's, and for hooks that run inside.
type Restore struct {
	CheckpointOptions
	// TCPClose restores established TCP connections as closed: for a container that has another address now.
	TCPClose bool `json:"tcpClose,omitempty"`
}

// CheckpointOptions say what may be in a checkpoint; a container that has it is refused otherwise. They are the same for
// Restore as for Dump.
type CheckpointOptions struct {
	TCPEstablished bool `json:"tcpEstablished,omitempty"` // connections that are established
	ExtUnixSockets bool `json:"extUnixSockets,omitempty"` // unix sockets that are connected to others outside
	FileLocks      bool `json:"fileLocks,omitempty"`      // locks on files
}
