package build

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/solve"
	"pier/daemon/registry"
	"pier/lib/id"
)

// maxBuffered bounds the output that is kept for a step whose turn has not come, in bytes.
const maxBuffered = 1 << 20

// report turns what happens in the graph, many things at once, into events in the order of the Dockerfile: a step's output is
// passed on at once when it is the step's turn, and kept until then otherwise. Vertex events are passed on at once always.
type report struct {
	sink func(Event)

	mu      sync.Mutex // guards the fields that follow, and orders the calls of sink
	steps   []stepState
	byLine  map[int]int // line -> index in steps
	owner   map[*graph.Vertex][]int
	current int
	begun   bool
	last    string // ID of the step before
}

type stepState struct {
	step
	waiting  int // vertices that are not done
	vertices int
	fresh    bool // a vertex did work
	started  bool // its StepStarted was sent
	id       string
	kept     []Event
	size     int
	clipped  bool
}

func newReport(sink func(Event)) *report {
	if sink == nil {
		sink = func(Event) {}
	}
	return &report{sink: sink}
}

// warning passes a message for the user on.
func (r *report) warning(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sink(Event{Kind: Warning, Time: time.Now(), Data: []byte(text)})
}

// pull passes the progress of a base image on.
func (r *report) pull(ref string, p registry.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sink(Event{
		Kind: PullProgress, Time: time.Now(), Name: ref, ID: p.ID, Data: []byte(p.Status), PullCurrent: p.Current, PullTotal: p.Total,
	})
}

// begin tells the steps and the graph, and reports the steps that need no work.
func (r *report) begin(steps []step, g *graph.Graph) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byLine = make(map[int]int, len(steps))
	r.owner = make(map[*graph.Vertex][]int, len(g.Vertices))
	for i, s := range steps {
		r.steps = append(r.steps, stepState{step: s})
		if _, ok := r.byLine[s.line]; !ok {
			r.byLine[s.line] = i
		}
	}
	// From the result down: a helper without a line of its own belongs to the step that uses it.
	for i := len(g.Vertices) - 1; i >= 0; i-- {
		v := g.Vertices[i]
		for _, line := range v.Lines {
			if at, ok := r.byLine[line]; ok {
				r.own(v, at)
			}
		}
		for _, in := range v.Inputs {
			if len(in.Vertex.Lines) == 0 && len(r.owner[in.Vertex]) == 0 && len(r.owner[v]) > 0 {
				r.own(in.Vertex, r.owner[v][0])
			}
		}
	}
	r.begun = true
	r.advance()
}

func (r *report) own(v *graph.Vertex, step int) {
	r.owner[v] = append(r.owner[v], step)
	r.steps[step].waiting++
	r.steps[step].vertices++
}

// update is solve.Job's Notify.
func (r *report) update(u solve.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := Event{Time: now, Vertex: u.Vertex.ID, Total: len(r.steps), Name: vertexName(u.Vertex), ID: u.ID}
	owners := r.owner[u.Vertex]
	if len(owners) > 0 {
		e.Step, e.Stage = owners[0]+1, r.steps[owners[0]].stage
	}
	for _, in := range u.Vertex.Inputs {
		e.Parents = append(e.Parents, in.Vertex.ID)
	}
	var kind EventKind
	switch u.Kind {
	case solve.Started:
		e.Kind = VertexStarted
	case solve.Cached:
		e.Kind = VertexCached
	case solve.Running:
		kind = StepRunning
	case solve.Log:
		e.Kind, kind = VertexLog, StepLog
		e.Stream, e.Data = u.Stream, u.Data
	case solve.Done:
		e.Kind = VertexDone
	case solve.Failed:
		e.Kind, e.Err = VertexFailed, u.Err.Error()
	}
	if e.Kind != 0 {
		r.sink(e)
	}
	for _, at := range owners {
		s := &r.steps[at]
		switch u.Kind {
		case solve.Started, solve.Running:
			s.fresh = s.fresh || !fetched(u.Vertex)
		case solve.Done:
			s.waiting--
			if u.ID != "" {
				s.id = u.ID
			}
		}
		if kind != 0 {
			step := e
			step.Kind, step.Step, step.Name, step.Stage = kind, at+1, s.text, s.stage
			r.say(at, step)
		}
	}
	if u.Kind == solve.Done {
		r.advance()
	}
}

// vertexName is what the frontend calls the vertex, without the ID by which a base image was pinned.
func vertexName(v *graph.Vertex) string {
	if src := v.Op.GetSource(); src != nil && strings.HasPrefix(src.Identifier, "docker-image://") {
		name, _, _ := strings.Cut(v.Name, "@sha256:")
		return name
	}
	return v.Name
}

// fetched reports whether v is a source that is read anew by every build and so says nothing about the cache.
func fetched(v *graph.Vertex) bool {
	src := v.Op.GetSource()
	return src != nil && !strings.HasPrefix(src.Identifier, "docker-image://")
}

// say passes a step's event on, or keeps it until the step's turn. It needs r.mu.
func (r *report) say(at int, e Event) {
	s := &r.steps[at]
	if s.started && at == r.current {
		r.sink(e)
		return
	}
	if s.size += len(e.Data); s.size > maxBuffered {
		if s.clipped {
			return
		}
		s.clipped = true
		e.Data = []byte("\n[output clipped]\n")
	}
	e.Data = append([]byte(nil), e.Data...)
	s.kept = append(s.kept, e)
}

// advance passes on whatever has come to its turn. It needs r.mu.
func (r *report) advance() {
	for r.begun && r.current < len(r.steps) {
		s := &r.steps[r.current]
		r.start(r.current)
		if s.waiting > 0 {
			return
		}
		if s.vertices > 0 && !s.fresh {
			r.sink(r.event(StepCached, r.current))
		}
		if s.id == "" { // an instruction that only changes the configuration
			sum := sha256.Sum256([]byte(r.last + "\n" + s.text))
			s.id = id.Short(hex.EncodeToString(sum[:]))
		}
		r.last = s.id
		done := r.event(StepDone, r.current)
		done.ID = s.id
		r.sink(done)
		r.current++
	}
}

func (r *report) event(k EventKind, at int) Event {
	s := &r.steps[at]
	return Event{Kind: k, Time: time.Now(), Step: at + 1, Total: len(r.steps), Name: s.text, Stage: s.stage}
}

// start sends a step's beginning and what was kept for it. It needs r.mu.
func (r *report) start(at int) {
	s := &r.steps[at]
	if s.started {
		return
	}
	s.started = true
	r.sink(r.event(StepStarted, at))
	for _, e := range s.kept {
		r.sink(e)
	}
	s.kept = nil
}

// failed ends the report with the step that v belongs to: what came before it in the Dockerfile and has something to
// show is shown first.
func (r *report) failed(v *graph.Vertex, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	owners := r.owner[v]
	if len(owners) == 0 {
		return
	}
	at := owners[0]
	for ; r.current < at; r.current++ {
		s := &r.steps[r.current]
		if s.fresh || s.waiting == 0 {
			r.start(r.current)
		}
	}
	r.start(at)
	e := r.event(StepFailed, at)
	e.Err = err.Error()
	r.sink(e)
}

// stepOf returns the number and text of the step that v belongs to, 0 for none.
func (r *report) stepOf(v *graph.Vertex) (int, step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owners := r.owner[v]; len(owners) > 0 {
		return owners[0] + 1, r.steps[owners[0]].step
	}
	return 0, step{}
}
