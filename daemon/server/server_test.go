package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/api/docker"
	"pier/daemon/store/journal"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// newServer is a server over no rooms: enough for everything that is decided before a room is asked.
func newServer() *Server {
	return New(Options{Log: slog.New(slog.DiscardHandler), Host: Host{Version: "0"}})
}

func get(t *testing.T, s *Server, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	s.ServeHTTP(w, r)
	return w
}

func TestStatus(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{errkind.New(errkind.Invalid, "x"), 400},
		{errkind.New(errkind.Unauthorized, "x"), 401},
		{errkind.New(errkind.Forbidden, "x"), 403},
		{errkind.New(errkind.NotFound, "x"), 404},
		{errkind.New(errkind.Conflict, "x"), 409},
		{errkind.New(errkind.NotModified, "x"), 304},
		{errkind.New(errkind.Internal, "x"), 500},
		{errkind.New(errkind.Exhausted, "x"), 500},
		{errkind.New(errkind.Unsupported, "x"), 501},
		{errkind.New(errkind.Unavailable, "x"), 503},
		{errkind.New(errkind.Timeout, "x"), 504},
		{errkind.New(errkind.Canceled, "x"), 499},
		{errors.New("x"), 500},
		{fmt.Errorf("y: %w", context.Canceled), 499},
		{errkind.New(errkind.Invalid, "y: %w", &http.MaxBytesError{Limit: 1}), 413},
	}
	for _, tt := range tests {
		if got := httpStatus(tt.err); got != tt.want {
			t.Errorf("httpStatus(%v %q) = %d, want %d", errkind.Of(tt.err), tt.err, got, tt.want)
		}
	}
	for k := errkind.Internal; k <= errkind.Canceled; k++ {
		if statusOf[k] == 0 {
			t.Errorf("kind %v has no status", k)
		}
	}
}

func TestRouting(t *testing.T) {
	s := newServer()
	tests := []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"GET", "/_ping", "", 200, ""},
		{"HEAD", "/_ping", "", 200, ""},
		{"GET", "/v1.40/_ping", "", 200, ""},
		{"GET", "//v1.40//_ping", "", 200, ""},
		{"GET", "/v1.39/_ping", "", 400, "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"},
		{"GET", "/v1.99/_ping", "", 400, "client version 1.99 is too new. Maximum supported API version is 1.56"},
		{"GET", "/v1.4.1/_ping", "", 400, ""},
		{"GET", "/nothing", "", 404, "page not found"},
		{"DELETE", "/_ping", "", 404, "page not found"},
		{"GET", "/images/", "", 404, "page not found"},
		{"POST", "/images/a/b/nothing", "", 404, "page not found"},
		{"GET", "/v1.44/images/search", "", 501, "ImageSearch is not supported by this version of Pier"},
		{"HEAD", "/containers/x/archive", "", 400, ""},
		{"POST", "/images/localhost:5000/a/b/push", "", 501, "ImagePush is not supported by this version of Pier"},
		{"GET", "/services", "", 503, ""},
		{"POST", "/containers/create", "", 400, "invalid JSON: got EOF while reading request body"},
		{"POST", "/containers/create", "{}{}", 400, "unexpected content after JSON"},
		{"POST", "/containers/create", "{", 400, "invalid JSON: unexpected EOF"},
		{"POST", "/containers/create", "{}", 400, "invalid config: config cannot be empty in order to create a container"},
		{"POST", "/containers/create", `{"Image":"` + strings.Repeat("x", maxJSON) + `"}`, 413, ""},
		{"GET", "/containers/x/logs", "", 400, "Bad parameters: you must choose at least one stream"},
		{"GET", "/containers/json?filters={\"odd\":[\"x\"]}", "", 400, "invalid filter 'odd'"},
		{"GET", "/containers/json?limit=x", "", 400, ""},
		{"POST", "/containers/x/wait?condition=odd", "", 400, "invalid condition: \"odd\""},
		{"POST", "/containers/x/resize?h=-1&w=3", "", 400, ""},
		{"POST", "/containers/x/stop?t=soon", "", 400, ""},
		{"POST", "/build?version=2", "", 501, ""},
		{"POST", "/build?memory=many", "", 400, ""},
		{"POST", "/images/create", "", 400, ""},
		{"GET", "/images/get", "", 400, "no image names given"},
	}
	for _, tt := range tests {
		w := get(t, s, tt.method, tt.path, tt.body)
		if w.Code != tt.status {
			t.Errorf("%s %s = %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.status)
			continue
		}
		if w.Header().Get("Api-Version") != docker.MaxVersion.String() {
			t.Errorf("%s %s: Api-Version is %q", tt.method, tt.path, w.Header().Get("Api-Version"))
		}
		var e struct{ Message string }
		if tt.status >= 400 && tt.method != "HEAD" {
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" {
				t.Errorf("%s %s: error body %q", tt.method, tt.path, w.Body)
			}
		}
		if tt.message != "" && e.Message != tt.message {
			t.Errorf("%s %s: message %q, want %q", tt.method, tt.path, e.Message, tt.message)
		}
	}
}

// late is a listener whose last connection comes out only after it was closed: it had been accepted before.
type late struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l late) Accept() (net.Conn, error) {
	<-l.closed
	select {
	case c := <-l.conn:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l late) Close() error   { return nil }
func (l late) Addr() net.Addr { return &net.UnixAddr{} }

func TestHeardWaitsForWhoWasJustAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		ours, theirs := net.Pipe()
		l := late{make(chan net.Conn, 1), make(chan struct{})}
		l.conn <- theirs
		go func() { _ = s.Serve(l) }()
		go func() {
			time.Sleep(100 * time.Millisecond)
			close(l.closed)
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(ours, "GET /_ping HTTP/1.0\r\n\r\n")
		}()
		answer := make(chan string)
		go func() {
			data, _ := io.ReadAll(ours)
			answer <- string(data)
		}()
		synctest.Wait() // Serve awaits a connection
		s.Heard(t.Context())
		s.Shutdown(t.Context())
		if got := <-answer; !strings.Contains(got, "200 OK") {
			t.Errorf("answer = %q", got)
		}
	})
}

func TestPanicCostsOneRequest(t *testing.T) {
	s := newServer()
	w := get(t, s, "GET", "/networks", "") // the rooms are nil
	if w.Code != 500 || !strings.Contains(w.Body.String(), "panic") {
		t.Errorf("answer = %d %s", w.Code, w.Body)
	}
}

func TestTimestamp(t *testing.T) {
	now := time.Unix(2000, 0)
	for in, want := range map[string]time.Time{
		"": {}, "0": {}, "1500": time.Unix(1500, 0), "1500.25": time.Unix(1500, 250_000_000), "10m": time.Unix(1400, 0),
		"1970-01-01T00:00:07Z": time.Unix(7, 0), "1970-01-01T00:00:07.5+00:00": time.Unix(7, 500_000_000),
	} {
		r := request{query: map[string][]string{"since": {in}}}
		if got, err := r.timestamp("since", now); err != nil || !got.Equal(want) {
			t.Errorf("timestamp(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"soon", "1.2.3", "-"} {
		r := request{query: map[string][]string{"since": {in}}}
		if got, err := r.timestamp("since", now); err == nil {
			t.Errorf("timestamp(%q) = %v, want an error", in, got)
		}
	}
}

func TestEvents(t *testing.T) {
	s := newServer()
	j, err := journal.Open(journal.Options{Dir: t.TempDir(), Feed: feed.New[events.Message](16), Log: s.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s.o.Events = j
	publish := func(typ events.Type, action events.Action, id string, attributes map[string]string) {
		now := time.Now()
		s.o.Events.Publish(events.Message{Type: typ, Action: action, Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
			Actor: events.Actor{ID: id, Attributes: attributes}})
	}
	publish(events.ContainerEventType, "start", "abcdef", map[string]string{"name": "web", "image": "busybox:1", "tier": "front"})
	publish(events.ContainerEventType, "exec_create: sh", "abcdef", map[string]string{"name": "web"})
	publish(events.ImageEventType, "tag", "sha256:1234", map[string]string{"name": "busybox:1", "image": "a label"})
	publish(events.NetworkEventType, "connect", "net", map[string]string{"container": "abcdef"})
	tests := map[string]int{
		`{}`: 4, `{"container":["abc"]}`: 2, `{"container":["web"]}`: 2, `{"container":["we"]}`: 0,
		`{"event":{"exec_create":true}}`: 1, `{"type":["image"],"event":["tag"]}`: 1, `{"image":["busybox"]}`: 2,
		`{"image":["1234"]}`: 1, `{"label":["tier=front"]}`: 1, `{"label":["tier=back"]}`: 0, `{"scope":["swarm"]}`: 0,
	}
	var until string
	for f, want := range tests {
		until = fmt.Sprintf("%.9f", float64(time.Now().UnixNano())/1e9)
		w := get(t, s, "GET", "/v1.51/events?since=1&until="+until+"&filters="+f, "")
		if got := strings.Count(w.Body.String(), "\n"); w.Code != 200 || got != want {
			t.Errorf("filters %s: %d events, want %d: %s", f, got, want, w.Body)
		}
	}
	for version, want := range map[string]string{
		"/v1.40": "start/abcdef/busybox:1 exec_create: sh/abcdef/ tag/sha256:1234/ //",
		"/v1.51": "start/abcdef/busybox:1 exec_create: sh/abcdef/ tag/sha256:1234/ //",
		"/v1.52": "// // // //",
		"":       "// // // //",
	} {
		var got []string
		for dec := json.NewDecoder(get(t, s, "GET", version+"/events?since=1&until="+until, "").Body); dec.More(); {
			var old struct{ Status, ID, From string }
			if err := dec.Decode(&old); err != nil {
				t.Fatal(err)
			}
			got = append(got, old.Status+"/"+old.ID+"/"+old.From)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("old fields of the events in version %q: %q, want %q", version, got, want)
		}
	}
	s.close() // Shutdown cuts off what has no end yet, and that alone
	if w := get(t, s, "GET", "/v1.51/events?since=1&until="+until, ""); w.Code != 200 || strings.Count(w.Body.String(), "\n") != 4 {
		t.Errorf("all events while the daemon ends: %d %s", w.Code, w.Body)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("events without an end while the daemon ends: %v", v)
		}
	}()
	get(t, s, "GET", "/v1.51/events?since=1", "")
}
