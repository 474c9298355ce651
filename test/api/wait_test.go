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
	p.create("first", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done"},
		"HostConfig": object{"NetworkMode": "none", "AutoRemove": true}})
	if r := read(begin("first", "not-running")); r.StatusCode != 0 {
		t.Errorf("of one that never ran = %+v", r)
	}
	next, removed := begin("first", "next-exit"), begin("first", "removed")
	p.want(204, "POST", "/containers/first/start", nil, nil)
	running := begin("first", "not-running")
	time.Sleep(200 * time.Millisecond) // the shell sets its trap
	p.want(204, "POST", "/containers/first/stop?t=10", nil, nil)
	for what, r := range map[string]*http.Response{"next-exit": next, "removed": removed, "not-running": running} {
		if got := read(r); got.StatusCode != 5 {
			t.Errorf("%s = %+v", what, got)
		}
	}
	p.want(404, "POST", "/containers/first/wait", nil, nil)
	p.create("second", object{"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": object{"NetworkMode": "none"}})
	p.want(400, "POST", "/containers/second/wait?condition=tired", nil, nil)
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
