package api

import (
	"bytes"
	"strings"
	"testing"
)

// states are the statuses of an operation on a container that is created, running, paused and exited; 0 where it would
// wait. docker, where it is not empty, is what Docker 20.10.24 answers otherwise, in the same order.
var states = []struct {
	method, path string
	body         string
	statuses     [4]int
	docker       string
}{
	{"GET", "/containers/ID/json", "", [4]int{200, 200, 200, 200}, ""},
	{"GET", "/containers/ID/top", "", [4]int{409, 200, 200, 409}, ""},
	{"GET", "/containers/ID/logs?stdout=1", "", [4]int{200, 200, 200, 200}, ""},
	{"GET", "/containers/ID/changes", "", [4]int{200, 200, 200, 200}, ""},
	{"GET", "/containers/ID/export", "", [4]int{200, 200, 200, 200}, ""},
	{"GET", "/containers/ID/stats?stream=0&one-shot=1", "", [4]int{200, 200, 200, 200}, ""},
	{"POST", "/containers/ID/resize?h=1&w=1", "", [4]int{409, 200, 200, 409}, ""},
	{"POST", "/containers/ID/start", "", [4]int{204, 304, 409, 204}, ""},
	{"POST", "/containers/ID/stop?t=0", "", [4]int{304, 204, 204, 304}, ""},
	{"POST", "/containers/ID/restart?t=0", "", [4]int{204, 204, 204, 204}, ""},
	{"POST", "/containers/ID/kill", "", [4]int{409, 204, 204, 409}, ""},
	{"POST", "/containers/ID/kill?signal=USR1", "", [4]int{409, 204, 204, 409}, ""},
	{"POST", "/containers/ID/rename?name=other", "", [4]int{204, 204, 204, 204}, ""},
	{"POST", "/containers/ID/pause", "", [4]int{409, 204, 409, 409}, ""},
	{"POST", "/containers/ID/unpause", "", [4]int{409, 409, 204, 409}, "500 where it is not paused"},
	{"POST", "/containers/ID/attach?logs=1&stdout=1", "", [4]int{200, 200, 409, 200}, ""},
	{"POST", "/containers/ID/update", `{"CpuShares":512}`, [4]int{200, 200, 200, 200}, ""},
	{"POST", "/containers/ID/exec", `{"Cmd":["true"]}`, [4]int{409, 201, 409, 409}, ""},
	{"GET", "/containers/ID/archive?path=/etc", "", [4]int{200, 200, 200, 200}, ""},
	{"PUT", "/containers/ID/archive?path=/tmp", "@tar", [4]int{200, 200, 200, 200}, ""},
	{"POST", "/commit?container=ID", "", [4]int{201, 201, 201, 201}, ""},
	{"POST", "/containers/ID/wait", "", [4]int{200, 0, 0, 200}, ""},
	{"DELETE", "/containers/ID", "", [4]int{204, 409, 409, 204}, ""},
	{"DELETE", "/containers/ID?force=1", "", [4]int{204, 204, 204, 204}, ""},
}

// TestStates tries every operation on containers of every state.
func TestStates(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	for _, s := range states {
		for i, state := range []string{"created", "running", "paused", "exited"} {
			if s.statuses[i] == 0 {
				continue
			}
			var c struct{ Id string }
			p.want(201, "POST", "/containers/create", sleeper(), &c)
			if state != "created" {
				p.want(204, "POST", "/containers/"+c.Id+"/start", nil, nil)
			}
			if state == "paused" {
				p.want(204, "POST", "/containers/"+c.Id+"/pause", nil, nil)
			}
			if state == "exited" {
				p.want(204, "POST", "/containers/"+c.Id+"/kill", nil, nil)
			}
			a := p.stateRequest(s.method, strings.Replace(s.path, "ID", c.Id, 1), s.body)
			if a.status != s.statuses[i] || a.status >= 400 && a.message() == "" {
				t.Errorf("%s: %s %s = %d %.200s, want %d", state, s.method, s.path, a.status, a.body, s.statuses[i])
			}
			if a := p.do("DELETE", "/containers/"+c.Id+"?force=1", nil); a.status != 204 && a.status != 404 {
				t.Errorf("%s: remove after %s %s: %d %s", state, s.method, s.path, a.status, a.body)
			}
		}
	}
}

func (p *pierd) stateRequest(method, path, body string) answer {
	p.t.Helper()
	switch {
	case body == "":
		return p.do(method, path, nil)
	case body == "@tar":
		return p.do(method, path, bytes.NewReader(tarOf(p.t, map[string]string{"f": "x"})))
	}
	return p.do(method, path, rawJSON(body))
}

// rawJSON is a body as it stands.
type rawJSON string

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }
