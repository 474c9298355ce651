package server

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine"
	"pier/lib/errkind"
)

// attachOptions are the arguments of both attach endpoints. Output streams default to none over HTTP.
func attachOptions(r *request) engine.AttachOptions {
	return engine.AttachOptions{
		Logs: r.flag("logs"), Stream: r.flag("stream"),
		Stdin: r.flag("stdin"), Stdout: r.flag("stdout"), Stderr: r.flag("stderr"),
		DetachKeys: r.arg("detachKeys"),
	}
}

// containerAttach serves POST /containers/{id}/attach.
func (s *Server) containerAttach(w http.ResponseWriter, r *request) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	o := attachOptions(r)
	// The request's context ends when the connection is taken over; the stream lives on until pump closes it.
	stream, err := s.o.Engine.Streams().Attach(context.WithoutCancel(r.Context()), r.PathValue("id"), o)
	if err != nil {
		return err
	}
	conn, in, err := hijack(w, r, streamType(r, stream.Terminal), nil)
	if err != nil {
		_ = stream.Close()
		return err
	}
	pump(conn, in, stream, o.Stdin && o.Stream)
	return nil
}

// containerAttachWebsocket serves GET /containers/{id}/attach/ws: the same bytes in binary messages.
func (s *Server) containerAttachWebsocket(w http.ResponseWriter, r *request) error {
	if !wantsUpgrade(r) {
		return errkind.New(errkind.Invalid, "attach/ws wants a websocket handshake of version 13")
	}
	o := attachOptions(r)
	stream, err := s.o.Engine.Streams().Attach(context.WithoutCancel(r.Context()), r.PathValue("id"), o)
	if err != nil {
		return err
	}
	// A browser sends its origin with the handshake; one of another host is refused by the library.
	ws, err := websocket.Accept(w, r.Request, nil)
	if err != nil {
		_ = stream.Close()
		return nil // answered by the library
	}
	ctx := context.WithoutCancel(r.Context())
	conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	pump(conn, conn, stream, o.Stdin && o.Stream)
	return nil
}

// execCreate serves POST /containers/{id}/exec.
func (s *Server) execCreate(w http.ResponseWriter, r *request) error {
	var body container.ExecCreateRequest
	if err := r.decode(w, &body, false); err != nil {
		return err
	}
	if len(body.Cmd) == 0 {
		return errkind.New(errkind.Invalid, "no exec command specified")
	}
	if r.wantsRun() {
		return s.execRun(w, r, body)
	}
	created, err := s.o.Engine.Execs().Create(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, created)
}

// execStart serves POST /exec/{id}/start.
func (s *Server) execStart(w http.ResponseWriter, r *request) error {
	var body container.ExecStartRequest
	if err := r.decode(w, &body, true); err != nil {
		return err
	}
	if err := checkUpgrade(r); err != nil {
		return err
	}
	o := engine.ExecStartOptions{Detach: body.Detach, Tty: body.Tty}
	if body.ConsoleSize != nil && body.Tty { // docker exec -dt sends a size, and no word of a terminal: the exec has its size from its creation
		height, width := body.ConsoleSize[0], body.ConsoleSize[1]
		if height > 65535 || width > 65535 {
			return errkind.New(errkind.Invalid, "invalid console size %dx%d: at most 65535 cells each way", width, height)
		}
		o.Height, o.Width = uint16(height), uint16(width)
	}
	id := r.PathValue("id")
	stream, err := s.o.Engine.Execs().Start(context.WithoutCancel(r.Context()), id, o)
	if err != nil || body.Detach {
		return err // a detached start answers 200 without a body
	}
	exec, err := s.o.Engine.Execs().Inspect(r.Context(), id)
	if err != nil {
		_ = stream.Close()
		return err
	}
	conn, in, err := hijack(w, r, streamType(r, stream.Terminal), nil)
	if err != nil {
		_ = stream.Close()
		return err
	}
	pump(conn, in, stream, exec.OpenStdin)
	return nil
}

// execResize serves POST /exec/{id}/resize.
func (s *Server) execResize(w http.ResponseWriter, r *request) error {
	height, width, err := r.size()
	if err != nil {
		return err
	}
	return s.o.Engine.Execs().Resize(r.Context(), r.PathValue("id"), width, height)
}

// execInspect serves GET /exec/{id}/json.
func (s *Server) execInspect(w http.ResponseWriter, r *request) error {
	exec, err := s.o.Engine.Execs().Inspect(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, exec)
}
