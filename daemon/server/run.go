package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/lib/errkind"
)

// wantsRun reports whether a request that makes a process asks for its whole life, see docker.RunParameter.
func (r *request) wantsRun() bool {
	return r.flag(docker.RunParameter) && r.Header.Get("Upgrade") == "tcp"
}

// containerRun serves POST /containers/create with docker.RunParameter.
func (s *Server) containerRun(w http.ResponseWriter, r *request, create engine.CreateRequest) error {
	o := attachOptions(r)
	o.Stream, o.Logs, o.DetachKeys = true, false, ""
	run, err := s.o.Engine.Containers().Run(context.WithoutCancel(r.Context()), create, o)
	if err != nil {
		return err
	}
	return serveRun(w, r, run, o.Stdin)
}

// execRun serves POST /containers/{id}/exec with docker.RunParameter.
func (s *Server) execRun(w http.ResponseWriter, r *request, body container.ExecCreateRequest) error {
	run, err := s.o.Engine.Execs().Run(context.WithoutCancel(r.Context()), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return serveRun(w, r, run, body.AttachStdin)
}

// serveRun tells a run until its end or until the client is gone.
func serveRun(w http.ResponseWriter, r *request, run *engine.Run, stdin bool) error {
	defer run.Close()
	conn, in, err := hijack(w, r, docker.RunMediaType, docker.AppendRunFact(nil, docker.RunFact{ID: run.ID, Warnings: run.Warnings}))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := run.Started(); err != nil {
		failure := docker.RunFailure{Status: httpStatus(err), Message: err.Error()}
		_, _ = conn.Write(docker.AppendRunFact(nil, docker.RunFact{Failure: &failure}))
		return nil
	}
	done := make(chan struct{})
	left, over := sendInput(conn, in, run.Stream, stdin, done)
	var out io.Writer = conn
	if run.Stream.Terminal {
		out = frameWriter{conn}
	}
	_, err = io.Copy(out, run.Stream)
	code, known := run.Wait(left)
	if fact := lastFact(err, code, known); fact != nil {
		_, _ = conn.Write(docker.AppendRunFact(nil, *fact))
	}
	close(done)
	run.Close() // a process that does not read holds up its input
	_ = conn.Close()
	<-over
	return nil
}

// lastFact is what a client is told at the end of a run whose output ended with err, nil where there is nobody to be told. An
// exit code alone would pass output that was cut off for whole.
func lastFact(err error, code int, known bool) *docker.RunFact {
	switch {
	case errkind.Is(err, errkind.Unavailable) || errkind.Is(err, errkind.Timeout):
		how := "how the process ended is not known"
		if known {
			how = fmt.Sprintf("the process ended with %d", code)
		}
		return &docker.RunFact{Failure: &docker.RunFailure{Status: httpStatus(err), Message: fmt.Sprintf(
			"the output is not whole: %v; %s; `logs` has what a container has said", err, how)}}
	case known:
		return &docker.RunFact{Ended: &docker.RunEnd{ExitCode: code}}
	}
	return nil
}

// frameWriter sends a terminal's output, which comes raw, in frames.
type frameWriter struct{ w io.Writer }

func (f frameWriter) Write(p []byte) (int, error) {
	frame := make([]byte, 8, 8+len(p))
	frame[0] = 1 // standard output
	binary.BigEndian.PutUint32(frame[4:], uint32(len(p)))
	if _, err := f.w.Write(append(frame, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
