package progress

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"pier/api/docker"
)

// View shows a running build. Its methods are called by one goroutine.
type View interface {
	// Vertex takes one fact in.
	Vertex(docker.BuildVertex)
	// Close draws for the last time. Nothing may follow it.
	Close()
}

// NewQuiet shows nothing.
func NewQuiet() View { return quiet{} }

type quiet struct{}

func (quiet) Vertex(docker.BuildVertex) {}
func (quiet) Close()                    {}

// step is one vertex as it stands now.
type step struct {
	number     int
	title      string
	started    time.Time
	took       time.Duration
	state      string // an Event of docker.BuildVertex other than VertexLog
	tail       []string
	unfinished []byte // output after the last line end
}

func (s *step) running() bool { return s.state == docker.VertexStarted }

// steps keeps vertices in the order of their appearance.
type steps struct {
	list []*step
	by   map[string]*step
}

// apply takes one fact in and returns its step and the whole lines of output it completed.
func (s *steps) apply(v docker.BuildVertex) (*step, []string) {
	t := s.by[v.Vertex]
	if t == nil {
		t = &step{number: len(s.list) + 1, started: v.Time}
		s.by[v.Vertex] = t
		s.list = append(s.list, t)
	}
	if v.Name != "" {
		t.title = titleOf(v)
	}
	switch v.Event {
	case docker.VertexLog:
		return t, t.output(v.Data)
	case docker.VertexStarted:
		t.started = v.Time
	default:
		t.took = max(0, v.Time.Sub(t.started))
	}
	t.state = v.Event
	return t, nil
}

func titleOf(v docker.BuildVertex) string {
	place := strings.TrimSpace(fmt.Sprintf("%s %d/%d", v.Stage, v.Step, v.Total))
	if v.Step == 0 || strings.HasPrefix(v.Name, "[") { // it names its place itself
		return v.Name
	}
	return "[" + place + "] " + v.Name
}

// tailLines is how much output of a running step a terminal shows, and of a failed one.
const tailLines = 4

func (s *step) output(data string) []string {
	s.unfinished = append(s.unfinished, data...)
	var lines []string
	for {
		i := bytes.IndexByte(s.unfinished, '\n')
		if i < 0 {
			break
		}
		line := strings.TrimRight(string(s.unfinished[:i]), "\r")
		if j := strings.LastIndexByte(line, '\r'); j >= 0 {
			line = line[j+1:] // a progress bar's last state
		}
		lines = append(lines, line)
		s.unfinished = s.unfinished[i+1:]
	}
	s.tail = append(s.tail, lines...)
	s.tail = s.tail[max(0, len(s.tail)-tailLines):]
	return lines
}
