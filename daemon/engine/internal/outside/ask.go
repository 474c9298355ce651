package outside

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxRead is how many bytes are read from a connection, whatever they are: heads without end, certificates, frames of
// HTTP/2 that are no answer.
const maxRead = 128 << 10

// agent is how a probe introduces itself, for the logs of the one who is asked.
const agent = "Pier-Health/1"

var errTooLong = errors.New("the answer is too long")

// wire is the connection to a container as a net.Conn of which only so much is read: by Read alone, which is why the file
// is not embedded with the other ways that it has.
type wire struct {
	file
	in   io.Reader // the same file
	left int
}

// file is what a net.Conn does and wire leaves to the *os.File.
type file interface {
	io.WriteCloser
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Read reads at most what is left.
func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, errTooLong
	}
	n, err := w.in.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// LocalAddr and RemoteAddr are for the interface alone; nobody asks.
func (w *wire) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// request is what get and getTLS ask (RFC 9112).
func (c *Check) request() []byte {
	return []byte("GET " + c.what + " HTTP/1.1\r\nHost: " + c.name + "\r\nUser-Agent: " + agent + "\r\nAccept: */*\r\nConnection: close\r\n\r\n")
}

// getTLS is get through TLS. Who answers is known by the namespace, and nothing secret is sent: the certificate, often the
// program's own, is none to check.
func (c *Check) getTLS(w *wire) (healthy bool, said string, err error) {
	conn := tls.Client(w, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if _, err := conn.Write(c.request()); err != nil {
		return false, "", err
	}
	return c.get(conn)
}

// get reads what comes of the request. The verdict is the status, once as much of the body has come as is kept.
func (c *Check) get(conn io.Reader) (healthy bool, said string, err error) {
	in := bufio.NewReader(conn)
	for {
		if _, err := in.Peek(1); err != nil { // nothing at all is told apart from less than an answer
			return false, "", err
		}
		answer, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
		if err != nil {
			return false, "", err
		}
		if answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols {
			continue // an interim one (RFC 9110, 15.2), and the last one follows
		}
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxOutput))
		if err != nil {
			return false, "", err
		}
		said = strings.TrimSpace(strconv.Itoa(answer.StatusCode) + " " + http.StatusText(answer.StatusCode))
		if len(body) > 0 {
			said += "\n" + string(body)
		}
		return answer.StatusCode >= 200 && answer.StatusCode < 400, said, nil
	}
}

// servingStatus are the values of HealthCheckResponse.ServingStatus.
var servingStatus = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// serving asks by gRPC's health protocol (grpc/doc/health-checking.md; the wire is grpc/doc/PROTOCOL-HTTP2.md). One call of
// two fields needs no more of gRPC than a frame of five bytes before each message.
func (c *Check) serving(w *wire) (healthy bool, said string, err error) {
	message := []byte{}
	if c.what != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(c.what))), c.what...) // string service = 1
	}
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxOutput, Protocols: protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return w, nil }}
	defer t.CloseIdleConnections()
	answer, err := t.RoundTrip(&http.Request{Method: http.MethodPost, Proto: "HTTP/2.0", ProtoMajor: 2,
		URL:    &url.URL{Scheme: "http", Host: "localhost", Path: "/grpc.health.v1.Health/Check"},
		Header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {agent}},
		Body:   io.NopCloser(bytes.NewReader(frame)), ContentLength: int64(len(frame))})
	if err != nil {
		return false, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxOutput))
	if err != nil {
		return false, "", err
	}
	trailer := answer.Trailer
	if trailer.Get("Grpc-Status") == "" {
		trailer = answer.Header // where there is no message
	}
	switch status := trailer.Get("Grpc-Status"); {
	case answer.StatusCode != http.StatusOK || status == "":
		return false, fmt.Sprintf("%d %s, which is not gRPC", answer.StatusCode, http.StatusText(answer.StatusCode)), nil
	case status == "5":
		return false, "the server does not know the service", nil
	case status == "12":
		return false, "the server does not have grpc.health.v1.Health", nil
	case status != "0":
		return false, fmt.Sprintf("grpc-status %.3s: %s", status, trailer.Get("Grpc-Message")), nil
	}
	state, ok := servingIn(body)
	if !ok {
		return false, "an answer that is no HealthCheckResponse", nil
	}
	return state == 1, servingStatus[state], nil
}

// servingIn reads a frame with a HealthCheckResponse: ServingStatus status = 1.
func servingIn(frame []byte) (state uint64, ok bool) {
	if len(frame) < 5 || frame[0] != 0 || uint64(binary.BigEndian.Uint32(frame[1:])) != uint64(len(frame)-5) {
		return 0, false
	}
	for message := frame[5:]; len(message) > 0; {
		if message[0] != 1<<3|0 {
			return 0, false // it has no other field
		}
		n := 0
		if state, n = binary.Uvarint(message[1:]); n <= 0 || state >= uint64(len(servingStatus)) {
			return 0, false
		}
		message = message[1+n:]
	}
	return state, true
}
