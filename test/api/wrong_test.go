package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

// wrongRequest is a request that must be refused, and how. {exec} in a path stands for an exec that was made and {ran}
// for one that ended; bodies may be names of wrongBody.
type wrongRequest struct {
	method, path, body string
	status             int    // of Pier
	message            string // a part of Pier's
	docker             int    // what Docker 20.10.24 answers
	why                string // where the two differ
}

// wrongCreate is a wrong body of POST /containers/create: these fields laid over a sound one.
type wrongCreate struct {
	fields  string
	status  int
	message string
	docker  int
	why     string
}

// Why Pier answers otherwise than Docker 20.10 does.
const (
	blames   = "Docker 20.10 blames itself, with 500, for what the request got wrong; later versions mostly answer 4xx"
	late     = "Docker makes the container, which then never starts or quietly lacks what was asked for"
	ignores  = "Docker passes over it in silence"
	absent   = "not to be had here, and said so by name"
	pulls    = "clients take a 404 of create for a missing image, and pull"
	plugins  = "Docker looks for plugins first, for many seconds"
	older    = "Docker 20.10 speaks older versions of the API"
	cleans   = "Docker redirects to the path without dots, which no client follows with its body"
	hangs    = "Docker starts the stream, and waits"
	noFolder = "Docker refuses every folder but the container's own since 17.12"
	order    = "two things are wrong: Pier looks at the request first, Docker at the container"
)

// headers of wrong requests that need more than a content type, by "path#name".
var wrongHeaders = map[string]http.Header{
	"text":      {"Content-Type": {"text/plain"}},
	"twisted":   {"Content-Type": {"application/json;;"}},
	"tar":       {"Content-Type": {"application/x-tar"}},
	"websocket": {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}},
	"h2c":       {"Connection": {"Upgrade"}, "Upgrade": {"h2c"}},
	"odd":       {"Connection": {"Upgrade"}, "Upgrade": {"odd"}, "Content-Type": {"application/json"}},
}

// wrongBody makes the bodies that do not go into a table.
func wrongBody(t *testing.T, name string) string {
	switch name {
	case "@deep":
		return strings.Repeat(`{"a":`, 20000)
	case "@tar":
		return string(tarOf(t, map[string]string{"f": "x"}))
	case "@trunc":
		return string(tarOf(t, map[string]string{"f": strings.Repeat("x", 2000)})[:1000])
	case "@escape":
		return string(tarOf(t, map[string]string{"../../../tmp/w-escape": "x"}))
	}
	return name
}

// TestWrongRequests sends several hundred requests that are wrong in one way each, and looks whether each is refused
// with its status and its words, and whether the daemon, what it keeps and what it runs are afterwards as before.
//
// With DOCKER_SOCKET set to that of a dockerd 20.10 --experimental the column of Docker's statuses is checked against it.
func TestWrongRequests(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	exec, ran := p.wrongRig()
	n := len(wrongCreates) + len(wrongRequests)
	if n < 200 {
		t.Errorf("only %d wrong requests", n)
	}
	var before map[string]any
	for range 2 { // the first round does not count: what is made when it is first needed is no leak
		lab.Eventually(t, "the trash to be empty", func() error { // which is done in the background
			if left, _ := filepath.Glob(filepath.Join(p.Dir, "data/layers/trash/*")); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
		before = p.wrongState()
		for _, w := range wrongCreates {
			p.wrong(w.request(t), exec, ran)
		}
		for _, w := range wrongRequests {
			p.wrong(w, exec, ran)
		}
	}
	lab.Eventually(t, "everything to be as before", func() error {
		after := p.wrongState()
		for name := range before {
			if open, ok := after[name].(int); ok && open <= before[name].(int) {
				continue // descriptors: fewer is no harm, the background may have been at work before
			}
			if !reflect.DeepEqual(before[name], after[name]) {
				return fmt.Errorf("%s: before %v, after %v", name, before[name], after[name])
			}
		}
		return nil
	})
	var x struct{ Id string }
	p.want(201, "POST", "/containers/running/exec", object{"Cmd": []string{"true"}}, &x)
	p.want(200, "POST", "/exec/"+x.Id+"/start", object{"Detach": true}, nil)
	t.Logf("%d wrong requests", n)
}

// TestWrongRequestsOfDocker compares the table with a running dockerd.
func TestWrongRequestsOfDocker(t *testing.T) {
	socket := os.Getenv("DOCKER_SOCKET")
	if socket == "" {
		return // the column was recorded; there is nothing to compare it with
	}
	p := &pierd{Daemon: &lab.Daemon{Socket: socket}, t: t, unchecked: true}
	p.http = lab.SocketClient(socket)
	p.http.Timeout = 40 * time.Second
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.importBusybox()
	exec, ran := p.wrongRig()
	requests := []wrongRequest{}
	for _, w := range wrongCreates {
		requests = append(requests, w.request(t))
	}
	for _, w := range append(requests, wrongRequests...) {
		if w.why == plugins || w.why == hangs { // minutes each
			continue
		}
		status, body := p.sendWrong(w, exec, ran)
		if status != w.docker {
			t.Errorf("%s %.100s %.100s = %d %.100s, recorded %d", w.method, w.path, w.body, status, body, w.docker)
		}
		var created struct{ Id string }
		if json.Unmarshal([]byte(body), &created) == nil && strings.HasPrefix(w.path, "/containers/create") && created.Id != "" {
			p.do("DELETE", "/containers/"+created.Id+"?v=1", nil)
		}
	}
	for _, name := range []string{"running", "stopped", "paused"} {
		p.do("DELETE", "/containers/"+name+"?force=1", nil)
	}
}

// wrongRig makes what wrong requests are about: containers of every state, an exec that waits and one that ended.
func (p *pierd) wrongRig() (exec, ran string) {
	p.t.Helper()
	for _, name := range []string{"stopped", "running", "paused"} {
		p.create(name, sleeper())
	}
	p.want(204, "POST", "/containers/running/start", nil, nil)
	p.want(204, "POST", "/containers/paused/start", nil, nil)
	p.want(204, "POST", "/containers/paused/pause", nil, nil)
	var x, y struct{ Id string }
	p.want(201, "POST", "/containers/running/exec", object{"Cmd": []string{"sleep", "1000"}}, &x)
	p.want(201, "POST", "/containers/running/exec", object{"Cmd": []string{"true"}}, &y)
	p.want(200, "POST", "/exec/"+y.Id+"/start", object{"Detach": true}, nil)
	lab.Eventually(p.t, "an exec to end", func() error {
		var state struct{ Running bool }
		if p.want(200, "GET", "/exec/"+y.Id+"/json", nil, &state); state.Running {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	return x.Id, y.Id
}

// request lays the fields over those of a container that could be made.
func (w wrongCreate) request(t *testing.T) wrongRequest {
	t.Helper()
	body := object{"Image": "busybox", "Cmd": []string{"sleep", "1000"}}
	var fields object
	if err := json.Unmarshal([]byte(w.fields), &fields); err != nil {
		t.Fatalf("%s: %v", w.fields, err)
	}
	maps.Copy(body, fields)
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return wrongRequest{"POST", "/containers/create", string(data), w.status, w.message, w.docker, w.why}
}

// wrong sends one request and checks its answer, against the table and against the description of the API.
func (p *pierd) wrong(w wrongRequest, exec, ran string) {
	p.t.Helper()
	status, body := p.sendWrong(w, exec, ran)
	a := answer{status: status, body: []byte(body)}
	what := fmt.Sprintf("%s %.120s %.200s", w.method, w.path, w.body)
	if status != w.status || !strings.Contains(a.message(), w.message) {
		p.t.Errorf("%s\n = %d %.300s, want %d %s", what, status, body, w.status, w.message)
	}
	var created struct{ Id string }
	if status == http.StatusCreated && json.Unmarshal(a.body, &created) == nil && strings.HasPrefix(w.path, "/containers/create") {
		p.do("DELETE", "/containers/"+created.Id+"?v=1", nil)
	}
	if status < 400 || a.message() == "" && w.method != "HEAD" {
		p.t.Errorf("%s: %d %.200s is no proper refusal", what, status, body)
	}
	if w.status != w.docker && w.why == "" {
		p.t.Errorf("%s: Docker answers %d and nobody says why Pier does not", what, w.docker)
	}
	bare, _, _ := strings.Cut(strings.Split(w.path, "#")[0], "?")
	s, err := loadSpecification()
	if err != nil {
		p.t.Fatal(err)
	}
	if s.find(w.method, bare) != nil && status != http.StatusNotFound {
		if err := s.check(w.method, bare, status, "application/json", a.body); err != nil && w.method != "HEAD" {
			p.t.Error(err)
		}
	}
}

func (p *pierd) sendWrong(w wrongRequest, exec, ran string) (status int, body string) {
	p.t.Helper()
	path, kind, _ := strings.Cut(w.path, "#")
	path = strings.NewReplacer("{exec}", exec, "{ran}", ran).Replace(path)
	var reader io.Reader
	if w.body != "" {
		reader = strings.NewReader(wrongBody(p.t, w.body))
	}
	r, err := http.NewRequest(w.method, "http://pierd"+path, reader)
	if err != nil {
		p.t.Fatal(err)
	}
	if w.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range wrongHeaders[kind] {
		r.Header[name] = values
	}
	response, err := p.http.Do(r)
	if err != nil {
		p.t.Errorf("%s %.100s: %v", w.method, w.path, err)
		return 0, ""
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, "" // a stream without end
	}
	data, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(data)
}

// wrongState is what no wrong request may change.
func (p *pierd) wrongState() map[string]any {
	p.t.Helper()
	state := map[string]any{}
	for _, path := range []string{"/containers/json?all=1", "/images/json", "/volumes", "/networks", "/containers/running/json"} {
		var v any
		p.want(200, "GET", path, nil, &v)
		if list, ok := v.([]any); ok {
			for _, e := range list {
				delete(e.(object), "Status") // "Up 3 seconds"
			}
		}
		if c, ok := v.(object); ok && path == "/containers/running/json" {
			v = []any{c["State"], c["HostConfig"], c["ExecIDs"]}
		}
		state[path] = v
	}
	for _, dir := range []string{"data/containers", "data/layers", "data/volumes", "data/images", "run"} {
		entries := []string{}
		for _, pattern := range []string{"*", "*/*"} { // below are the files of containers, which an upload may change
			found, err := filepath.Glob(filepath.Join(p.Dir, dir, pattern))
			if err != nil {
				p.t.Error(err)
			}
			entries = append(entries, found...)
		}
		state["files in "+dir] = entries
	}
	if _, err := os.Stat("/tmp/w-escape"); err == nil {
		p.t.Error("an archive left its root")
	}
	p.http.CloseIdleConnections()
	var usage struct{ NFd int }
	p.want(200, "GET", "/info", nil, &usage)
	state["descriptors"] = usage.NFd
	return state
}
