package shim

// Dump asks for a checkpoint: what the processes of a running container are, written into an empty folder whose descriptor
// is on the frame. The processes stay as they were, running or frozen, whatever the outcome; until the answer their Freeze
// waits. Processes that Exec and Probes began are not in it, nor is the content of any file system but those that only the
// container has (its own tmpfs). The folder's content is the business of the runtime; nothing in it is synced.
//
// Errors: Unsupported where CRIU is missing, too old, or does not work with this kernel, and for a container that cannot be
// dumped: one of another runtime, or in namespaces of others (pid, ipc, uts, user). Conflict where it does not run.
// Internal, with CRIU's own words and the place of its log, where it failed.
type Dump struct {
	ID string `json:"id"`
	CheckpointOptions
}

// Restore asks for a container that begins as Dump has left it in a folder: that container, or another of the same root
// file system, mount points and namespaces. Spec.Process counts for nothing but its terminal, which must be as it was; nor do
// Seccomp and Init. What the folder says becomes processes with whatever rights it says: who restores one trusts it as he
// trusts a container that he gives all of them.
//
// Errors: as for Dump; Invalid where the folder is no checkpoint, or not one of such a container.
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
