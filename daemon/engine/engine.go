package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"pier/lib/errkind"
)

// Engine is the room's door. Its parts are reached by Containers, Streams and Execs. Safe for concurrent use.
type Engine struct{}

// Containers are the containers and what can be done to them. Every ref is an identifier, the beginning of one, or a
// name; an unknown one is an error of kind NotFound, "No such container: ref".
type Containers struct{ e *Engine }

// Streams are the containers' terminals, pipes and logs.
type Streams struct{ e *Engine }

// Execs are the further processes in running containers.
type Execs struct{ e *Engine }

// Containers returns the containers.
func (e *Engine) Containers() *Containers { return &Containers{e} }

// Streams returns the containers' streams.
func (e *Engine) Streams() *Streams { return &Streams{e} }

// Execs returns the execs.
func (e *Engine) Execs() *Execs { return &Execs{e} }

// Step runs one step of a build and returns its exit code. When ctx ends the process is killed and everything it had is
// gone before Step returns with ctx's error. A process that could not start is an error of kind Invalid.
func (e *Engine) Step(ctx context.Context, r StepRequest) (exitCode int, err error) {
	return 0, errNotYet
}

// Close stops the workers and waits for them. Containers run on.
func (e *Engine) Close() error { return nil }

var errNotYet = errkind.New(errkind.Unsupported, "not available yet")

// Create makes a container from an image.
func (c *Containers) Create(ctx context.Context, r CreateRequest) (container.CreateResponse, error) {
	return container.CreateResponse{}, errNotYet
}

// Start runs a created or exited container. NotModified where it runs already.
func (c *Containers) Start(ctx context.Context, ref string) error { return errNotYet }

// Stop ends a container. NotModified where it does not run.
func (c *Containers) Stop(ctx context.Context, ref string, o StopOptions) error { return errNotYet }

// Restart is Stop, where it runs, and Start.
func (c *Containers) Restart(ctx context.Context, ref string, o StopOptions) error { return errNotYet }

// Kill sends a signal ("" for SIGKILL) to the container's first process.
func (c *Containers) Kill(ctx context.Context, ref, signal string) error { return errNotYet }

// Pause freezes all processes of a container.
func (c *Containers) Pause(ctx context.Context, ref string) error { return errNotYet }

// Unpause is the reverse of Pause.
func (c *Containers) Unpause(ctx context.Context, ref string) error { return errNotYet }

// Rename gives a container another name.
func (c *Containers) Rename(ctx context.Context, ref, name string) error { return errNotYet }

// Remove deletes a container and all it had.
func (c *Containers) Remove(ctx context.Context, ref string, o RemoveOptions) error { return errNotYet }

// Wait answers once on the channel when the condition holds. The wait is registered when Wait returns.
func (c *Containers) Wait(ctx context.Context, ref string, cond container.WaitCondition) (<-chan WaitResult, error) {
	return nil, errNotYet
}

// Inspect describes one container. It never waits for it.
func (c *Containers) Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	return container.InspectResponse{}, errNotYet
}

// List describes the containers that the options select, newest first. It never waits for one of them.
func (c *Containers) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	return nil, errNotYet
}

// Top lists a container's processes as ps(1) with args would.
func (c *Containers) Top(ctx context.Context, ref string, args []string) (TopResult, error) {
	return TopResult{}, errNotYet
}

// Prune removes all containers that do not run and match the filters (until, label, label!).
func (c *Containers) Prune(ctx context.Context, filters Filters) (container.PruneReport, error) {
	return container.PruneReport{}, errNotYet
}

// Stream is an attached terminal or set of pipes. Reads give Docker's stream frames (raw bytes where Terminal) and end
// with io.EOF when the process is gone or the detach keys were typed; writes are the process's input.
type Stream struct {
	Terminal bool
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) { return 0, errNotYet }

// Write implements io.Writer: bytes for standard input.
func (s *Stream) Write(p []byte) (int, error) { return 0, errNotYet }

// CloseWrite ends the input; output goes on.
func (s *Stream) CloseWrite() error { return errNotYet }

// Close leaves; the process runs on.
func (s *Stream) Close() error { return errNotYet }

// LogStream is an opened log.
type LogStream struct {
	// Terminal tells that lines are written raw; otherwise in Docker's stream frames.
	Terminal bool
}

// Copy writes the log to w until its end, for Follow until the container ends or ctx does.
func (l *LogStream) Copy(ctx context.Context, w interface{ Write([]byte) (int, error) }) error {
	return errNotYet
}

// Close frees the log's files. Copy must not run.
func (l *LogStream) Close() error { return nil }

// Attach joins a container's streams; it may not run yet.
func (s *Streams) Attach(ctx context.Context, ref string, o AttachOptions) (*Stream, error) {
	return nil, errNotYet
}

// Logs opens a container's log.
func (s *Streams) Logs(ctx context.Context, ref string, o LogsOptions) (*LogStream, error) {
	return nil, errNotYet
}

// Resize sets the size of a container's terminal in cells.
func (s *Streams) Resize(ctx context.Context, ref string, width, height uint16) error {
	return errNotYet
}

// Create prepares an exec in a running container.
func (x *Execs) Create(ctx context.Context, ref string, r container.ExecCreateRequest) (container.ExecCreateResponse, error) {
	return container.ExecCreateResponse{}, errNotYet
}

// Start runs a prepared exec. With Detach the stream is nil and a failing start is the error; otherwise the stream
// carries the failure's text, as Docker has it, and Inspect the exit code 126 or 127.
func (x *Execs) Start(ctx context.Context, id string, o ExecStartOptions) (*Stream, error) {
	return nil, errNotYet
}

// Resize sets the size of an exec's terminal in cells.
func (x *Execs) Resize(ctx context.Context, id string, width, height uint16) error { return errNotYet }

// Inspect describes one exec. Execs are remembered until five minutes after their end.
func (x *Execs) Inspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	return container.ExecInspectResponse{}, errNotYet
}
