package client

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// transport sends a request and reads the head of its answer in the goroutine of the caller. The standard library's
// hands both to goroutines of their own, which costs a short-lived program more than the request itself.
//
// That way nobody reads while a body is being written, so a body that may be long, or that the server answers while it
// still comes, goes by the standard library's transport: everything that cannot be replayed does.
type transport struct {
	dial func(context.Context) (net.Conn, error)
	long *http.Transport

	mu   sync.Mutex // guards idle
	idle []*wire
}

const (
	// maxIdle is how many connections wait for the next request.
	maxIdle = 4
	// headRoom is the buffer for the head of a request, in bytes.
	headRoom = 4 << 10
	// idleLimit is how long one may wait: far less than any server waits for us.
	idleLimit = 5 * time.Second
)

// wire is one connection; it belongs to one request at a time.
type wire struct {
	net.Conn
	r     *bufio.Reader
	since time.Time // when it became idle
}

func newTransport(dial func(context.Context) (net.Conn, error)) *transport {
	return &transport{dial: dial, long: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression:  true,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     30 * time.Second,
	}}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.GetBody == nil {
		return t.long.RoundTrip(req)
	}
	if w := t.take(); w != nil {
		resp, untouched, err := t.exchange(w, req)
		if !untouched {
			return resp, err
		}
		// The server had closed the connection; it cannot have seen the request.
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
	}
	conn, err := t.dial(req.Context())
	if err != nil {
		return nil, err
	}
	resp, _, err := t.exchange(&wire{Conn: conn, r: bufio.NewReader(conn)}, req)
	return resp, err
}

// exchange owns w. untouched: the request could not be sent.
func (t *transport) exchange(w *wire, req *http.Request) (resp *http.Response, untouched bool, err error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, func() { w.Close() })
	fail := func(err error) error {
		stop()
		w.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	out := bufio.NewWriterSize(w, int(min(max(req.ContentLength, 0)+headRoom, 64<<10)))
	if err = req.Write(out); err == nil {
		err = out.Flush()
	}
	refused := err
	// A server that will not read all of the body has said why before it closed the connection.
	if resp, err = http.ReadResponse(w.r, req); err != nil {
		if refused != nil {
			return nil, ctx.Err() == nil, fail(refused)
		}
		return nil, false, fail(err)
	}
	resp.Close = resp.Close || refused != nil
	resp.Body = &answer{ReadCloser: resp.Body, ctx: ctx, done: func(whole bool) {
		if !stop() || !whole || resp.Close || w.r.Buffered() > 0 {
			w.Close()
			return
		}
		t.put(w)
	}}
	return resp, false, nil
}

func (t *transport) take() *wire {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := len(t.idle); n > 0; n = len(t.idle) {
		w := t.idle[n-1]
		t.idle = t.idle[:n-1]
		if time.Since(w.since) < idleLimit {
			return w
		}
		w.Close()
	}
	return nil
}

func (t *transport) put(w *wire) {
	w.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) >= maxIdle {
		w.Close()
		return
	}
	t.idle = append(t.idle, w)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *transport) CloseIdleConnections() {
	t.long.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.idle {
		w.Close()
	}
	t.idle = nil
}

// answer is the body of an answer; its end, or Close, gives the connection back.
type answer struct {
	io.ReadCloser
	ctx  context.Context
	once sync.Once
	done func(whole bool)
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		a.once.Do(func() { a.done(true) })
	case err != nil && a.ctx.Err() != nil:
		err = a.ctx.Err()
	}
	return n, err
}

// Close implements io.Closer. A rest of the body that nobody read costs the connection.
func (a *answer) Close() error {
	a.once.Do(func() { a.done(false) })
	return nil
}
