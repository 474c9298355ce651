// Package graph turns an LLB definition, which may come from anybody, into vertices that the solver can trust: every index
// is in range, every enum known, every pointer set, no cycle.
//
// Start reading at Parse.
package graph

import (
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
)

// Bounds of one definition.
const (
	maxOps    = 20_000
	maxOpSize = 16 << 20
	maxInputs = 4096
)

// Edge is one output of a vertex.
type Edge struct {
	Vertex *Vertex
	Index  int
}

// Vertex is one operation. It does not change once Parse has returned it.
type Vertex struct {
	ID     string // the operation's digest
	Op     *pb.Op
	Inputs []Edge
	// Name is what the frontend calls it, Lines are the first lines in the Dockerfile that it comes from; none for helpers.
	Name  string
	Lines []int
	// IgnoreCache asks for a fresh run.
	IgnoreCache bool
	Resources   *pb.LinuxResources
}

// Graph is a definition ready to be solved.
type Graph struct {
	// Vertices come after all their inputs.
	Vertices []*Vertex
	// Result is what the definition is about; its Vertex is nil for an empty file system.
	Result Edge
}

// Parse checks def. Everything wrong with it is errkind.Invalid, except operations that exist but are not supported here.
func Parse(def *pb.Definition) (*Graph, error) {
	g := new(Graph)
	if def == nil || len(def.Def) == 0 {
		return g, nil
	}
	if len(def.Def) > maxOps {
		return nil, invalid("%d operations, more than %d", len(def.Def), maxOps)
	}
	p := parser{byID: make(map[string]*Vertex, len(def.Def)), state: map[string]int{}, graph: g}
	last := ""
	for _, raw := range def.Def {
		if len(raw) > maxOpSize {
			return nil, invalid("an operation of %d bytes", len(raw))
		}
		op := new(pb.Op)
		if err := op.UnmarshalVT(raw); err != nil {
			return nil, invalid("unreadable operation: %v", err)
		}
		last = digest.FromBytes(raw).String()
		v := &Vertex{ID: last, Op: op}
		if m := def.Metadata[last]; m != nil {
			v.Name = m.Description["llb.customname"]
			v.IgnoreCache = m.IgnoreCache
			v.Resources = m.LinuxResources
		}
		if def.Source != nil {
			v.Lines = lines(def.Source.Locations[last])
		}
		p.byID[last] = v
	}
	// The last operation is no operation: its one input is the result.
	end := p.byID[last].Op
	if end.Op != nil || len(end.Inputs) != 1 || end.Inputs[0] == nil {
		return nil, invalid("it does not end with a result")
	}
	var err error
	g.Result, err = p.edge(end.Inputs[0], 0)
	return g, err
}

func lines(l *pb.Locations) []int {
	var out []int
	for _, loc := range l.GetLocations() {
		if ranges := loc.GetRanges(); len(ranges) > 0 && ranges[0].GetStart().GetLine() > 0 {
			out = append(out, int(ranges[0].GetStart().GetLine()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func invalid(format string, args ...any) error {
	return errkind.New(errkind.Invalid, "malformed build definition: "+format, args...)
}

// parser is one depth-first walk.
type parser struct {
	byID  map[string]*Vertex
	state map[string]int // 1: on the way, 2: done
	graph *Graph
}

// edge resolves one input and all below it.
func (p *parser) edge(in *pb.Input, depth int) (Edge, error) {
	if in == nil || in.Index < 0 || in.Index > maxInputs {
		return Edge{}, invalid("bad input")
	}
	v := p.byID[in.Digest]
	if v == nil {
		return Edge{}, invalid("input %q is not in it", in.Digest)
	}
	if depth > maxOps {
		return Edge{}, invalid("too deep")
	}
	switch p.state[v.ID] {
	case 1:
		return Edge{}, invalid("operation %s depends on itself", v.ID)
	case 0:
		p.state[v.ID] = 1
		if len(v.Op.Inputs) > maxInputs {
			return Edge{}, invalid("operation %s has %d inputs", v.ID, len(v.Op.Inputs))
		}
		for _, in := range v.Op.Inputs {
			e, err := p.edge(in, depth+1)
			if err != nil {
				return Edge{}, err
			}
			v.Inputs = append(v.Inputs, e)
		}
		if err := check(v.Op); err != nil {
			return Edge{}, err
		}
		p.state[v.ID] = 2
		p.graph.Vertices = append(p.graph.Vertices, v)
	}
	if int(in.Index) >= outputs(v.Op) {
		return Edge{}, invalid("output %d of operation %s does not exist", in.Index, v.ID)
	}
	return Edge{Vertex: v, Index: int(in.Index)}, nil
}

// outputs is the number of results that an operation has.
func outputs(op *pb.Op) int {
	n := int64(0)
	switch o := op.Op.(type) {
	case *pb.Op_Exec:
		for _, m := range o.Exec.Mounts {
			if m.MountType == pb.MountType_BIND {
				n = max(n, m.Output+1)
			}
		}
	case *pb.Op_File:
		for _, a := range o.File.Actions {
			n = max(n, a.Output+1)
		}
	default:
		n = 1
	}
	return int(n)
}
