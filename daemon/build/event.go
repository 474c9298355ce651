package build

import (
	"fmt"
	"strings"
	"time"
)

// EventKind says what an Event reports.
type EventKind uint8

// The kinds of events of a build. Each step has one StepStarted, then any of StepCached, StepRunning and StepLog, then one
// StepDone or StepFailed.
const (
	// StepStarted: the step's turn has come in the plain text; Name is its Dockerfile text.
	StepStarted EventKind = iota + 1
	// StepCached: its result was taken from the cache.
	StepCached
	// StepRunning: a process was started for it; ID names it.
	StepRunning
	// StepLog: Data is a piece of output of its process, Stream 1 or 2.
	StepLog
	// StepDone: it is finished; ID is the short name of its result.
	StepDone
	// StepFailed: Err says why. The build ends.
	StepFailed
	// Warning: Data is a line for the user that belongs to no step.
	Warning
	// VertexStarted, VertexCached and VertexDone report, at the time when it happens, on the node of the graph that Vertex
	// names; a live tree is drawn from them. The Step events come in Dockerfile order instead.
	VertexStarted
	VertexCached
	VertexDone
	// VertexLog is StepLog at the time when it happens.
	VertexLog
	// VertexFailed is StepFailed at the time when it happens.
	VertexFailed
	// PullProgress: Data is a line about a base image being pulled; ID names a layer, PullCurrent and PullTotal say how far it is.
	PullProgress
)

// Event is one fact about a running build.
type Event struct {
	Kind EventKind
	// Time is when it happened.
	Time time.Time
	// Vertex is the digest of the graph's node; empty for a step that needs none, such as ENV.
	Vertex string
	// Parents are the vertices it waits for; set in VertexStarted.
	Parents []string
	// Step and Total number the Dockerfile's instructions from 1, over all stages that are built.
	Step, Total int
	// Name is the instruction as written, joined into one line; with Stage, the stage's name in front for a live tree.
	Name, Stage string
	// ID is the short name of a process or a result.
	ID string
	// Stream is 1 for standard output, 2 for standard error.
	Stream int
	// Data is output or a message. The receiver must not keep it after the call.
	Data []byte
	// PullCurrent and PullTotal are bytes of one layer of a base image; PullTotal is 0 where there is no bar to draw.
	PullCurrent, PullTotal int64
	// Err is the failure's text.
	Err string
}

// StepError is a step that failed.
type StepError struct {
	// Step and Total are its number and the number of steps.
	Step, Total int
	// Err says what failed, in Docker's words.
	Err error
	// ExitCode is the code of a RUN step's process, 128+n after signal n; 0 where no process ended.
	ExitCode int
	// Dockerfile and Line name the place, Excerpt shows it with its neighbours.
	Dockerfile string
	Line       int
	Excerpt    string
	// Tail is the last output of the step, at most 20 lines.
	Tail []string
}

// Error is Docker's sentence on the matter; the other fields are for who can show more.
func (e *StepError) Error() string { return e.Err.Error() }

// Unwrap gives Err, whose kind is the failure's.
func (e *StepError) Unwrap() error { return e.Err }

// Detail is the place in the Dockerfile, its excerpt and the last output, several lines, for a person.
func (e *StepError) Detail() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s:%d\n%s", e.Dockerfile, e.Line, e.Excerpt)
	for _, l := range e.Tail {
		fmt.Fprintf(&s, "  | %s\n", l)
	}
	return s.String()
}
