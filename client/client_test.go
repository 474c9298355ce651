package client

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pier/api/docker"
	"pier/lib/errkind"
)

func TestAPIVersionIsTheNewest(t *testing.T) {
	if APIVersion != docker.MaxVersion.String() {
		t.Errorf("APIVersion is %s, the newest is %s", APIVersion, docker.MaxVersion)
	}
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(home, ".docker", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return "contexts/meta/" + hex.EncodeToString(sum[:]) + "/meta.json"
	}
	write("config.json", `{"currentContext":"far"}`)
	write(meta("far"), `{"Endpoints":{"docker":{"Host":"tcp://far:2375"}}}`)
	write(meta("near"), `{"Endpoints":{"docker":{"Host":"unix:///near.sock"}}}`)
	write(meta("empty"), `{"Endpoints":{}}`)
	tests := []struct {
		name   string
		choice Choice
		env    map[string]string
		want   string // "" for an error
	}{
		{"nothing said", Choice{}, map[string]string{"HOME": "/nosuch"}, DefaultHost},
		{"the current context", Choice{}, nil, "tcp://far:2375"},
		{"the default context", Choice{Context: "default"}, nil, DefaultHost},
		{"-c", Choice{Context: "near"}, map[string]string{"PIER_HOST": "unix:///env"}, "unix:///near.sock"},
		{"PIER_CONTEXT", Choice{}, map[string]string{"PIER_CONTEXT": "near"}, "unix:///near.sock"},
		{"PIER_HOST", Choice{}, map[string]string{"PIER_HOST": "unix:///env", "PIER_CONTEXT": "near"}, "unix:///env"},
		{"-H", Choice{Host: "ssh://me@there"}, map[string]string{"PIER_HOST": "unix:///env"}, "ssh://me@there"},
		{"a path", Choice{Host: "/run/x.sock"}, nil, "unix:///run/x.sock"},
		{"an address", Choice{Host: "there:2375"}, nil, "tcp://there:2375"},
		{"both", Choice{Host: "/x", Context: "near"}, nil, ""},
		{"no such context", Choice{Context: "nosuch"}, nil, ""},
		{"a context without endpoint", Choice{Context: "empty"}, nil, ""},
		{"a strange scheme", Choice{Host: "ftp://x"}, nil, ""},
	}
	for _, test := range tests {
		e, err := Find(test.choice, func(name string) string {
			if v, ok := test.env[name]; ok || name != "HOME" {
				return v
			}
			return home
		})
		if (err == nil) != (test.want != "") || err == nil && e.Host != test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, e.Host, err, test.want)
		}
	}
}

// listen answers on a unix socket and returns a client of it.
func listen(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := New(Endpoint{Host: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// old speaks no version above 1.41.
func old(t *testing.T, paths *[]string, handler http.HandlerFunc) *Client {
	return listen(t, func(w http.ResponseWriter, r *http.Request) {
		*paths = append(*paths, r.URL.Path)
		if !strings.HasPrefix(r.URL.Path, "/v1.41/") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"message":"client version 1.56 is too new. Maximum supported API version is 1.41"}`)
			return
		}
		handler(w, r)
	})
}

func TestDowngrade(t *testing.T) {
	var paths []string
	c := old(t, &paths, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `[]`) })
	for range 2 {
		if _, err := c.Containers().List(context.Background(), ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(paths, " "); got != "/v1.56/containers/json /v1.41/containers/json /v1.41/containers/json" {
		t.Errorf("asked for %s", got)
	}
}

// A body that can be read only once is not spent on a server that refuses the version.
func TestDowngradeKeepsTheBody(t *testing.T) {
	var paths []string
	c := old(t, &paths, func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/load") {
			fmt.Fprintf(w, "%d", len(data))
		}
	})
	answer, err := c.Images().Load(context.Background(), io.LimitReader(strings.NewReader("archive"), 7), true)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if data, _ := io.ReadAll(answer); string(data) != "7" {
		t.Errorf("the server got %s bytes; it was asked %v", data, paths)
	}
}

func TestHijack(t *testing.T) {
	c := listen(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ")
		_ = buf.Flush()
		line, _ := bufio.NewReader(buf).ReadString('\n')
		rest, _ := io.ReadAll(buf) // until the client has closed its side
		fmt.Fprintf(conn, "%q%q", line, rest)
	})
	conn, err := c.Streams().Attach(context.Background(), "x", AttachOptions{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "in\n")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != `first "in\n"""` || !conn.Multiplexed {
		t.Errorf("%q, %v, %v", got, err, conn.Multiplexed)
	}
}

func TestErrors(t *testing.T) {
	c := listen(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"No such container: x"}`)
	})
	err := c.Containers().Start(context.Background(), "x")
	if !errkind.Is(err, errkind.NotFound) || err.Error() != "No such container: x" {
		t.Errorf("%v", err)
	}
	gone, err := New(Endpoint{Host: "unix:///nosuch.sock"})
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.System().Ping(context.Background()); !errkind.Is(err, errkind.Unavailable) || !strings.Contains(err.Error(), "is pierd running?") {
		t.Errorf("%v", err)
	}
}
