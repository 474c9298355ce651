package api

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/api/docker"
)

// pierd is a running daemon with roots, bridge and cgroup of its own.
type pierd struct {
	t       *testing.T
	dir     string // data root, exec root, log
	name    string // unique: of bridge and cgroup parent
	socket  string
	cmd     *exec.Cmd
	exited  chan error
	http    *http.Client
	version string // "/v1.NN" in front of paths
	// unchecked turns the comparison with the description off (older versions of the API differ from it).
	unchecked bool
}

// startPierd runs a daemon for the length of the test and then checks that nothing of it is left.
func startPierd(t *testing.T, flags ...string) *pierd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they make containers")
	}
	var b [3]byte
	_, _ = rand.Read(b[:])
	dir, err := os.MkdirTemp("", "pier-") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	p := &pierd{t: t, dir: dir, name: "pt" + hex.EncodeToString(b[:]), socket: filepath.Join(dir, "run", "pier.sock"),
		version: "/v" + docker.MaxVersion.String()}
	p.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.socket)
	}}}
	t.Cleanup(p.cleanup)
	p.start(flags...)
	return p
}

// flags are what every command about this daemon needs.
func (p *pierd) flags() []string {
	octet := func(i int) int { return int(p.name[2+i])*7%200 + 20 }
	return []string{"--data-root", filepath.Join(p.dir, "data"), "--exec-root", filepath.Join(p.dir, "run"), "--bridge", p.name,
		"--bip", fmt.Sprintf("10.%d.%d.1/24", octet(0)+octet(1)%30, octet(2)), "--cgroup-parent", "/pier-test-" + p.name,
		"--config-file", filepath.Join(p.dir, "pierd.json")}
}

// start runs the program and waits until it answers.
func (p *pierd) start(flags ...string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "pierd.json"), []byte("{}"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(bin, "pierd"), append(append(p.flags(), "-H", "unix://"+p.socket), flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan error, 1)
	p.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(p.cmd)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if response, err := p.http.Get("http://pierd/_ping"); err == nil { // an answer: all sockets are open
			_ = response.Body.Close()
			return
		}
		select {
		case err := <-exited:
			exited <- err
			p.t.Fatalf("pierd ended: %v\n%s", err, p.log())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("pierd does not answer\n%s", p.log())
		}
	}
}

// signal sends a signal and waits for the end of pierd.
func (p *pierd) signal(s os.Signal) error {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		p.exited <- err
		return err
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		p.t.Fatalf("pierd does not end on %v\n%s", s, p.log())
		return nil
	}
}

func (p *pierd) log() string {
	data, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(data)
}

// cleanup ends everything and compares the host with what it should be.
func (p *pierd) cleanup() {
	p.http.CloseIdleConnections()
	if out, err := exec.Command(filepath.Join(bin, "pierd"), append([]string{"cleanup", "--data"}, p.flags()...)...).CombinedOutput(); err != nil {
		p.t.Errorf("pierd cleanup: %v\n%s", err, out)
	}
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.t.Error("pierd outlived its cleanup")
		_ = p.cmd.Process.Kill()
	}
	for _, left := range leftovers(p.t, p.dir, p.name) {
		p.t.Errorf("left behind: %s", left)
	}
	if p.t.Failed() {
		p.t.Logf("log of pierd:\n%s", p.log())
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.t.Error(err)
	}
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
	s, err := loadSpecification()
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
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
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
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("these tests need a static busybox (Debian's busybox-static): %v", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "etc", "tmp", "root", "proc", "sys", "dev"} {
		add(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, command := range []string{"sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "wget", "nc", "httpd", "ip", "ping", "stty"} {
		add(&tar.Header{Name: "bin/" + command, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	add(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	add(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}
