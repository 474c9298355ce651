package client

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/lib/errkind"
)

// clientOf answers requests with h on a socket of its own and returns a client for it.
func clientOf(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	c, err := New(Endpoint{Host: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A server that does not know of runs makes the container; the rest is the caller's.
func TestRunByAnotherServer(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v"+APIVersion+"/containers/create" || r.Header.Get("Upgrade") != "tcp" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"abc","Warnings":["w"]}`)
	})
	run, err := c.Containers().Run(context.Background(), "n", "", container.CreateRequest{}, AttachOptions{})
	if err != nil || run.Conn != nil || run.ID != "abc" || len(run.Warnings) != 1 {
		t.Errorf("got %+v, %v", run, err)
	}
}

// runServer takes the connection over and sends frames.
func runServer(t *testing.T, frames []byte) *Client {
	return clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write(append([]byte("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"), frames...))
	})
}

func TestRunThatBreaksOff(t *testing.T) {
	made := docker.AppendRunFact(nil, docker.RunFact{ID: "abc"})
	c := runServer(t, append(made, 1, 0, 0, 0, 0, 0, 0, 9, 'x'))
	run, err := c.Containers().Run(context.Background(), "", "", container.CreateRequest{Config: &container.Config{Tty: true}}, AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Conn.Close()
	if out, _ := io.ReadAll(run.Conn); string(out) != "x" {
		t.Errorf("output %q", out)
	}
	if _, err := run.Outcome(); !errkind.Is(err, errkind.Unavailable) {
		t.Errorf("outcome of a connection that broke: %v", err)
	}
}

func TestRunSaysNothing(t *testing.T) {
	for _, frames := range [][]byte{nil, {1, 0, 0, 0, 0, 0, 0, 1, 'x'}, {docker.RunFactFrame, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, {docker.RunFactFrame, 0, 0, 0, 0, 0, 0, 2, '{', '}'}} {
		if run, err := runServer(t, frames).Execs().Run(context.Background(), "c", container.ExecCreateRequest{}); err == nil {
			t.Errorf("%v was taken for a run: %+v", frames, run)
		}
	}
}
