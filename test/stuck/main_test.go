package stuck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"pier/test/lab"
)

// bin is the folder with the programs under test.
var bin string

func TestMain(m *testing.M) { lab.Main(m, &bin) }

type object = map[string]any

// patience is when a test gives up on an answer: far above what pierd promises, for a machine that is busy.
const patience = 2 * time.Minute

// pierd is a daemon with the image bb and a client for its API.
type pierd struct {
	*lab.Daemon
	t    *testing.T
	http *http.Client
}

func start(t *testing.T) *pierd {
	t.Helper()
	p := &pierd{Daemon: lab.Start(t, bin), t: t}
	p.http = p.Client()
	p.Pier("import", lab.Busybox(t, t.TempDir()), "bb")
	return p
}

// ask sends a request and returns the status and the body, or the message of an error.
func (p *pierd) ask(method, path string, body any) (int, string) {
	var data []byte
	if body != nil {
		data, _ = json.Marshal(body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://pierd/v1.44"+path, bytes.NewReader(data))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := p.http.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	var e struct{ Message string }
	if response.StatusCode >= 400 && json.Unmarshal(text, &e) == nil {
		return response.StatusCode, e.Message
	}
	return response.StatusCode, string(text)
}

// want is ask for an answer that is known.
func (p *pierd) want(status int, method, path string, body any) string {
	p.t.Helper()
	got, text := p.ask(method, path, body)
	if got != status {
		p.t.Errorf("%s %s = %d %s, want %d", method, path, got, text, status)
	}
	return text
}

// run starts a container without a network that runs a shell script.
func (p *pierd) run(name, script string, host object) {
	p.t.Helper()
	p.make(name, script, host)
	p.want(204, "POST", "/containers/"+name+"/start", nil)
}

func (p *pierd) make(name, script string, host object) {
	p.t.Helper()
	settings := object{"NetworkMode": "none"}
	for k, v := range host {
		settings[k] = v
	}
	p.want(201, "POST", "/containers/create?name="+name, object{"Image": "bb", "Cmd": []string{"sh", "-c", script}, "HostConfig": settings})
}

// state is a container's, as inspect has it.
func (p *pierd) state(name string) (s struct {
	Status   string
	ExitCode int
	Pid      int
}) {
	p.t.Helper()
	var all struct{ State any }
	all.State = &s
	if err := json.Unmarshal([]byte(p.want(200, "GET", "/containers/"+name+"/json", nil)), &all); err != nil {
		p.t.Error(err)
	}
	return s
}

// snapshots asks for what is answered whatever else is stuck.
func (p *pierd) snapshots(names ...string) {
	p.t.Helper()
	p.want(200, "GET", "/_ping", nil)
	p.want(200, "GET", "/containers/json?all=1", nil)
	p.want(200, "GET", "/info", nil)
	p.want(200, "GET", fmt.Sprintf("/events?since=0&until=%d", time.Now().Unix()), nil)
	for _, name := range names {
		p.state(name)
		p.want(200, "GET", "/containers/"+name+"/stats?stream=0&one-shot=1", nil)
		p.want(200, "GET", "/containers/"+name+"/logs?stdout=1", nil)
	}
}
