package engine

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/api/docker"
	"pier/daemon/engine/internal/logs"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/step"
)

// CreateRequest is what POST /containers/create asks for, decoded. Create copies what it keeps; the caller's structs are
// neither changed nor held.
type CreateRequest struct {
	Name             string // "" for a name made up from the identifier
	Config           *container.Config
	HostConfig       *container.HostConfig     // nil for all defaults
	NetworkingConfig *network.NetworkingConfig // nil for none
	Platform         *ocispec.Platform         // nil for whatever the image is
	Secrets          []docker.NewSecret        // their content is nowhere but in the container's folder and in its processes' reach
}

// StopOptions says how a container is asked to end. The zero value follows the container's own configuration.
type StopOptions struct {
	Signal  string // name or number; "" for the container's stop signal
	Timeout *int   // seconds until SIGKILL; negative: never; nil for the container's own (10 by default)
	// Report, where not nil, is filled in.
	Report *StopReport
}

// StopReport is what there is to say of a stop that went well.
type StopReport struct {
	// Unheard names the signal that the container's process takes no notice of, "" where it does. It was killed at once.
	Unheard string
}

// RemoveOptions are those of DELETE /containers/{id}.
type RemoveOptions struct {
	Force   bool // kill it first where it runs
	Volumes bool // also remove its anonymous volumes
	Link    bool // remove the legacy link PARENT/ALIAS, not a container
}

// ListOptions are those of GET /containers/json.
type ListOptions struct {
	All     bool // also those that do not run
	Size    bool // fill SizeRw and SizeRootFs: reads the file system, slow
	Limit   int  // at most so many, newest first, running or not; 0: no limit
	Filters map[string][]string
}

// Filters is how filters come from the wire: filter name -> wanted values.
type Filters = map[string][]string

// AttachOptions are those of POST /containers/{id}/attach.
type AttachOptions struct {
	Logs       bool // first replay what was logged so far
	Stream     bool // then follow; without it the stream ends after the replay
	Stdin      bool
	Stdout     bool
	Stderr     bool
	DetachKeys string // "" for ctrl-p,ctrl-q
}

// LogsOptions are those of GET /containers/{id}/logs.
type LogsOptions = logs.Options

// TopResult is the table of GET /containers/{id}/top.
type TopResult = container.TopResponse

// ExecStartOptions are those of POST /exec/{id}/start.
type ExecStartOptions struct {
	Detach bool
	Tty    bool
	// Width and Height are the first size of the terminal in cells, 0 for what Execs.Create said.
	Width, Height uint16
}

// StepRequest is one RUN step of a build.
type StepRequest = step.Request

// IsStepLost reports whether a step failed because the supervisor died over it. It can be run again, with a root like the
// one that it had.
func IsStepLost(err error) bool { return step.IsLost(err) }

// Exit codes that Docker's clients know for a process that never ran.
const (
	ExitNotFound      = process.ExitNotFound
	ExitNotExecutable = process.ExitNotExecutable
)

// WaitResult is one answer of Wait. Err is set where waiting failed after it had begun.
type WaitResult struct {
	ExitCode int
	Err      error
}
