package server

import (
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types"

	"pier/kernel/fdsock"
	"pier/lib/errkind"
)

// aliveEvery is how often a connection whose client has closed its sending half is asked whether it is still there.
const aliveEvery = 500 * time.Millisecond

// headPatience and headStart are how long output waits at most for the head of its answer, see awaitHead: where that can
// be seen, and where it cannot.
const (
	headPatience = 10 * time.Second
	headStart    = 5 * time.Millisecond
)

// closeWriter is a connection whose two directions end one by one: a socket, not a websocket.
type closeWriter interface{ CloseWrite() error }

// processStream is an attached process: *engine.Stream.
type processStream interface {
	io.ReadWriteCloser
	closeWriter
}

// streamType names the form of a stream: frames, or raw for a terminal. Before 1.42 both went by the raw name.
func streamType(r *request, terminal bool) string {
	if terminal || r.version.Before(42) {
		return types.MediaTypeRawStream
	}
	return types.MediaTypeMultiplexedStream
}

// checkUpgrade refuses a request for another protocol than the one there is: the raw stream, which Docker calls tcp.
func checkUpgrade(r *request) error {
	if to := r.Header.Get("Upgrade"); to != "" && !strings.EqualFold(to, "tcp") {
		return errkind.New(errkind.Invalid, "invalid Upgrade header %q: a stream is upgraded to tcp, or to nothing", to)
	}
	return nil
}

// hijack turns the connection into the raw two-way stream of attach and exec, and returns it after the answer's head
// and first, which may be nil, are sent. The reader may hold bytes that the client sent ahead.
func hijack(w http.ResponseWriter, r *request, contentType string, first []byte) (net.Conn, io.Reader, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, errkind.New(errkind.Internal, "take over the connection: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + contentType + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
		for _, name := range []string{"Api-Version", "Docker-Experimental", "Ostype", "Server"} {
			head += name + ": " + w.Header().Get(name) + "\r\n"
		}
		head += "\r\n"
	}
	if _, err := conn.Write(append([]byte(head), first...)); err != nil {
		_ = conn.Close()
		return nil, nil, errkind.New(errkind.Canceled, "answer the upgrade: %w", err) // the client has left
	}
	return conn, buffered, nil
}

// pump moves bytes between a hijacked connection and a process until the process ends, the user detaches, or the
// client is gone. It closes both.
func pump(conn net.Conn, in io.Reader, stream processStream, stdin bool) {
	done := make(chan struct{})
	_, over := sendInput(conn, in, stream, stdin, done)
	_, _ = io.Copy(&afterHead{conn: conn}, stream)
	close(done)
	_ = stream.Close()
	if c, ok := conn.(closeWriter); ok {
		_ = c.CloseWrite()
	}
	_ = conn.Close()
	<-over
}

// afterHead holds back the first output until the client has read the head of the answer. Some clients (docker-py is one)
// read the head through a buffer and the stream without it: what comes in the same read as the head is lost to them.
type afterHead struct {
	conn net.Conn
	read bool
}

// Write implements io.Writer.
func (a *afterHead) Write(p []byte) (int, error) {
	if !a.read {
		a.read = true
		awaitHead(a.conn)
	}
	return a.conn.Write(p)
}

// awaitHead returns when the client has read all that was sent to it, or is gone; after headPatience at the latest. No
// more than that can be known of a client that is not on this machine: it gets headStart.
func awaitHead(conn net.Conn) {
	switch conn := conn.(type) {
	case *net.UnixConn:
		end := time.Now().Add(headPatience)
		for pause := 50 * time.Microsecond; time.Now().Before(end); pause = min(2*pause, 5*time.Millisecond) {
			if unread, err := fdsock.Unread(conn); !unread || err != nil {
				return
			}
			time.Sleep(pause)
		}
	case *net.TCPConn:
		time.Sleep(headStart)
	}
}

// sendInput gives a process the client's input, in the background, until conn is closed or done is and the input has ended;
// then over closes. When the client leaves before, left closes and so does the stream.
func sendInput(conn net.Conn, in io.Reader, stream processStream, stdin bool, done <-chan struct{}) (left, over <-chan struct{}) {
	leave, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		var sink io.Writer = io.Discard
		if stdin {
			sink = &untilRefused{w: stream}
		}
		_, err := io.Copy(sink, in)
		if stdin {
			_ = stream.CloseWrite()
		}
		if _, halves := conn.(closeWriter); err != nil || !halves || !waitGone(conn, done) {
			close(leave)
			_ = stream.Close() // ends whoever copies the output
		}
	}()
	return leave, end
}

// untilRefused passes writes on until one fails, and then drops them: a process that takes no more input says nothing about
// the client that sends it.
type untilRefused struct{ w io.Writer }

// Write implements io.Writer.
func (u *untilRefused) Write(p []byte) (int, error) {
	if u.w != nil {
		if _, err := u.w.Write(p); err != nil {
			u.w = nil
		}
	}
	return len(p), nil
}

// waitGone watches a client that will send no more. It returns true when done closes, false when the client has left:
// an empty write fails on a local connection whose other end is closed, and on a remote one once that was noticed.
func waitGone(conn net.Conn, done <-chan struct{}) bool {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return true
		case <-tick.C:
			if _, err := conn.Write(nil); err != nil {
				return false
			}
		}
	}
}

// wantsUpgrade reports a sound websocket handshake (RFC 6455, section 4.2.1).
func wantsUpgrade(r *request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-Websocket-Version") == "13" &&
		r.Header.Get("Sec-Websocket-Key") != ""
}
