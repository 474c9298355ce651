package http1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// canned is a connection on which the server has said all it will say.
type canned struct {
	net.Conn
	io.Reader
	closed bool
}

func (c *canned) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c *canned) Write(p []byte) (int, error) { return len(p), nil }
func (c *canned) Close() error                { c.closed = true; return nil }

// answered sends a request to a server that says answer. again: the connection waits for the next request.
func answered(method string, answer io.Reader) (resp *Response, body []byte, again bool, err error) {
	conn := &canned{Reader: answer}
	tr := &Transport{Dial: func(context.Context) (net.Conn, error) { return conn, nil }}
	resp, err = tr.Do(context.Background(), &Request{Method: method, Target: "/", Host: "pier"})
	if err == nil {
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	again = len(tr.idle) == 1
	if again == conn.closed {
		return resp, body, again, fmt.Errorf("idle: %v, closed: %v", again, conn.closed)
	}
	return resp, body, again, err
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		method, answer string
		status         int
		body           string
		again          bool
	}{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
		{"GET", "HTTP/1.1 200 OK\r\ncontent-LENGTH:5 \r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", 200, "hello", false},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, Close\r\n\r\nhello", 200, "hello", false},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false},
		{"GET", "HTTP/1.1 200\r\n\r\nup to the end", 200, "up to the end", false},
		{"GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404, "no", true},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", true},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, "", true},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n", 200, "ab0123456789", true},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nA: b\r\n\r\n", 200, "", true},
		{"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x", true},
		{"GET", "HTTP/1.1 200 OK\r\nLong: " + strings.Repeat("x", 20<<10) + "\r\nContent-Length: 1\r\n\r\nx", 200, "x", true},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(test.answer), "by byte": iotest.OneByteReader(strings.NewReader(test.answer)),
			"with its end": iotest.DataErrReader(strings.NewReader(test.answer))} {
			resp, body, again, err := answered(test.method, r)
			if name == "by byte" && !test.again {
				again = false // what follows has not come yet
			}
			if err != nil || resp.Status != test.status || string(body) != test.body || again != test.again {
				t.Errorf("%q %s: %+v, %q, again %v, %v", test.answer[:min(len(test.answer), 200)], name, resp, body, again, err)
			}
		}
	}
	resp, _, _, _ := answered("GET", strings.NewReader("HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\n\r\n"))
	if resp.Reason != "404 Not Found" || resp.Header.Get("a") != "1" || resp.Header.Get("b") != "" {
		t.Errorf("%+v", resp)
	}
}

func TestMalformedAnswers(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	chunked := ok + "Transfer-Encoding: chunked\r\n\r\n"
	for _, answer := range []string{
		"", "\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 200 OK\n\r\n", ok, ok + "A: b", ok + "A: b\r\n",
		ok + "A b\r\n\r\n", ok + "A : b\r\n\r\n", ok + ": b\r\n\r\n", ok + "A: b\r\n folded\r\n\r\n", ok + "A: b\x01\r\n\r\n", ok + "A: b\n\r\n",
		ok + "Content-Length: -1\r\n\r\n", ok + "Content-Length: +1\r\n\r\nx", ok + "Content-Length: 1, 1\r\n\r\nx", ok + "Content-Length: 0x1\r\n\r\nx",
		ok + "Content-Length: 9223372036854775808\r\n\r\n", ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", ok + "Content-Length: 9\r\n\r\nx",
		ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		chunked, chunked + "1\r\nx", chunked + "1\r\nx\r\n", chunked + "1\r\nxy\r\n0\r\n\r\n", chunked + "1\nx\r\n0\r\n\r\n", chunked + "\r\n", chunked + "-1\r\n",
		chunked + "+1\r\nx\r\n0\r\n\r\n", chunked + "0x1\r\nx\r\n0\r\n\r\n", chunked + "8000000000000000\r\n", chunked + "1\r\nx\r\n0\r\n", chunked + "1\r\nx\r\n0\r\nA\r\n\r\n",
		chunked + "1;" + strings.Repeat("x", 8<<10) + "\r\nx\r\n0\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nUpgrade: tcp\r\n\r\n",
		ok + "A: " + strings.Repeat("x", maxHead) + "\r\n\r\n", ok + strings.Repeat("A: b\r\n", maxHead/6) + "\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20) + ok + "\r\n",
	} {
		resp, body, again, err := answered("GET", strings.NewReader(answer))
		if err == nil || err == io.EOF || again {
			t.Errorf("%q was taken for an answer: %+v, %q, again %v, %v", answer[:min(len(answer), 200)], resp, body, again, err)
		}
	}
}

// What is accepted means the same to the standard library.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 404 No\r\n\r\nbody", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n2\r\nab\r\n0\r\nT: u\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		resp, body, _, err := answered(method, bytes.NewReader(answer))
		if err != nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(answer))
		for {
			want, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%q was taken for an answer: %v", answer, err)
			}
			if want.StatusCode < 200 {
				continue
			}
			data, err := io.ReadAll(want.Body)
			if err != nil || want.StatusCode != resp.Status || !bytes.Equal(data, body) {
				t.Fatalf("%q: %d %q, not %d %q (%v)", answer, resp.Status, body, want.StatusCode, data, err)
			}
			taken := map[string]bool{"connection": true, "transfer-encoding": true, "trailer": true} // the library's own business
			for _, field := range resp.Header {
				if _, ok := want.Header[http.CanonicalHeaderKey(field.Name)]; !ok && !taken[strings.ToLower(field.Name)] {
					t.Fatalf("%q: %q is no header", answer, field.Name)
				}
			}
			return
		}
	})
}
