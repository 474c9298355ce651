package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAnswersAreWhole asks the operations about a container that has everything, and wants every field that the newest
// description gives their answers, but for those that testdata/support.txt says are never there.
func TestAnswersAreWhole(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	from := time.Now()
	p.want(201, "POST", "/networks/create", object{"Name": "net"}, nil)
	body := object{
		"Image": "busybox", "Cmd": []string{"sleep", "600"}, "StopSignal": "SIGKILL", "Labels": object{"a": "b"}, "ExposedPorts": object{"80/tcp": object{}},
		"Healthcheck": object{"Test": []string{"CMD", "true"}, "Interval": 100e6},
		"HostConfig": object{"NetworkMode": "net", "Binds": []string{"data:/data"}, "PortBindings": object{"80/tcp": []object{{"HostIp": "127.0.0.1", "HostPort": ""}}},
			"Annotations": object{"a": "b"}, "Memory": 64 << 20, "PidsLimit": 100, "LogConfig": object{"Type": "json-file", "Config": object{"max-size": "1m"}}},
		"NetworkingConfig": object{"EndpointsConfig": object{"net": object{"Aliases": []string{"db"}, "IPAMConfig": object{}}}},
	}
	answers := map[string][]any{}
	ask := func(op, path string, body any) {
		method, _, _ := strings.Cut(op, " ")
		a := p.do(method, path, body)
		var v any
		if err := json.Unmarshal(a.body, &v); a.status >= 400 || err != nil {
			t.Errorf("%s %s = %d %s: %v", method, path, a.status, a.body, err)
		}
		answers[op] = append(answers[op], v)
	}
	ask("POST /containers/create", "/containers/create?name=whole", body)
	defer p.do("DELETE", "/containers/whole?force=1&v=1", nil)
	p.want(204, "POST", "/containers/whole/start", nil, nil)
	p.Eventually("a health check", func() error {
		var c struct {
			State struct{ Health struct{ Log []object } }
		}
		if p.want(200, "GET", "/containers/whole/json", nil, &c); len(c.State.Health.Log) == 0 {
			return fmt.Errorf("no log yet")
		}
		return nil
	})
	var x struct{ Id string }
	p.want(201, "POST", "/containers/whole/exec", object{"Cmd": []string{"touch", "/tmp/x"}, "User": "root"}, &x)
	ask("POST /containers/{id}/exec", "/containers/whole/exec", object{"Cmd": []string{"true"}})
	p.want(200, "POST", "/exec/"+x.Id+"/start", object{"Detach": true}, nil)
	p.Eventually("a change", func() error {
		if a := p.want(200, "GET", "/containers/whole/changes", nil, nil); !strings.Contains(string(a.body), "/tmp/x") {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	ask("GET /exec/{id}/json", "/exec/"+x.Id+"/json", nil)
	ask("GET /containers/json", "/containers/json?size=1", nil)
	ask("GET /containers/{id}/json", "/containers/whole/json?size=1", nil)
	ask("GET /containers/{id}/top", "/containers/whole/top", nil)
	ask("GET /containers/{id}/changes", "/containers/whole/changes", nil)
	ask("GET /containers/{id}/stats", "/containers/whole/stats?stream=0", nil)
	ask("POST /containers/{id}/update", "/containers/whole/update", object{"CpuShares": 512})
	ask("POST /commit", "/commit?container=whole&repo=kept&pause=0", nil)
	ask("GET /system/df", "/system/df?verbose=1", nil)
	p.create("short", object{"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": object{"NetworkMode": "none"}})
	p.want(204, "POST", "/containers/short/start", nil, nil)
	ask("POST /containers/{id}/wait", "/containers/short/wait", nil)
	ask("POST /containers/prune", "/containers/prune", nil)
	for _, e := range p.eventsBetween(from, time.Now(), url.QueryEscape(`{"event":["start"]}`)) {
		data, _ := json.Marshal(object{"Type": e.Type, "Action": e.Action, "Actor": object{"ID": e.Actor.ID, "Attributes": e.Actor.Attributes},
			"scope": e.Scope, "time": e.Time, "timeNano": e.TimeNano})
		var v any
		_ = json.Unmarshal(data, &v)
		answers["GET /events"] = append(answers["GET /events"], v)
	}

	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	_, table := declared(t)
	for op, fields := range all {
		if !detailed.MatchString(op) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			path, ok := strings.CutPrefix(name, "!")
			// What a container was created with is shown by TestSupportIsTrue.
			if !ok || op == "GET /containers/{id}/json" && (strings.HasPrefix(path, "HostConfig.") || strings.HasPrefix(path, "Config.")) {
				continue
			}
			if len(answers[op]) == 0 {
				t.Errorf("%s: nobody asked", op)
				break
			}
			if sometimes.MatchString(op + " " + path) {
				continue
			}
			there := slices.ContainsFunc(answers[op], func(v any) bool { return has(v, path) })
			said := slices.ContainsFunc(table[op], func(s said) bool {
				return s.name == name || strings.HasPrefix(name, s.name+".") || strings.HasPrefix(name, s.name+"[")
			})
			if there == said {
				t.Errorf("%s: field %s of the answer: there %v, said to be lacking %v", op, path, there, said)
			}
		}
	}
}

// sometimes are fields that are left out where there is nothing to say: sums of nothing, errors that did not happen,
// addresses that nobody asked for, and block devices, which not every kernel counts.
var sometimes = regexp.MustCompile(`^(GET /system/df (BuildCacheUsage\..*|.*\.Reclaimable)|POST /containers/{id}/wait Error.*|GET .* .*IPAMConfig\..*|` +
	`GET /containers/{id}/stats (memory_stats\.failcnt|blkio_stats\..*\[\]\..*))$`)

// has reports whether a field such as "a.b", "list[].b" or "map{}.b" is there, in any of the elements.
func has(v any, path string) bool {
	step, rest, more := strings.Cut(path, ".")
	name := strings.TrimRight(step, "[]{}")
	if name != "" {
		o, ok := v.(object)
		if !ok {
			return false
		}
		if v, ok = o[name]; !ok {
			return false
		}
	}
	if !more {
		return true
	}
	inside := []any{v}
	for kind := strings.TrimPrefix(step, name); kind != ""; kind = kind[2:] {
		var next []any
		for _, e := range inside {
			switch e := e.(type) {
			case []any:
				next = append(next, e...)
			case object:
				next = append(next, slices.Collect(maps.Values(e))...)
			}
		}
		inside = next
	}
	return slices.ContainsFunc(inside, func(e any) bool { return has(e, rest) })
}
