package http1

import (
	"bufio"
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

	"pier/lib/errkind"
)

// serve answers on a unix socket and counts connections.
func serve(t *testing.T, h http.HandlerFunc) (*Transport, *atomic.Int32, *http.Server) {
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
	tr := &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		tr.CloseIdle()
		_ = s.Close()
	})
	return tr, &conns, s
}

func post(path string, body string) *Request {
	return &Request{Method: "POST", Target: path, Host: "pier", Body: []byte(body)}
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
		w.Header().Set("Length", r.Header.Get("Content-Length"))
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}
}

func TestOneConnectionForManyRequests(t *testing.T) {
	tr, conns, _ := serve(t, echo)
	for _, body := range []string{"hello", "", strings.Repeat("x", 100), strings.Repeat("long ", 20<<10), "again"} {
		resp, err := tr.Do(t.Context(), post("/", body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || string(got) != body {
			t.Fatalf("%d bytes of %d, %v", len(got), len(body), err)
		}
	}
	for _, method := range []string{"HEAD", "GET", "DELETE"} {
		resp, err := tr.Do(t.Context(), &Request{Method: method, Target: "/?a=b", Host: "pier"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); len(got) > 0 || err != nil {
			t.Errorf("%s: %q, %v", method, got, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 8 requests in a row", n)
	}
}

func TestUnreadAnswerCostsItsConnection(t *testing.T) {
	tr, conns, _ := serve(t, echo)
	for range 2 {
		resp, err := tr.Do(t.Context(), post("/", strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// closing notes that it was closed.
type closing struct {
	io.Reader
	closed atomic.Bool
}

func (c *closing) Close() error {
	c.closed.Store(true)
	return nil
}

func TestStreamIsAnsweredWhileItComes(t *testing.T) {
	tr, conns, _ := serve(t, echo)
	for range 2 {
		r, w := io.Pipe()
		go func() {
			for range 64 { // far more than the sockets hold
				_, _ = w.Write(make([]byte, 64<<10))
			}
			w.Close()
		}()
		body := &closing{Reader: r}
		resp, err := tr.Do(t.Context(), &Request{Method: "POST", Target: "/", Host: "pier", Stream: body})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 64*64<<10 || err != nil || !body.closed.Load() {
			t.Errorf("%d bytes, %v, closed %v", n, err, body.closed.Load())
		}
	}
	if conns.Load() != 2 {
		t.Errorf("a stream was risked on a connection that had been used: %d connections", conns.Load())
	}
}

func TestStreamThatBreaks(t *testing.T) {
	tr, _, _ := serve(t, echo)
	broken := errors.New("the file is gone")
	for _, path := range []string{"/never", "/"} {
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(make([]byte, 100))
			w.CloseWithError(broken)
		}()
		resp, err := tr.Do(t.Context(), &Request{Method: "POST", Target: path, Host: "pier", Stream: r})
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if own := new(BodyError); !errors.As(err, &own) || !errors.Is(err, broken) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A server that refuses a body says why, however much of it is still to come.
func TestRefusedBody(t *testing.T) {
	tr, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	for name, req := range map[string]*Request{
		"whole":  post("/", strings.Repeat("x", 8<<20)),
		"stream": {Method: "POST", Target: "/", Host: "pier", Stream: strings.NewReader(strings.Repeat("x", 8<<20))},
	} {
		resp, err := tr.Do(t.Context(), req)
		if err != nil || resp.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %v, %v", name, resp, err)
			continue
		}
		resp.Body.Close()
	}
}

func TestConnectionClosedMeanwhileIsReplaced(t *testing.T) {
	tr, conns, s := serve(t, echo)
	for i := range 3 {
		resp, err := tr.Do(t.Context(), post("/", "hello"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "hello" {
			t.Fatalf("request %d: %q, %v", i, got, err)
		}
		tr.mu.Lock()
		idle := tr.idle[0]
		tr.mu.Unlock()
		s.SetKeepAlivesEnabled(false) // closes what is idle
		_ = idle.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := idle.Conn.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("the connection is not closed: %v", err)
		}
		_ = idle.SetReadDeadline(time.Time{})
		s.SetKeepAlivesEnabled(true)
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// A server may close an idle connection at the very moment at which a request comes. What changes nothing is sent once more.
func TestConnectionClosedUnderARequest(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, test := range []struct {
		req   Request
		says  string // before it closes the connection that was used before
		again bool
	}{
		{Request{Method: "GET"}, "", true},
		{Request{Method: "HEAD"}, "", true},
		{Request{Method: "GET"}, "H", false},
		{Request{Method: "GET"}, "HTTP/1.1 100 Continue\r\n\r\n", false},
		{Request{Method: "GET", Body: []byte("x")}, "", false},
		{Request{Method: "POST"}, "", false},
		{Request{Method: "DELETE"}, "", false},
	} {
		for _, kind := range []string{"tcp", "unix"} {
			l, err := net.Listen(kind, map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[kind])
			if err != nil {
				t.Fatal(err)
			}
			var conns atomic.Int32
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					r := bufio.NewReader(c)
					for n := range 2 {
						req, err := http.ReadRequest(r)
						if err != nil {
							break
						}
						_, _ = io.Copy(io.Discard, req.Body)
						if n == 0 && conns.Add(1) <= 2 {
							_, _ = io.WriteString(c, strings.TrimSuffix(answer, map[bool]string{true: "ok"}[req.Method == "HEAD"]))
						} else {
							_, _ = io.WriteString(c, test.says)
						}
					}
					c.Close()
				}
			}()
			tr := &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, kind, l.Addr().String())
			}}
			test.req.Target, test.req.Host = "/", "pier"
			for n, want := range []bool{true, test.again} {
				resp, err := tr.Do(t.Context(), &test.req)
				if (err == nil) != want || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s by %s, %q, request %d: %v", test.req.Method, kind, test.says, n, err)
				}
				if err == nil {
					_, _ = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
			}
			if n := conns.Load(); n != map[bool]int32{true: 2, false: 1}[test.again] {
				t.Errorf("%s by %s, %q: %d connections", test.req.Method, kind, test.says, n)
			}
			tr.CloseIdle()
			l.Close()
		}
	}
}

func TestContextEndsRequest(t *testing.T) {
	tr, _, _ := serve(t, echo)
	for _, path := range []string{"/never", "/hang"} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		resp, err := tr.Do(ctx, post(path, ""))
		if err == nil {
			_, err = resp.Body.Read(make([]byte, 1))
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUpgrade(t *testing.T) {
	tr, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "tcp" || r.Header.Get("Connection") != "Upgrade" {
			t.Errorf("asked with %v", r.Header)
		}
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusConflict)
			return
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ")
		_, _ = io.CopyN(conn, buf, 4)
	})
	resp, taken, err := tr.Upgrade(t.Context(), post("/yes", ""), "tcp")
	if err != nil || resp.Status != SwitchingProtocols {
		t.Fatal(resp, err)
	}
	_, _ = io.WriteString(taken, "late")
	if got, err := io.ReadAll(taken.From); string(got) != "early late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	taken.Close()
	resp, taken, err = tr.Upgrade(t.Context(), post("/no", ""), "tcp")
	if err != nil || resp.Status != Conflict {
		t.Fatal(resp, err)
	}
	defer taken.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "no\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Nothing that a user says can end a line of a request's head.
func TestBadRequests(t *testing.T) {
	tr := &Transport{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("it was sent") }}
	for name, req := range map[string]*Request{
		"method":      {Method: "GET /", Target: "/", Host: "h"},
		"no method":   {Target: "/", Host: "h"},
		"target":      {Method: "GET", Target: "/a b", Host: "h"},
		"two lines":   {Method: "GET", Target: "/a\r\nX: y", Host: "h"},
		"no slash":    {Method: "GET", Target: "a", Host: "h"},
		"host":        {Method: "GET", Target: "/", Host: "h\nx: y"},
		"no host":     {Method: "GET", Target: "/"},
		"field name":  {Method: "GET", Target: "/", Host: "h", Header: Header{{"a b", "c"}}},
		"field value": {Method: "GET", Target: "/", Host: "h", Header: Header{{"a", "b\r\nc: d"}}},
	} {
		if _, err := tr.Do(t.Context(), req); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := tr.Upgrade(t.Context(), req, "tcp"); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s, upgrade: %v", name, err)
		}
	}
}
