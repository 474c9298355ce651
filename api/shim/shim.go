// Package shim is the wire between pierd and the supervisor: the messages, not the socket.
//
// The supervisor listens on a unix stream socket (mode 0600, peer checked to be root). Every message is a frame: four
// bytes of length, big endian, then a JSON object; file descriptors ride on the first byte of their frame
// (kernel/fdsock). A connection carries one request at a time, answered in order; pierd opens as many as it needs.
// Two requests turn their connection into a stream and end with it: Attach and Watch.
//
//	pierd -> supervisor                       supervisor -> pierd
//	Request{Kind: "start", Start: {...}}      Response{Started: {...}}  + fds [pidfd, stdin, stdout, stderr | pty master]
//	Request{Kind: "exec", Exec: {...}}        the same; where a stream's end came along, output frames go there (see Joined)
//	  + fds [stream, deposit]
//	Request{Kind: "attach", Attach: {...}}    Response{} then output frames (see Attach)
//	Request{Kind: "watch"}                    Response{} then Response{Exit: {...}} for every exit, past ones first
//
// Input does not travel here: pierd holds a descriptor of each task's standard input or terminal and writes to it.
//
// The two may be of different releases. There is no number for that: a field that the other side does not know means nothing
// to it, a Kind that it does not know is answered with errkind.Unsupported, and what it could get wrong is only asked of a
// supervisor that says in its Hello that it takes it.
//
// Start reading at Request.
package shim

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// MaxFrame bounds one frame in bytes; a longer one is a protocol error and closes the connection.
const MaxFrame = 8 << 20

// The values of Request.Kind; the field of the same name in Request holds the arguments, where there are any.
const (
	KindHello    = "hello"    // -> Hello
	KindStart    = "start"    // Start -> Started and descriptors
	KindExec     = "exec"     // Exec -> Started and descriptors
	KindProbes   = "probes"   // Probes -> Probed
	KindSignal   = "signal"   // Signal
	KindResize   = "resize"   // Resize
	KindFreeze   = "freeze"   // Freeze: pause or resume
	KindUpdate   = "update"   // Update: new resource limits
	KindDump     = "dump"     // Dump and the folder's descriptor; only to a supervisor whose Hello says Checkpoints
	KindAttach   = "attach"   // Attach; then a stream
	KindWatch    = "watch"    // then a stream of Exit
	KindList     = "list"     // -> Tasks
	KindCustody  = "custody"  // Custody -> Started and descriptors, for a pierd that comes back
	KindAdopt    = "adopt"    // Adopt and descriptors, for a supervisor that was replaced
	KindRecover  = "recover"  // Recover; after the Adopts: take up, or settle, every other task there is a file of
	KindReaped   = "reaped"   // Exit: a process that fell to pierd when the former supervisor died has ended
	KindStdin    = "stdin"    // TaskRef: close standard input
	KindDelete   = "delete"   // Delete: forget a task that has exited, and remove its cgroup and FIFOs
	KindUpgrade  = "upgrade"  // execve of the binary now at the supervisor's own path, tasks kept
	KindShutdown = "shutdown" // end; refused (conflict) while a task lives
)

// SubpathOption begins a mount option of our own: of a bind's source, a folder that the host trusts, only the part that
// follows is shown. The runtime resolves it inside the source at the very moment of the mount: had pierd done so before,
// a container that shares the folder could exchange a name in it for a link to the host meanwhile.
const SubpathOption = "pier.subpath="

// DelegateOption is a mount option of our own: of a read-only mount of type cgroup, the container may write to what of it
// limits nothing. That is a cgroup below the one with its limits (v2), or those of hierarchies without a controller (v1).
const DelegateOption = "pier.delegate"

// Request is one message to the supervisor. Exactly the field that Kind names is set.
type Request struct {
	Kind    string   `json:"kind"`
	Start   *Start   `json:"start,omitempty"`
	Exec    *Exec    `json:"exec,omitempty"`
	Probes  []Probe  `json:"probes,omitempty"`
	Signal  *Signal  `json:"signal,omitempty"`
	Resize  *Resize  `json:"resize,omitempty"`
	Freeze  *Freeze  `json:"freeze,omitempty"`
	Update  *Update  `json:"update,omitempty"`
	Dump    *Dump    `json:"dump,omitempty"`
	Attach  *Attach  `json:"attach,omitempty"`
	Custody *TaskRef `json:"custody,omitempty"`
	Adopt   *Adopt   `json:"adopt,omitempty"`
	Recover *Recover `json:"recover,omitempty"`
	Reaped  *Exit    `json:"reaped,omitempty"`
	Stdin   *TaskRef `json:"stdin,omitempty"`
	Delete  *TaskRef `json:"delete,omitempty"`
}

// Response answers one Request. Error is nil on success.
type Response struct {
	Error   *Error   `json:"error,omitempty"`
	Hello   *Hello   `json:"hello,omitempty"`
	Started *Started `json:"started,omitempty"`
	Probed  []Probed `json:"probed,omitempty"`
	Tasks   []Task   `json:"tasks,omitempty"`
	Exit    *Exit    `json:"exit,omitempty"`
	// StdinClosed comes on a Watch: pierd closes its descriptor too, so that the task reads end of file.
	StdinClosed *TaskRef `json:"stdinClosed,omitempty"`
	// LogTrouble comes on a Watch too.
	LogTrouble *LogTrouble `json:"logTrouble,omitempty"`
	// Attached answers Attach, together with Hello: the position at which the stream begins.
	Attached *Position `json:"attached,omitempty"`
}

// Error is an errkind error on the wire. It satisfies error; Unwrap gives back the kind.
type Error struct {
	Kind    errkind.Kind `json:"kind"`
	Message string       `json:"message"`
	// Errno is the number of the failed system call, 0 where none failed. For a start it tells "not found" (ENOENT)
	// from "not executable" (EACCES, ENOEXEC).
	Errno int `json:"errno,omitempty"`
	// Call names what failed inside the new process ("execve", "mount /proc", "setuid"), "" where nothing did; or CallBegin.
	Call string `json:"call,omitempty"`
}

// CallBegin is the Call of a Start or Exec that is refused because its task exists, or is being made.
const CallBegin = "begin"

func (e *Error) Error() string { return e.Message }

// Unwrap lets errkind.Of find the kind.
func (e *Error) Unwrap() error { return errkind.New(e.Kind, "%s", e.Message) }

// Hello says which supervisor it is, and what this one takes.
type Hello struct {
	Pid int `json:"pid"`
	// Generation grows by one with each in-place upgrade of the supervisor.
	Generation int `json:"generation,omitempty"`
	// Deposits says that this supervisor takes some (Launch, Recover). pierd asks each program once: what it sends in the moment
	// in which one that takes none comes in the place of one that did is refused.
	Deposits bool `json:"deposits,omitempty"`
	// Checkpoints says that this supervisor takes Dump and Start.Restore. Whether the machine has what they need (CRIU) is told by
	// their errors.
	Checkpoints bool `json:"checkpoints,omitempty"`
	// Joins says that this supervisor takes a stream together with the process that it is of (Exec.Joined).
	Joins bool `json:"joins,omitempty"`
}

// TaskRef names one process: the container's own (Exec empty) or one started in it later.
type TaskRef struct {
	ID   string `json:"id"`
	Exec string `json:"exec,omitempty"`
}

// Start asks for a container's first process. Descriptors on the frame, in this order and only where the flag is set:
// the root file system as a detached mount (HasRootfs), the network namespace (HasNetns), the folder of a checkpoint (Restore),
// a deposit (HasDeposit).
type Start struct {
	ID string `json:"id"`
	// Spec is the OCI runtime configuration. Linux.Seccomp is empty: the filter comes compiled. It is part of the message
	// and no text of its own within it: that would be read twice more on its way.
	Spec *specs.Spec `json:"spec"`
	Launch
	HasRootfs bool `json:"hasRootfs,omitempty"`
	HasNetns  bool `json:"hasNetns,omitempty"`
	// Init runs the process as the child of a small init, which is the first process then.
	Init bool `json:"init,omitempty"`
	// Runtime, where not nil, is another OCI runtime that starts the container. Seccomp is empty then, Linux.Seccomp set.
	Runtime *Runtime `json:"runtime,omitempty"`
	// Bundle is the folder that hooks are told of. With it the root is at Spec.Root.Path for createContainer hooks.
	Bundle string `json:"bundle,omitempty"`
	Log    Log    `json:"log"`
	// Restore, where not nil, has the container begin as a checkpoint has it. Only to a supervisor whose Hello says Checkpoints.
	Restore *Restore `json:"restore,omitempty"`
}

// Launch is what Start and Exec say alike about the process that they ask for.
type Launch struct {
	// Seccomp is the filter as the kernel takes it (struct sock_filter, native order); empty: none.
	Seccomp []byte `json:"seccomp,omitempty"`
	// SeccompFlags are what to load it with (SECCOMP_FILTER_FLAG_*).
	SeccompFlags uint  `json:"seccompFlags,omitempty"`
	Stdio        Stdio `json:"stdio"`
	// Width and Height are the terminal's first size in cells, 0 for the kernel's default.
	Width  uint16 `json:"width,omitempty"`
	Height uint16 `json:"height,omitempty"`
	// Expected is how many streams were attached before, to this supervisor or one that has died: output waits for them.
	Expected int `json:"expected,omitempty"`
	// HasDeposit is set where the last descriptor on the frame is a deposit, to a supervisor that takes some (Hello). In it
	// lies what the next supervisor will need should this one die before it has answered: the output, from before there is a
	// process, a terminal's master, and the process itself, from before it may run its program. pierd keeps the other end,
	// whose content is the business of supervisors alone, and hands it on with Recover.
	HasDeposit bool `json:"hasDeposit,omitempty"`
}

// Runtime is the command line of an OCI runtime.
type Runtime struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"` // before its own
}

// Stdio says what the standard streams are. All output is kept or fanned out by the supervisor; a process never
// blocks because nobody is attached, and never gets SIGPIPE because a reader died.
type Stdio struct {
	Terminal bool `json:"terminal,omitempty"`
	// OpenStdin keeps standard input open for attachers; otherwise it reads end of file at once.
	OpenStdin bool `json:"openStdin,omitempty"`
	// StdinOnce closes standard input when the first attacher that sends input ends.
	StdinOnce bool `json:"stdinOnce,omitempty"`
}

// Exec asks for one more process in a running container's namespaces and cgroup. Descriptors on the frame, in this order and
// only where they are announced: the end of a stream (Joined), a deposit (HasDeposit).
type Exec struct {
	TaskRef
	Process *specs.Process `json:"process"`
	Launch
	// Joined, where not nil, joins the output as an Attach before would, without a question and an answer of its own: the
	// frames go to the socket that comes along. It is for a supervisor that Joins (Hello).
	Joined *Joined `json:"joined,omitempty"`
}

// ExecLimit is how long an Exec may take from clone to execve: a file system that hangs must not hold it for ever. One whose
// connection has ended before it was begun is not carried out.
const ExecLimit = 60 * time.Second

// Joined says which output a stream is for.
type Joined struct {
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Started answers Start, Exec and Custody. With it come the descriptors that Files counts, as the supervisor holds them.
// pierd keeps them for the day the supervisor dies.
type Started struct {
	Task  Task  `json:"task"`
	Files Files `json:"files"`
	// Hello says which program has answered, where a stream came with the request (Exec.Joined): it is the one that carries it.
	// Supervisors of former releases do not say so.
	Hello *Hello `json:"hello,omitempty"`
}

// Files says which descriptors of a task ride on a frame, in the order of its fields. A terminal has a master and one
// FIFO, Stdout, through which its output passes.
type Files struct {
	Pidfd  bool `json:"pidfd,omitempty"`
	Master bool `json:"master,omitempty"`
	Stdin  bool `json:"stdin,omitempty"` // the write end
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Signal sends one signal: to the process, or to every process of the container (All, through its cgroup).
type Signal struct {
	TaskRef
	Signal int  `json:"signal"`
	All    bool `json:"all,omitempty"`
}

// Resize sets the terminal's size in cells. It is an error of kind conflict where the task has no terminal.
type Resize struct {
	TaskRef
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Freeze stops (On) or continues all processes of the container by its cgroup.
type Freeze struct {
	ID string `json:"id"`
	On bool   `json:"on"`
}

// Update changes the limits of a running container. Resources is a specs.LinuxResources; unset fields stay.
type Update struct {
	ID        string          `json:"id"`
	Resources json.RawMessage `json:"resources"`
}

// Attach joins the output of a task that runs, or is about to: attaching before Start waits for it, so that no byte is
// missed. After the answer the supervisor sends frames (see FrameHeader) and closes; the last frame is FrameEnd when the
// task has exited and everything was sent, or FrameError. A connection that ends without either was cut off, and a new
// one with Resume continues it.
type Attach struct {
	TaskRef
	// Stdin says that the caller also wants to give input. It concerns pierd alone.
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
	// Resume continues a stream after the supervisor was replaced: it holds what was received.
	Resume *Position `json:"resume,omitempty"`
}

// Position is how far a reader is in the output of a task: bytes since the task's start.
type Position struct {
	Stdout uint64 `json:"stdout"`
	Stderr uint64 `json:"stderr"`
	// Patient marks a stream for which the task waits as it would for the reader of a pipe: one attached before the
	// start, or to an exec. Any other stream is dropped when it takes nothing for too long while output waits.
	Patient bool `json:"patient,omitempty"`
}

// Recover says what is known of tasks that pierd does not hold: they were about to begin when the last supervisor died. With
// it come the deposits of those that have one, in the order of Streams.
type Recover struct {
	Streams []Awaited `json:"streams,omitempty"`
}

// Awaited says how many streams will be resumed for a task, and whether its deposit comes along.
type Awaited struct {
	TaskRef
	Patient    int  `json:"patient"`
	HasDeposit bool `json:"hasDeposit,omitempty"`
}

// Frames of an attached stream are Docker's: the kind, three zero bytes, the payload's length as four bytes big endian,
// the payload. FrameStdout and FrameStderr carry output; a terminal's output is FrameStdout.
const (
	FrameHeader = 8 // bytes

	FrameEnd    = 0 // all was sent; the payload is the exit code, four bytes big endian, or nothing
	FrameStdout = 1
	FrameStderr = 2
	FrameError  = 3 // the payload says why the supervisor ended the stream early
)

// Exit is how a task ended.
type Exit struct {
	TaskRef
	Pid int `json:"pid"`
	// Code is the exit status, or 128 + the signal. Unknown is set where neither process could learn it; Code is then 255.
	Code    int       `json:"code"`
	Unknown bool      `json:"unknown,omitempty"`
	OOM     bool      `json:"oom,omitempty"` // the kernel killed a process of the container for memory
	At      time.Time `json:"at"`
}

// Task is the supervisor's view of one process.
type Task struct {
	TaskRef
	Pid int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot: with Pid it names the process for ever.
	StartTime uint64    `json:"startTime"`
	StartedAt time.Time `json:"startedAt"`
	Cgroup    string    `json:"cgroup,omitempty"` // path below the hierarchies' mount points
	Terminal  bool      `json:"terminal,omitempty"`
	Frozen    bool      `json:"frozen,omitempty"` // by Freeze
	Stdio     Stdio     `json:"stdio"`
	Log       Log       `json:"log"`
	Exit      *Exit     `json:"exit,omitempty"` // nil while it lives
}

// Adopt hands a task to a new supervisor, with the descriptors that Files counts.
type Adopt struct {
	Task  Task  `json:"task"`
	Files Files `json:"files"`
	// Child is set where the process is now pierd's child: pierd tells its end with Reaped.
	Child bool `json:"child,omitempty"`
	// Patient and Others count the streams that will be resumed. Output waits for patient ones as long as pierd watches,
	// for others a short while.
	Patient int `json:"patient,omitempty"`
	Others  int `json:"others,omitempty"`
}
