package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// smallBody is how long a body may be that leaves together with its head, in bytes.
const smallBody = 64 << 10

// wire is one connection; it belongs to one request at a time.
type wire struct {
	net.Conn
	r     *bufio.Reader
	since time.Time // when it became idle
}

// exchange is one request and its answer on a wire, which it owns until the answer has ended.
type exchange struct {
	wire   *wire
	ctx    context.Context
	stop   func() bool // ends the watch over ctx
	stream *sender     // nil without Request.Stream
}

// begin sends req, whose head it gets, and returns its answer as soon as the answer's head is there. The connection ends
// with ctx, and the answer's body with it. Once the body has ended, the wire goes to again, if it can be used again.
// harmless: the request may be sent once more, as the server cannot have seen all of it, or has said nothing to one that
// changes nothing.
func (w *wire) begin(ctx context.Context, req *Request, head []byte, again func(*wire)) (resp *Response, harmless bool, err error) {
	e := &exchange{wire: w, ctx: ctx, stop: context.AfterFunc(ctx, func() { w.Close() })}
	refused := e.send(req, head)
	if _, err := w.r.Peek(1); err != nil && refused == nil {
		return nil, ctx.Err() == nil && req.asks(), e.fail(unexpected(err))
	}
	// A server that will not read all of the body has said why before it closed the connection.
	resp, last, err := readHead(w.r)
	if err != nil && refused != nil {
		return nil, ctx.Err() == nil, e.fail(refused)
	}
	var chunked bool
	var length int64
	if err == nil {
		chunked, length, err = resp.framing(req.Method)
	}
	if err == nil && resp.Status == SwitchingProtocols && req.Header.Get("Upgrade") == "" {
		err = malformed("it changes the protocol without being asked to")
	}
	if err != nil {
		return nil, false, e.fail(unexpected(err))
	}
	last = last || refused != nil || length < 0 || resp.Status == SwitchingProtocols
	resp.Body = &body{exchange: e, chunked: chunked, left: length, done: func(whole bool) {
		if !e.over() || !whole || last || w.r.Buffered() > 0 {
			w.Close()
			return
		}
		again(w)
	}}
	return resp, false, nil
}

// send writes the request; a stream goes on beside what follows.
func (e *exchange) send(req *Request, head []byte) error {
	if req.Stream == nil && len(req.Body) <= smallBody {
		head, req = append(head, req.Body...), nil
	}
	if _, err := e.wire.Write(head); err != nil || req == nil {
		return err
	}
	if req.Stream != nil {
		e.stream = e.wire.sendStream(req.Stream)
		return nil
	}
	_, err := e.wire.Write(req.Body)
	return err
}

// fail ends the exchange and returns why it failed, where err is what the connection says.
func (e *exchange) fail(err error) error {
	e.over()
	e.wire.Close()
	return e.cause(err)
}

// cause is the reason behind an error of the connection.
func (e *exchange) cause(err error) error {
	var own *BodyError
	switch {
	case e.ctx.Err() != nil:
		return e.ctx.Err()
	case e.stream != nil && errors.As(e.stream.failure(), &own):
		return own
	}
	return err
}

// over stops what goes on beside the exchange. It reports whether nothing did any more.
func (e *exchange) over() bool {
	rests := e.stop()
	if e.stream != nil {
		rests = e.stream.close() && rests
	}
	return rests
}

// sender sends the stream of a request while its answer is read.
type sender struct {
	from  io.Reader
	ended chan struct{} // closed when no more is sent
	err   error         // why not all was sent; to be read once ended is closed
}

func (w *wire) sendStream(from io.Reader) *sender {
	s := &sender{from: from, ended: make(chan struct{})}
	go func() {
		s.err = sendChunks(w, from)
		close(s.ended)
		if errors.As(s.err, new(*BodyError)) {
			w.Close() // the server would wait for the rest
		}
	}()
	return s
}

// failure is why not all was sent, nil as long as it is being sent.
func (s *sender) failure() error {
	select {
	case <-s.ended:
		return s.err
	default:
		return nil
	}
}

// close gives the stream up and reports whether all of it had been sent.
func (s *sender) close() bool {
	whole := false
	select {
	case <-s.ended:
		whole = s.err == nil
	default:
	}
	if c, ok := s.from.(io.Closer); ok {
		c.Close()
	}
	return whole
}
