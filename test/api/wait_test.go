package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// TestWaitConditions waits for each condition before and after it comes.
func TestWaitConditions(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	type result struct{ StatusCode int }
	read := func(r *http.Response) (out result) {
		t.Helper()
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(&out); err != nil {
			t.Errorf("%s: %v", r.Request.URL, err)
		}
		return out
	}
	begin := func(name, condition string) *http.Response {
		return p.send("POST", "/containers/"+name+"/wait?condition="+condition, nil) // returns with the head, before the end
	}
	p.create("first", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done"},
		"HostConfig": object{"NetworkMode": "none", "AutoRemove": true}})
	if r := read(begin("first", "not-running")); r.StatusCode != 0 {
		t.Errorf("of one that never ran = %+v", r)
	}
	next, removed := begin("first", "next-exit"), begin("first", "removed")
	p.want(204, "POST", "/containers/first/start", nil, nil)
	running := begin("first", "not-running")
	p.logged("first", "ready")
	p.want(204, "POST", "/containers/first/stop?t=100", nil, nil)
	for what, r := range map[string]*http.Response{"next-exit": next, "removed": removed, "not-running": running} {
		if got := read(r); got.StatusCode != 5 {
			t.Errorf("%s = %+v", what, got)
		}
	}
	p.want(404, "POST", "/containers/first/wait", nil, nil)
	p.create("second", object{"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": object{"NetworkMode": "none"}})
	p.want(400, "POST", "/containers/second/wait?condition=tired", nil, nil)
}

// TestWhileRestarting asks of a container that its policy is about to start again what the API can ask, and waits for its
// end, which comes again and again.
func TestWhileRestarting(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	p.create("again", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "exit 3"},
		"HostConfig": object{"NetworkMode": "none", "RestartPolicy": object{"Name": "always"}}})
	p.want(204, "POST", "/containers/again/start", nil, nil)
	type state struct {
		RestartCount int
		State        struct {
			Status              string
			Running, Restarting bool
			ExitCode, Pid       int
		}
	}
	look := func() (s state) {
		p.want(200, "GET", "/containers/again/json", nil, &s)
		return s
	}
	for range 3 {
		var end struct{ StatusCode int }
		if p.want(200, "POST", "/containers/again/wait", nil, &end); end.StatusCode != 3 {
			t.Errorf("wait = %+v", end)
		}
	}
	for _, r := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/top", nil, 409}, {"POST", "/exec", object{"Cmd": []string{"true"}}, 409}, {"POST", "/pause", nil, 409}, {"POST", "/unpause", nil, 409},
		{"POST", "/attach?logs=1&stdout=1", nil, 409}, {"POST", "/rename?name=again", nil, 400}, {"POST", "/start", nil, 304}, {"POST", "/update", object{"CpuShares": 99}, 200},
		{"GET", "/archive?path=/etc", nil, 200}, {"GET", "/stats?stream=0&one-shot=1", nil, 200}, {"GET", "/logs?stdout=1", nil, 200}, {"DELETE", "", nil, 409},
	} {
		p.Eventually(r.method+" "+r.path, func() error { // again where it was started in the middle of it
			before := look()
			a := p.do(r.method, "/containers/again"+r.path, r.body)
			if after := look(); !before.State.Restarting || after != before {
				return fmt.Errorf("%+v, then %+v", before, after)
			}
			if s := before.State; a.status != r.status || !s.Running || s.Status != "restarting" || s.Pid != 0 || s.ExitCode != 3 {
				t.Errorf("%s %s of %+v = %d %.200s, want %d", r.method, r.path, before, a.status, a.body, r.status)
			}
			return nil
		})
	}
	p.Eventually("the list of those that are restarting", func() error {
		var list []object
		if p.want(200, "GET", `/containers/json?filters={"status":["restarting"]}`, nil, &list); len(list) != 1 {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
	p.want(204, "POST", "/containers/again/stop?t=0", nil, nil)
	if s := look(); s.State.Status != "exited" || s.State.Running {
		t.Errorf("stopped: %+v", s)
	}
	p.want(204, "DELETE", "/containers/again", nil, nil)
}

// TestStopWithoutEnd has a container take longer to end than it would be given: any negative number means that it is never killed.
func TestStopWithoutEnd(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	for _, c := range []struct {
		query   string
		timeout int // the container's own
	}{{"?t=-7", 0}, {"?t=-9223372036854775808", 0}, {"", -9999999999}} {
		p.create("slow", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "trap 'sleep 0.5; exit 7' TERM; echo ready; while :; do sleep 0.05; done"},
			"StopTimeout": c.timeout, "HostConfig": object{"NetworkMode": "none"}})
		p.want(204, "POST", "/containers/slow/start", nil, nil)
		p.logged("slow", "ready")
		p.want(204, "POST", "/containers/slow/stop"+c.query, nil, nil)
		var end struct{ StatusCode int }
		if p.want(200, "POST", "/containers/slow/wait", nil, &end); end.StatusCode != 7 {
			t.Errorf("stop%s of one with %d seconds: it ended with %d", c.query, c.timeout, end.StatusCode)
		}
		p.want(204, "DELETE", "/containers/slow", nil, nil)
	}
}

// TestPruneFilters removes stopped containers by each filter, and never one that runs.
func TestPruneFilters(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	for name, labels := range map[string]object{"plain": {}, "front": {"tier": "front"}, "back": {"tier": "back"}, "kept": {"keep": ""}, "busy": {"tier": "front"}} {
		body := sleeper()
		body["Labels"] = labels
		p.create(name, body)
	}
	p.want(204, "POST", "/containers/busy/start", nil, nil)
	now := time.Now()
	for _, step := range []struct {
		filter string
		left   []string
	}{
		{fmt.Sprintf(`{"until":["%d"]}`, now.Add(-time.Hour).Unix()), []string{"/back", "/busy", "/front", "/kept", "/plain"}},
		{`{"until":["1h"]}`, []string{"/back", "/busy", "/front", "/kept", "/plain"}},
		{`{"label":["tier=back"]}`, []string{"/busy", "/front", "/kept", "/plain"}},
		{`{"label":["tier"],"label!":["keep"]}`, []string{"/busy", "/kept", "/plain"}},
		{`{"label!":["keep"]}`, []string{"/busy", "/kept"}},
		{fmt.Sprintf(`{"until":["%d"]}`, now.Add(time.Hour).Unix()), []string{"/busy"}},
	} {
		var report struct{ ContainersDeleted []string }
		p.want(200, "POST", "/containers/prune?filters="+url.QueryEscape(step.filter), nil, &report)
		var list []struct{ Names []string }
		p.want(200, "GET", "/containers/json?all=1", nil, &list)
		var left []string
		for _, c := range list {
			left = append(left, c.Names...)
		}
		if slices.Sort(left); !slices.Equal(left, step.left) {
			t.Errorf("after prune %s: %v (%d removed), want %v", step.filter, left, len(report.ContainersDeleted), step.left)
		}
	}
}
