package shim

import (
	"encoding/json"
	"time"
)

// Probe asks for one run of a short command in a running container's namespaces and cgroup, from its beginning to its
// end. It is no task: nobody can attach to it, nothing of it is kept, and it does not outlive the connection on which it
// was asked for, nor the supervisor. The answer of one that was cut short so is lost, or of kind unavailable.
//
// A request holds one or more, of different containers or the same. They are begun in their order, but none waits for one
// that is slow to begin or to end. The answers come in as many responses as it takes, each with those Probes that have
// ended since the one before; the connection takes the next request after the last of them.
type Probe struct {
	ID string `json:"id"` // the container's
	// Key, where not empty, names Process and the filter. Both may be left out when the last Probe of the container had the
	// same key; a supervisor that does not know it answers with Missing.
	Key string `json:"key,omitempty"`
	// Process is a specs.Process, without a terminal. Its standard input is empty, its output and errors are one pipe.
	Process json.RawMessage `json:"process,omitempty"`
	// Seccomp and SeccompFlags are as in Start.
	Seccomp      []byte `json:"seccomp,omitempty"`
	SeccompFlags uint   `json:"seccompFlags,omitempty"`
	// Timeout is the time it may take until it is killed, above 0.
	Timeout time.Duration `json:"timeout"`
	// Limit is how many bytes of the output are kept, at most MaxProbeOutput. The rest is read and forgotten.
	Limit int `json:"limit"`
}

// MaxProbeOutput bounds Probe.Limit in bytes.
const MaxProbeOutput = 1 << 20

// MaxProbes bounds the Probes of one request.
const MaxProbes = 64

// Probed answers a Probe.
type Probed struct {
	// Index is the Probe's place in the request.
	Index int `json:"index,omitempty"`
	// Error is why there was no process, or why its end is not known; then nothing below means anything.
	Error *Error `json:"error,omitempty"`
	// Code is the exit status, or 128 + the signal.
	Code   int    `json:"code,omitempty"`
	Output []byte `json:"output,omitempty"`
	// TimedOut says that it was killed for taking too long; Code means nothing then.
	TimedOut bool `json:"timedOut,omitempty"`
	// Missing says that nothing was run: Process has to come along.
	Missing bool `json:"missing,omitempty"`
}
