package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"pier/api/docker"
)

// buildView shows a running build. vertex and close are called by one goroutine.
type buildView interface {
	vertex(docker.BuildVertex)
	close(ok bool)
}

type quietView struct{}

func (quietView) vertex(docker.BuildVertex) {}
func (quietView) close(bool)                {}

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
	if v.Step == 0 {
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

// plainView prints a line for every fact, with the step's number in front.
type plainView struct {
	w     io.Writer
	steps steps
}

func newPlainView(w io.Writer) *plainView {
	return &plainView{w: w, steps: steps{by: map[string]*step{}}}
}

func (p *plainView) vertex(v docker.BuildVertex) {
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

func (p *plainView) rest(s *step) {
	if len(s.unfinished) > 0 {
		fmt.Fprintf(p.w, "#%d %s\n", s.number, s.unfinished)
		s.unfinished = nil
	}
}

func (p *plainView) close(bool) {}

// treeView redraws a list of steps in place.
type treeView struct {
	w       io.Writer
	colour  bool
	begun   time.Time
	stopped chan struct{}
	ended   chan struct{}

	mu    sync.Mutex // guards the fields that follow
	steps steps
	drawn int // lines on the screen
	dirty bool
}

func newTreeView(w io.Writer, colour bool) *treeView {
	t := &treeView{w: w, colour: colour, begun: time.Now(), stopped: make(chan struct{}), ended: make(chan struct{}), steps: steps{by: map[string]*step{}}}
	go t.redraw()
	return t
}

func (t *treeView) redraw() {
	defer close(t.ended)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.mu.Lock()
			if t.dirty || len(t.steps.list) > 0 {
				t.draw(false)
			}
			t.mu.Unlock()
		case <-t.stopped:
			return
		}
	}
}

func (t *treeView) vertex(v docker.BuildVertex) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps.apply(v)
	t.dirty = true
}

func (t *treeView) close(bool) {
	close(t.stopped)
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.steps.list) > 0 {
		t.draw(true)
	}
}

func (t *treeView) paint(code, s string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// draw rewrites the list; final draws all of it, whatever the height of the screen.
func (t *treeView) draw(final bool) {
	width, height := 80, 24
	if fd, ok := terminalOf(t.w); ok {
		if w, h, err := term.GetSize(fd); err == nil && w > 20 && h > 4 {
			width, height = w, h
		}
	}
	done := 0
	for _, s := range t.steps.list {
		if !s.running() {
			done++
		}
	}
	head := fmt.Sprintf("[+] Building %.1fs (%d/%d)", time.Since(t.begun).Seconds(), done, len(t.steps.list))
	if final {
		head += " FINISHED"
	}
	lines := []string{t.paint("1", head)}
	for _, s := range t.steps.list {
		lines = append(lines, t.stepLines(s, width, final)...)
	}
	if limit := height - 1; !final && len(lines) > limit {
		lines = append(lines[:1], lines[len(lines)-limit+1:]...)
	}
	var out bytes.Buffer
	if t.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", t.drawn)
	}
	out.WriteString("\r\x1b[J")
	for _, l := range lines {
		out.WriteString(l)
		out.WriteByte('\n')
	}
	t.drawn, t.dirty = len(lines), false
	_, _ = t.w.Write(out.Bytes()) // a terminal that is gone needs no picture
}

func (t *treeView) stepLines(s *step, width int, final bool) []string {
	took := s.took
	if s.running() {
		took = time.Since(s.started)
	}
	title, code := s.title, ""
	switch s.state {
	case docker.VertexCached:
		title, code = "CACHED "+title, "34"
	case docker.VertexDone:
		code = "34"
	case docker.VertexFailed:
		title, code = "ERROR "+title, "31"
	}
	clock := fmt.Sprintf("%.1fs", took.Seconds())
	room := width - len(clock) - 6
	text := ellipsis(title, room)
	pad := strings.Repeat(" ", max(0, room-len([]rune(text))))
	lines := []string{t.paint(code, " => "+text) + pad + "  " + clock}
	if s.running() || s.state == docker.VertexFailed {
		for _, l := range s.tail {
			lines = append(lines, t.paint("2", " => => "+ellipsis(strings.ReplaceAll(l, "\t", "    "), width-8)))
		}
	}
	return lines
}
