package docker

import "time"

// A live tree of a running build needs more than the classic builder's text. A client that sends the query argument
// LiveProgressArg=1 with POST /build also gets one line for every BuildEvent: its "aux" is the event, its "id" is
// BuildEventID. Stock clients do not ask.
const (
	LiveProgressArg = "pierprogress"
	BuildEventID    = "pier.build.event"
)

// The values of BuildEvent.Kind.
const (
	BuildStarted = "started"
	BuildCached  = "cached" // the result was there already; no other event of the vertex but "started" precedes it
	BuildLog     = "log"    // Data is output of its process
	BuildDone    = "done"
	BuildFailed  = "failed" // Error says why
)

// BuildEvent is one fact about one node of a build's graph, told when it happens.
type BuildEvent struct {
	Kind   string    `json:"kind"`
	Time   time.Time `json:"time"`
	Vertex string    `json:"vertex"` // digest of the node
	// Parents are the vertices it waits for; with BuildStarted.
	Parents []string `json:"parents,omitempty"`
	// Step and Total number the Dockerfile's instructions from 1; 0 for a node that no instruction asked for.
	Step  int    `json:"step,omitempty"`
	Total int    `json:"total,omitempty"`
	Name  string `json:"name,omitempty"`  // the instruction in one line
	Stage string `json:"stage,omitempty"` // name of its stage
	// Stream is 1 for standard output, 2 for standard error; Data the bytes (base64 in JSON).
	Stream int    `json:"stream,omitempty"`
	Data   []byte `json:"data,omitempty"`
	Error  string `json:"error,omitempty"`
}
