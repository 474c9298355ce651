package progress

import (
	"fmt"
	"io"

	"pier/api/docker"
)

// plain prints a line for every fact, with the step's number in front.
type plain struct {
	w     io.Writer
	steps steps
}

// NewPlain prints a line for every fact on w.
func NewPlain(w io.Writer) View {
	return &plain{w: w, steps: steps{by: map[string]*step{}}}
}

func (p *plain) Vertex(v docker.BuildVertex) {
	known := p.steps.by[v.Vertex] != nil
	s, lines := p.steps.apply(v)
	if !known {
		fmt.Fprintf(p.w, "#%d %s\n", s.number, s.title)
	}
	for _, line := range lines {
		fmt.Fprintf(p.w, "#%d %.3f %s\n", s.number, v.Time.Sub(s.started).Seconds(), line)
	}
	switch v.Event {
	case docker.VertexCached:
		fmt.Fprintf(p.w, "#%d CACHED\n", s.number)
	case docker.VertexDone:
		p.rest(s)
		fmt.Fprintf(p.w, "#%d DONE %.1fs\n", s.number, s.took.Seconds())
	case docker.VertexFailed:
		p.rest(s)
		fmt.Fprintf(p.w, "#%d ERROR: %s\n", s.number, v.Error)
	}
}

func (p *plain) rest(s *step) {
	if len(s.unfinished) > 0 {
		fmt.Fprintf(p.w, "#%d %s\n", s.number, s.unfinished)
		s.unfinished = nil
	}
}

func (p *plain) Close() {}
