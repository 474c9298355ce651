package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pier/api/docker"
)

// TestSupportIsTrue tries what testdata/support.txt says with the samples it gives: a field that is supported, or kept,
// is shown again by inspect; one that is refused is refused with its name.
func TestSupportIsTrue(t *testing.T) {
	_, table := declared(t)
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	p := startPierd(t)
	p.importBusybox()
	p.want(201, "POST", "/networks/create", object{"Name": "table", "EnableIPv6": true, "IPAM": object{"Config": []object{
		{"Subnet": "10.219.7.0/24"}, {"Subnet": "fd00:219::/64"}}}}, nil)
	p.create("source", sleeper())
	p.create("second", sleeper())
	for op, list := range table {
		for _, s := range list {
			if s.proof == "" {
				continue
			}
			q := p.as(t)
			if last := all[op][s.name].last; last < docker.MaxVersion.Minor {
				q.version, q.unchecked = fmt.Sprintf("/v1.%d", last), true
			}
			if strings.HasPrefix(s.name, "?") {
				q.tryArgument(op, s)
				continue
			}
			q.tryField(op, s)
		}
	}
}

// tryArgument sends a request with and without the argument and wants different answers.
func (p *pierd) tryArgument(op string, s said) {
	method, path, _ := strings.Cut(op, " ")
	path = strings.ReplaceAll(path, "{id}", "source")
	without, with, _ := strings.Cut(s.proof, " ")
	a := p.do(method, path+without, nil)
	b := p.do(method, path+with, nil)
	if s.how == refused {
		p.checkRefusal(op, s, b)
		return
	}
	if b.status >= 500 || a.status == b.status && string(a.body) == string(b.body) {
		p.t.Errorf("%s: %s with %s is as without: %d %.200s", op, s.name, s.proof, b.status, b.body)
	}
}

func (p *pierd) checkRefusal(op string, s said, a answer) {
	parts := strings.FieldsFunc(s.name, func(r rune) bool { return strings.ContainsRune("?.[]{}", r) })
	word := strings.ToLower(parts[len(parts)-1])
	if option, ok := strings.CutPrefix(s.note, "`"); ok { // the note begins with how the answer calls it
		word, _, _ = strings.Cut(option, "`")
	}
	if a.status != http.StatusBadRequest && a.status != http.StatusNotImplemented || !strings.Contains(strings.ToLower(a.message()), strings.ToLower(word)) {
		p.t.Errorf("%s: %s, said to be refused, = %d %s", op, s.name, a.status, a.body)
	}
}

// tryField makes or changes something with the sample and looks for the field in what inspect shows.
func (p *pierd) tryField(op string, s said) {
	var sample object
	if err := json.Unmarshal([]byte(s.proof), &sample); err != nil {
		p.t.Errorf("%s: %s: %v", op, s.name, err)
		return
	}
	body := object{}
	path, status, show := "", http.StatusCreated, ""
	switch op {
	case "POST /containers/create":
		path, body = "/containers/create?name=sample", object{"Image": "busybox", "Cmd": []string{"sleep", "1"}}
	case "POST /containers/{id}/update":
		p.want(201, "POST", "/containers/create?name=sample", sleeper(), nil)
		path, status = "/containers/sample/update", http.StatusOK
	case "POST /commit":
		path = "/commit?container=source&repo=sample"
	default:
		p.t.Errorf("support.txt gives a sample for %s", op)
		return
	}
	maps.Copy(body, sample)
	a := p.do("POST", path, body)
	if op == "POST /commit" {
		show = "/images/sample/json"
		defer p.do("DELETE", "/images/sample", nil)
	} else {
		show = "/containers/sample/json"
		defer p.do("DELETE", "/containers/sample?v=1", nil)
	}
	if s.how == refused {
		p.checkRefusal(op, s, a)
		return
	}
	if a.status != status {
		p.t.Errorf("%s: %s with %s = %d %s", op, s.name, s.proof, a.status, a.body)
		return
	}
	var shown object
	p.want(200, "GET", show, nil, &shown)
	at := "Config." + s.name
	switch {
	case op == "POST /containers/{id}/update":
		at = "HostConfig." + s.name
	case s.name == "MacAddress":
		at = "NetworkSettings.Networks{}.MacAddress"
	case s.name == "HostConfig" || strings.HasPrefix(s.name, "HostConfig."):
		at = s.name
	case strings.HasPrefix(s.name, "NetworkingConfig"):
		at = strings.Replace("NetworkSettings.Networks"+strings.TrimPrefix(strings.TrimPrefix(s.name, "NetworkingConfig"), ".EndpointsConfig"), "..", ".", 1)
	}
	want, got := valueAt(sample, s.name), valueAt(shown, at)
	if op == "POST /commit" && s.how == accepted {
		if got != nil {
			p.t.Errorf("%s: %s is kept after all: %v", op, s.name, got)
		}
		return
	}
	if !within(want, got) {
		p.t.Errorf("%s: %s: sent %v, inspect shows %v at %s", op, s.name, want, got, at)
	}
}

// valueAt follows a path such as "HostConfig.Mounts[].Target" or "EndpointsConfig{}.Aliases"; of lists and maps it takes
// the first entry.
func valueAt(v any, path string) any {
	for path != "" && v != nil {
		var step string
		step, path, _ = strings.Cut(path, ".")
		name := strings.TrimRight(step, "[]{}")
		o, ok := v.(object)
		if !ok {
			return nil
		}
		v = o[name]
		for _, kind := range strings.SplitAfter(strings.TrimPrefix(step, name), "]") {
			switch list := v.(type) {
			case []any:
				if strings.Contains(kind, "[]") && len(list) > 0 {
					v = list[0]
				}
			case object:
				if keys := slices.Sorted(maps.Keys(list)); strings.Contains(kind, "{}") && len(keys) > 0 {
					v = list[keys[0]]
				}
			}
		}
	}
	return v
}

// within reports whether what was sent is in what is shown: every entry of an object, every element of a list.
func within(want, got any) bool {
	switch w := want.(type) {
	case object:
		g, ok := got.(object)
		for k, v := range w {
			ok = ok && within(v, g[k])
		}
		return ok
	case []any:
		g, ok := got.([]any)
		for _, v := range w {
			ok = ok && slices.ContainsFunc(g, func(e any) bool { return within(v, e) })
		}
		return ok
	}
	return want == got
}

// TestServed tries the operations that docs/api.md only lists.
func TestServed(t *testing.T) {
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	p := startPierd(t)
	p.unchecked = true
	for op := range all {
		method, path, _ := strings.Cut(op, " ")
		if detailed.MatchString(op) || strings.HasSuffix(path, "/prune") || method == "HEAD" {
			continue
		}
		for _, name := range []string{"{id}", "{name}"} {
			path = strings.ReplaceAll(path, name, url.PathEscape("no-such-thing"))
		}
		want := served(op)
		p.version = fmt.Sprintf("/v1.%d", all[op][""].last)
		a := p.do(method, path, nil)
		switch {
		case strings.HasPrefix(want, "no: 501") && a.status != http.StatusNotImplemented,
			strings.HasPrefix(want, "no: 503") && a.status != http.StatusServiceUnavailable,
			want == "yes" && (a.status == http.StatusNotImplemented || a.status == http.StatusServiceUnavailable || a.message() == "page not found"):
			t.Errorf("docs/api.md says of %s: %s, and the answer is %d %.200s", op, want, a.status, a.body)
		}
	}
}
