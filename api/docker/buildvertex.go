package docker

import "time"

// VertexMessageID is the id of the progress lines of POST /build whose aux field is a BuildVertex. They are sent only
// when the request asks for them with the query parameter VertexParameter=1, and then replace the text of the steps.
// Other servers ignore the parameter: a client that sees none shows the text.
const (
	VertexMessageID = "pier.vertex"
	VertexParameter = "vertices"
)

// The values of BuildVertex.Event.
const (
	VertexStarted = "started"
	VertexCached  = "cached"
	VertexLog     = "log"
	VertexDone    = "done"
	VertexFailed  = "failed"
)

// BuildVertex is one fact about one step of a running build, sent when it happens. Steps run in parallel, so facts of
// several steps alternate.
type BuildVertex struct {
	Event  string    `json:"event"`
	Vertex string    `json:"vertex"`          // which step: opaque, unique within the build
	Name   string    `json:"name,omitempty"`  // the instruction as written, on one line
	Stage  string    `json:"stage,omitempty"` // the stage's name, "" with only one
	Step   int       `json:"step,omitempty"`  // the instruction's number from 1
	Total  int       `json:"total,omitempty"` // how many there are
	Time   time.Time `json:"time"`
	Data   string    `json:"data,omitempty"`  // with log: a piece of output
	Error  string    `json:"error,omitempty"` // with failed: why
}
