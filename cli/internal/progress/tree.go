package progress

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"pier/api/docker"
	"pier/cli/internal/table"
	"pier/cli/internal/terminal"
)

// tree redraws a list of steps in place.
type tree struct {
	w       io.Writer
	colour  bool
	now     func() time.Time
	size    func() (width, height int)
	begun   time.Time
	stopped chan struct{}
	ended   chan struct{}

	mu    sync.Mutex // guards the fields that follow
	steps steps
	drawn int // lines on the screen
}

// NewTree redraws the list of steps on the terminal w ten times a second, in colour where asked for.
func NewTree(w io.Writer, colour bool) View {
	t := newTree(w, colour, time.Now, func() (width, height int) {
		if s := terminal.Size(w); s[1] > 20 && s[0] > 4 {
			return int(s[1]), int(s[0])
		}
		return 80, 24
	})
	go t.redraw()
	return t
}

func newTree(w io.Writer, colour bool, now func() time.Time, size func() (width, height int)) *tree {
	return &tree{w: w, colour: colour, now: now, size: size, begun: now(), stopped: make(chan struct{}), ended: make(chan struct{}), steps: steps{by: map[string]*step{}}}
}

func (t *tree) redraw() {
	defer close(t.ended)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.mu.Lock()
			if len(t.steps.list) > 0 {
				t.draw(false)
			}
			t.mu.Unlock()
		case <-t.stopped:
			return
		}
	}
}

func (t *tree) Vertex(v docker.BuildVertex) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps.apply(v)
}

func (t *tree) Close() {
	close(t.stopped)
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.steps.list) > 0 {
		t.draw(true)
	}
}

func (t *tree) paint(code, s string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// draw rewrites the list; final draws all of it, whatever the height of the screen.
func (t *tree) draw(final bool) {
	width, height := t.size()
	done := 0
	for _, s := range t.steps.list {
		if !s.running() {
			done++
		}
	}
	head := fmt.Sprintf("[+] Building %.1fs (%d/%d)", t.now().Sub(t.begun).Seconds(), done, len(t.steps.list))
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
	t.drawn = len(lines)
	_, _ = t.w.Write(out.Bytes()) // a terminal that is gone needs no picture
}

func (t *tree) stepLines(s *step, width int, final bool) []string {
	took := s.took
	if s.running() {
		took = t.now().Sub(s.started)
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
	text := table.Ellipsis(title, room)
	pad := strings.Repeat(" ", max(0, room-len([]rune(text))))
	lines := []string{t.paint(code, " => "+text) + pad + "  " + clock}
	if s.running() || s.state == docker.VertexFailed {
		for _, l := range s.tail {
			lines = append(lines, t.paint("2", " => => "+table.Ellipsis(strings.ReplaceAll(l, "\t", "    "), width-8)))
		}
	}
	return lines
}
