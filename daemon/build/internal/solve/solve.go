// Package solve runs a graph of build operations over the layer store.
//
//	vertex -> inputs solved -> key -> cache hit: its layers
//	                               -> miss: writable layer, mount, work, commit: new layer, cache entry
//
// Vertices run as soon as their inputs are there, all branches at once. A vertex's key names everything that its result
// depends on, so two builds that need the same vertex at the same time run it once.
//
// Start reading at Solver.Solve.
package solve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"pier/daemon/build/internal/cache"
	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// Steps runs the processes of exec operations.
type Steps interface {
	Step(ctx context.Context, r engine.StepRequest) (exitCode int, err error)
}

// Solver is what all builds share. Its fields must not change once it is in use.
type Solver struct {
	Layers *layer.Store
	Steps  Steps
	Cache  *cache.Cache
	Mounts *CacheMounts
	// Dir is a folder for what lives as long as one build: spools, attached mounts.
	Dir  string
	HTTP *http.Client
	Log  *slog.Logger
}

// UpdateKind says what an Update reports.
type UpdateKind uint8

// The kinds of updates of a vertex: Started or Cached once, Running when a process begins, Log any number of times, then
// Done or Failed once.
const (
	Started UpdateKind = iota + 1
	Cached
	Running
	Log
	Done
	Failed
)

// Update is one fact about a vertex.
type Update struct {
	Kind   UpdateKind
	Vertex *graph.Vertex
	ID     string // Running: the process's; Done: the result's
	Stream int    // Log: 1 or 2
	Data   []byte // Log; only valid during the call
	Err    error  // Failed
}

// Job is one build's request. Its fields must not change while it is solved.
type Job struct {
	ID      string // one path component, unique
	Graph   *graph.Graph
	Context *tree.Memory            // the local source
	Images  map[string]*image.Image // reference in the definition -> image, held by the caller
	NoCache bool
	Step    StepDefaults
	// Notify is called from several goroutines.
	Notify func(Update)
}

// StepDefaults is what the request says about all exec operations.
type StepDefaults struct {
	Network   string // "bridge", "none" or "host"
	AllowHost bool   // whether a step may ask for the host's network by itself
	ShmSize   int64
	Limits    Limits
}

// Result is one output: layers, or a tree that is in no layer (a context, a download).
type Result struct {
	Chain digest.Digest
	Tree  *tree.Memory
	// Created is when the step that made it ended.
	Created time.Time
}

// vertexState is a vertex under way.
type vertexState struct {
	done    chan struct{}
	results []Result
	err     error
}

// run is one Solve.
type run struct {
	s      *Solver
	job    *Job
	holder string
	states map[*graph.Vertex]*vertexState
	slots  chan struct{}

	mu        sync.Mutex
	counter   int
	realized  map[*tree.Memory]digest.Digest
	closers   []func() error // what lives until the end of the build
	firstFail error
}

// maxParallel is how many operations of one build run at the same time.
func maxParallel() int { return max(4, 2*runtime.NumCPU()) }

// Solution is what Solve made. The layers are held for the job until Release.
type Solution struct {
	Result Result
	// Steps are the outputs of every vertex, for the history.
	Steps map[*graph.Vertex][]Result

	release func()
}

// Release lets go of the layers. Call it once the result is held by an image, or is not wanted.
func (s *Solution) Release() { s.release() }

// VertexError says which vertex failed. It has the kind of what it wraps.
type VertexError struct {
	Vertex *graph.Vertex
	Err    error
}

func (e *VertexError) Error() string { return e.Err.Error() }

func (e *VertexError) Unwrap() error { return e.Err }

// Solve runs the job to its end. When it returns, nothing of the job runs or is mounted. On an error nothing is held, and
// only the cache entries of the steps that were completed stay. Errors: the context's, or a *VertexError, with an
// *ExitError in it for a process that failed.
func (s *Solver) Solve(ctx context.Context, job *Job) (*Solution, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{
		s: s, job: job, holder: "build/" + job.ID,
		states:   make(map[*graph.Vertex]*vertexState, len(job.Graph.Vertices)),
		slots:    make(chan struct{}, maxParallel()),
		realized: map[*tree.Memory]digest.Digest{},
	}
	for _, v := range job.Graph.Vertices {
		r.states[v] = &vertexState{done: make(chan struct{})}
	}
	var wg sync.WaitGroup
	for _, v := range job.Graph.Vertices {
		wg.Go(func() {
			st := r.states[v]
			defer close(st.done)
			if st.results, st.err = r.vertex(ctx, v); st.err != nil {
				r.fail(st.err)
				cancel()
			}
		})
	}
	wg.Wait()
	for _, closer := range r.closers {
		if err := closer(); err != nil {
			s.Log.Warn("clean up after build", "error", err)
		}
	}
	release := func() { s.Layers.Release(r.holder) }
	if r.firstFail != nil {
		release()
		return nil, r.firstFail
	}
	sol := &Solution{Steps: map[*graph.Vertex][]Result{}, release: release}
	for v, st := range r.states {
		sol.Steps[v] = st.results
	}
	if v := job.Graph.Result.Vertex; v != nil {
		res := r.states[v].results[job.Graph.Result.Index]
		chain, err := r.realize(ctx, res)
		if err != nil {
			release()
			return nil, err
		}
		sol.Result = Result{Chain: chain, Created: res.Created}
	}
	return sol, nil
}

// fail remembers the first failure; the cancellations that follow from it say nothing.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.firstFail == nil || errors.Is(r.firstFail, context.Canceled) && !errors.Is(err, context.Canceled) {
		r.firstFail = err
	}
}

// vertex waits for the inputs, then solves v. A panic in it is this build's error and nobody else's.
func (r *run) vertex(ctx context.Context, v *graph.Vertex) (results []Result, err error) {
	inputs := make([]Result, len(v.Inputs))
	for i, e := range v.Inputs {
		st := r.states[e.Vertex]
		select {
		case <-st.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if st.err != nil {
			return nil, context.Canceled // reported by the input itself
		}
		if e.Index >= len(st.results) {
			return nil, errkind.New(errkind.Invalid, "malformed build definition: output %d is missing", e.Index)
		}
		inputs[i] = st.results[e.Index]
	}
	defer func() {
		if p := recover(); p != nil {
			r.s.Log.Error("panic in a build step", "step", v.Name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("build step %q: internal failure: %v", v.Name, p)
		}
		if err != nil {
			r.job.Notify(Update{Kind: Failed, Vertex: v, Err: err})
			if ctx.Err() == nil || !errors.Is(err, context.Canceled) {
				err = &VertexError{Vertex: v, Err: err}
			}
		}
	}()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.solve(ctx, v, inputs)
}

// closeAtEnd keeps something open until the build ends.
func (r *run) closeAtEnd(f func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, f)
}

// name returns a fresh name for a part of this build, one path component.
func (r *run) name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counter++
	return partName(r.job.ID, r.counter)
}
