package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers on a unix socket and counts connections.
func serve(t *testing.T, h http.HandlerFunc) (*transport, *atomic.Int32, *http.Server) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int32
	s := &http.Server{Handler: h, ConnState: func(_ net.Conn, c http.ConnState) {
		if c == http.StateNew {
			conns.Add(1)
		}
	}}
	go func() { _ = s.Serve(l) }()
	tr := newTransport(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = s.Close()
	})
	return tr, &conns, s
}

func ask(t *testing.T, tr *transport, ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://pier"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return tr.RoundTrip(req)
}

func echo(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hang":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/never":
		<-r.Context().Done()
	default:
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}
}

func TestOneConnectionForManyRequests(t *testing.T) {
	tr, conns, _ := serve(t, echo)
	for range 5 {
		resp, err := ask(t, tr, t.Context(), "POST", "/", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests in a row", n)
	}
}

func TestUnreadAnswerCostsItsConnection(t *testing.T) {
	tr, conns, _ := serve(t, echo)
	long := strings.Repeat("x", 1<<20)
	for range 2 {
		resp, err := ask(t, tr, t.Context(), "POST", "/", strings.NewReader(long[:1000]))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestStreamedBodyIsAnsweredWhileItComes(t *testing.T) {
	tr, _, _ := serve(t, echo)
	r, w := io.Pipe()
	go func() {
		for range 64 { // far more than the sockets hold
			_, _ = w.Write(make([]byte, 64<<10))
		}
		w.Close()
	}()
	resp, err := ask(t, tr, t.Context(), "POST", "/", r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != 64*64<<10 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestConnectionClosedMeanwhileIsReplaced(t *testing.T) {
	tr, conns, s := serve(t, echo)
	for i := range 3 {
		resp, err := ask(t, tr, t.Context(), "POST", "/", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "hello" {
			t.Fatalf("request %d: %q, %v", i, got, err)
		}
		s.SetKeepAlivesEnabled(false) // closes what is idle
		time.Sleep(10 * time.Millisecond)
		s.SetKeepAlivesEnabled(true)
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestContextEndsRequest(t *testing.T) {
	tr, _, _ := serve(t, echo)
	for _, path := range []string{"/never", "/hang"} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		resp, err := ask(t, tr, ctx, "GET", path, nil)
		if err == nil {
			_, err = resp.Body.Read(make([]byte, 1))
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
