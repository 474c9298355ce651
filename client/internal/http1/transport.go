package http1

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"
)

const (
	// maxIdle is how many connections wait for the next request.
	maxIdle = 4
	// idleLimit is how long one may wait: far less than any server waits for us.
	idleLimit = 5 * time.Second
)

// Transport sends requests to one server. It is safe for concurrent use. A request is sent, and its answer read, in the
// goroutine of the caller: others would cost a short-lived program more than the request itself.
type Transport struct {
	// Dial opens a connection.
	Dial func(context.Context) (net.Conn, error)

	mu   sync.Mutex // guards idle
	idle []*wire
}

// Do sends req and returns the answer once its head is there; the caller closes its body. The end of ctx ends both. An
// answer with an error status is no error here. Request.Stream is read by another goroutine, and closed if it is an
// io.Closer: it may still be read when Do returns. A failure to read it is a *BodyError. A connection that was idle may be
// closed by the server at the moment of its use: then the request is sent once more, on a new one, unless the server
// may have done what it asks for.
func (t *Transport) Do(ctx context.Context, req *Request) (*Response, error) {
	head, err := req.head()
	if err != nil {
		return nil, err
	}
	if req.Stream == nil { // what can be sent only once is not risked on a connection that may be closed by now
		if w := t.take(); w != nil {
			resp, harmless, err := w.begin(ctx, req, head, t.put)
			if !harmless {
				return resp, err
			}
		}
	}
	w, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	resp, _, err := w.begin(ctx, req, head, t.put)
	return resp, err
}

// Taken is a connection on which a server was asked to speak another protocol. The caller closes it.
type Taken struct {
	net.Conn
	// From is where to read: it holds what came together with the answer.
	From *bufio.Reader
}

// Upgrade sends req on a connection of its own, with the wish to speak the protocol named. Where the server agrees
// (SwitchingProtocols) the connection is taken over; else the answer can be read, before the connection is closed. ctx
// counts until the answer's head is there.
func (t *Transport) Upgrade(ctx context.Context, req *Request, protocol string) (*Response, *Taken, error) {
	asking := *req
	asking.Header = append(Header{{"Connection", "Upgrade"}, {"Upgrade", protocol}}, req.Header...)
	head, err := asking.head()
	if err != nil {
		return nil, nil, err
	}
	w, err := t.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	resp, _, err := w.begin(ctx, &asking, head, func(w *wire) { w.Close() })
	if err != nil {
		return nil, nil, err
	}
	if b := resp.Body.(*body); !b.exchange.stop() {
		b.Close()
		return nil, nil, ctx.Err()
	}
	return resp, &Taken{w.Conn, w.r}, nil
}

func (t *Transport) dial(ctx context.Context) (*wire, error) {
	conn, err := t.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, r: bufio.NewReader(conn)}, nil
}

// take returns an idle connection, nil for none.
func (t *Transport) take() *wire {
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

func (t *Transport) put(w *wire) {
	w.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) >= maxIdle {
		w.Close()
		return
	}
	t.idle = append(t.idle, w)
}

// CloseIdle closes the connections that wait for a request. Requests under way are not touched.
func (t *Transport) CloseIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.idle {
		w.Close()
	}
	t.idle = nil
}
