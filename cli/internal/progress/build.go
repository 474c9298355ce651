package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"

	"pier/api/docker"
)

// Output is where a build is shown.
type Output struct {
	View     View // its steps; Build closes it
	Out, Err io.Writer
	// Quiet keeps what is said in words from Out; Err gets it where the build fails.
	Quiet bool
}

// Built is what a build has made.
type Built struct {
	ID    string // of the image
	Steps bool   // the daemon told of steps, and View has shown them
}

// Build shows the daemon's answer to a build, to its end. An error in the answer is one of Show's.
func Build(answer io.Reader, o Output) (Built, error) {
	var built Built
	aux := func(m jsonstream.Message) bool {
		if m.ID == docker.VertexMessageID {
			var v docker.BuildVertex
			if json.Unmarshal(*m.Aux, &v) == nil {
				built.Steps = true
				o.View.Vertex(v)
			}
			return true
		}
		var result struct{ ID string }
		if json.Unmarshal(*m.Aux, &result) == nil && result.ID != "" {
			built.ID = result.ID
		}
		return true
	}
	// Text that comes beside facts (a warning, the place of a failure) is shown below them; without facts it is all there
	// is. A quiet daemon says nothing but the image's ID, and may say that as text.
	var below bytes.Buffer
	text := &switchedWriter{off: o.Out, on: &below, switched: func() bool { return built.Steps || o.Quiet }}
	err := Show(answer, text, aux)
	o.View.Close()
	switch {
	case !o.Quiet:
		_, _ = below.WriteTo(o.Out)
	case err != nil:
		_, _ = below.WriteTo(o.Err)
	}
	if err != nil {
		return built, err
	}
	if built.ID == "" && o.Quiet {
		built.ID = strings.TrimSpace(below.String())
	}
	if built.ID == "" {
		return built, errors.New("the daemon ended the build without naming an image")
	}
	return built, nil
}

// switchedWriter writes to one of two writers.
type switchedWriter struct {
	off, on  io.Writer
	switched func() bool
}

// Fd is that of the writer before the switch, for bars of what is pulled.
func (s *switchedWriter) Fd() uintptr {
	if f, ok := s.off.(interface{ Fd() uintptr }); ok {
		return f.Fd()
	}
	return ^uintptr(0)
}

func (s *switchedWriter) Write(p []byte) (int, error) {
	if s.switched() {
		return s.on.Write(p)
	}
	return s.off.Write(p)
}
