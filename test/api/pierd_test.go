package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"pier/api/docker"
	"pier/test/lab"
)

// pierd is a running daemon with roots, bridge and cgroup of its own, and a client for it.
type pierd struct {
	*lab.Daemon
	t       *testing.T
	http    *http.Client
	version string // "/v1.NN" in front of paths
	// unchecked turns the comparison with the description off (older versions of the API differ from it).
	unchecked bool
}

// startPierd runs a daemon for the length of the test and then checks that nothing of it is left.
func startPierd(t *testing.T, flags ...string) *pierd {
	t.Helper()
	p := &pierd{Daemon: lab.Start(t, bin, flags...), t: t, version: "/v" + docker.MaxVersion.String()}
	p.http = p.Client()
	return p
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// message is the text of an error answer.
func (a answer) message() string {
	var e struct{ Message string }
	_ = json.Unmarshal(a.body, &e)
	return e.Message
}

// do sends a request, body encoded as JSON unless it is a reader or nil, and checks the answer against the description.
func (p *pierd) do(method, path string, body any) answer {
	p.t.Helper()
	response := p.send(method, path, body)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := answer{response.StatusCode, response.Header, data}
	p.check(method, path, a)
	return a
}

// send is do without reading the answer.
func (p *pierd) send(method, path string, body any) *http.Response {
	p.t.Helper()
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
		contentType = ""
	case io.Reader:
		reader, contentType = b, "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			p.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequest(method, "http://pierd"+p.version+path, reader)
	if err != nil {
		p.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := p.http.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response
}

func (p *pierd) check(method, path string, a answer) {
	p.t.Helper()
	if p.unchecked {
		return
	}
	v, err := docker.ParseVersion(strings.TrimPrefix(p.version, "/v"))
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := specificationOf(v.Minor)
	if err != nil {
		p.t.Fatal(err)
	}
	bare, _, _ := strings.Cut(path, "?")
	if err := s.check(method, bare, a.status, a.header.Get("Content-Type"), a.body); err != nil {
		p.t.Error(err)
	}
}

// want is do, and fails the test unless the status is as expected; out, if not nil, gets the decoded body.
func (p *pierd) want(status int, method, path string, body, out any) answer {
	p.t.Helper()
	a := p.do(method, path, body)
	if a.status != status {
		p.t.Fatalf("%s %s = %d %s, want %d", method, path, a.status, a.body, status)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
		}
	}
	return a
}

// hijack sends a request that turns the connection into a stream, and returns the answer's head and the connection.
func (p *pierd) hijack(path string, upgrade bool, body any) (*http.Response, net.Conn, *bufio.Reader) {
	p.t.Helper()
	conn, err := net.Dial("unix", p.Socket)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute)) // of the whole stream
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			p.t.Fatal(err)
		}
	}
	r, err := http.NewRequest("POST", "http://pierd"+p.version+path, bytes.NewReader(data))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if upgrade {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "tcp")
	}
	if err := r.Write(conn); err != nil {
		p.t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, r)
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	return response, conn, in
}

// importBusybox makes the image "busybox:latest" of the host's static busybox.
func (p *pierd) importBusybox() {
	p.t.Helper()
	p.want(200, "POST", "/images/create?fromSrc=-&repo=busybox&tag=latest&changes=CMD+%5B%22sh%22%5D&changes=ENV+A=b", busyboxRoot(p.t), nil)
}

// busyboxRoot is a root file system with busybox and links for the commands that the tests use.
func busyboxRoot(t *testing.T) io.Reader {
	t.Helper()
	f, err := os.Open(lab.Busybox(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
