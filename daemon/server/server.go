package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pier/api/docker"
	"pier/lib/errkind"
)

// Server answers the Engine API. Use New. Its methods are safe for concurrent use.
type Server struct {
	o         Options
	mux       *http.ServeMux
	http      *http.Server
	closing   context.Context // ends with Shutdown
	close     context.CancelFunc
	listeners atomic.Int64 // running GET /events, for GET /info
	requests  atomic.Uint64
	accepting sync.WaitGroup // running Serve
	silent    sync.Map       // connections on which nothing has come yet: net.Conn -> nothing
}

// handler serves one operation. An error that it returns before it wrote anything becomes the answer.
type handler func(w http.ResponseWriter, r *request) error

// New returns a server over the rooms in o. It listens nowhere yet.
func New(o Options) *Server {
	s := &Server{o: o, mux: http.NewServeMux()}
	s.closing, s.close = context.WithCancel(context.Background())
	for pattern, h := range s.routes() {
		s.mux.HandleFunc(pattern, s.handle(h))
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // hijacked streams need it, and HTTP/2's limits are one thing less to watch
	s.http = &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       10 * time.Minute,
		MaxHeaderBytes:    1 << 20, // X-Registry-Config holds the credentials of every registry
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.silent.Store(c, nil)
			} else {
				s.silent.Delete(c)
			}
		},
	}
	return s
}

// Serve answers requests on l until Shutdown; it then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	s.accepting.Add(1)
	defer s.accepting.Done()
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
}

// Heard waits until there is a request on every connection, or ctx is done. Shutdown cuts those that have none: who
// connected in good time would be turned away. The listeners are closed before.
func (s *Server) Heard(ctx context.Context) {
	// A connection may have been taken from its listener before that was closed, and be known to nobody yet but to Serve.
	ended := make(chan struct{})
	go func() { s.accepting.Wait(); close(ended) }()
	select {
	case <-ctx.Done():
		return
	case <-ended:
	}
	for {
		silent := false
		s.silent.Range(func(any, any) bool { silent = true; return false })
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
		if !silent {
			return
		}
	}
}

// Shutdown stops listening, ends the answers that only follow something, and waits until the other requests end or ctx
// is done; then it cuts what is left. Hijacked connections (attach, exec) are not waited for: they end with the
// process.
func (s *Server) Shutdown(ctx context.Context) {
	s.close()
	if err := s.http.Shutdown(ctx); err != nil {
		s.o.Log.Warn("requests that did not end in time are cut off")
		_ = s.http.Close()
	}
}

// following is the context of an answer without an end of its own: that of the request, cut by Shutdown. The caller
// calls stop.
func (s *Server) following(r *request) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	unhook := context.AfterFunc(s.closing, cancel)
	return ctx, func() { unhook(); cancel() }
}

// cutOff ends an answer that was following something and that Shutdown, not that something, has ended: the connection
// breaks, so that nobody takes it for a whole one. ctx is that of following.
func (s *Server) cutOff(ctx context.Context) {
	if ctx.Err() != nil && s.closing.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// Requests counts the requests that came so far.
func (s *Server) Requests() uint64 { return s.requests.Load() }

// ServeHTTP takes the version off the path and gives the request to its route. A panic in a handler costs the request
// alone.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	h := w.Header()
	h.Set("Api-Version", docker.MaxVersion.String())
	h.Set("Docker-Experimental", "true") // Docker's client has no word for checkpoints otherwise; see docs/rationale.md
	h.Set("Ostype", "linux")
	h.Set("Server", "Pier/"+s.o.Version+" (linux)")
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			s.o.Log.Error("a request made a handler panic", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			writeError(w, errkind.New(errkind.Internal, "internal error: the request made pierd panic; its log has the details"))
		}
	}()
	// The mux would answer a path such as //x with a redirect, which no client of this API follows with its body.
	path := r.URL.Path
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	version, path, err := splitVersion(path)
	if err == nil && !strings.HasPrefix(path, "/") {
		err = errkind.New(errkind.NotFound, "page not found") // OPTIONS *, CONNECT
	}
	if err == nil && strings.Contains(path, "/.") && slices.ContainsFunc(strings.Split(path, "/"), isDots) {
		err = errkind.New(errkind.Invalid, "invalid path %q: '.' and '..' name nothing here", path) // the mux would redirect here too
	}
	if err != nil {
		writeError(w, err)
		return
	}
	target := *r.URL
	target.Path, target.RawPath = path, ""
	r = r.WithContext(context.WithValue(r.Context(), versionKey{}, version))
	r.URL = &target
	s.mux.ServeHTTP(w, r)
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

// versionKey carries the version from ServeHTTP through the mux to handle.
type versionKey struct{}

// splitVersion takes "/v1.47" off a path. Without it the newest version is meant.
func splitVersion(path string) (docker.Version, string, error) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	number, ok := strings.CutPrefix(first, "v")
	if !ok || number == "" || strings.Trim(number, "0123456789.") != "" {
		return docker.MaxVersion, path, nil
	}
	v, err := docker.ParseVersion(number)
	switch {
	case err != nil:
		return v, "", errkind.New(errkind.Invalid, "%w", err)
	case docker.MaxVersion.Less(v):
		return v, "", errkind.New(errkind.Invalid, "client version %s is too new. Maximum supported API version is %s", v, docker.MaxVersion)
	case v.Less(docker.MinVersion):
		return v, "", errkind.New(errkind.Invalid, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, docker.MinVersion)
	}
	return v, "/" + rest, nil
}

func (s *Server) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			writeError(w, errkind.New(errkind.Invalid, "invalid query: %w", err))
			return
		}
		version, _ := r.Context().Value(versionKey{}).(docker.Version)
		tracked := &trackedWriter{ResponseWriter: w}
		req := &request{Request: r, version: version, query: query}
		if err := h(tracked, req); err != nil {
			s.fail(tracked, r, err)
		}
		req.finish(w)
	}
}

// fail answers a request with an error.
func (s *Server) fail(w *trackedWriter, r *http.Request, err error) {
	if status := httpStatus(err); status == http.StatusInternalServerError {
		s.o.Log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	} else {
		s.o.Log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	if w.wrote {
		panic(http.ErrAbortHandler) // half an answer: cut the connection, so that nobody takes it for a whole one
	}
	writeError(w, err)
}
