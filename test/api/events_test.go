package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// event is a line of GET /events, with the fields that only older versions have.
type event struct {
	Status, ID, From string
	Type, Action     string
	Actor            struct {
		ID         string
		Attributes map[string]string
	}
	Scope    string
	Time     int64
	TimeNano int64
}

// eventsBetween reads the events of a time that is over.
func (p *pierd) eventsBetween(since, until time.Time, filters string) []event {
	p.t.Helper()
	stamp := func(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
	response := p.send("GET", "/events?since="+stamp(since)+"&until="+stamp(until)+"&filters="+filters, nil)
	defer response.Body.Close()
	if response.StatusCode != 200 {
		data, _ := io.ReadAll(response.Body)
		p.t.Fatalf("events: %d %s", response.StatusCode, data)
	}
	var out []event
	for dec := json.NewDecoder(response.Body); ; {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return out
		} else if err != nil {
			p.t.Fatal(err)
		}
		if e.Scope != "local" || e.Time != e.TimeNano/1e9 {
			p.t.Errorf("event %+v", e)
		}
		out = append(out, e)
	}
}

var identifier = regexp.MustCompile(`(sha256:)?[0-9a-f]{64}`)

// line is the event without what differs from run to run.
func (e event) line() string {
	s := e.Type + " " + e.Action + " " + e.Actor.ID
	for _, k := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
		if k != "execDuration" { // seconds, which depend on the machine
			s += " " + k + "=" + e.Actor.Attributes[k]
		}
	}
	return identifier.ReplaceAllString(s, "ID")
}

// TestEvents does what makes events and compares them, types, actions, attributes and order, with those of Docker in
// testdata/events.txt. What differs is said there.
func TestEvents(t *testing.T) {
	p := startPierd(t)
	from := time.Now()
	p.importBusybox()
	p.want(201, "POST", "/images/busybox/tag?repo=other&tag=1", nil, nil)
	p.want(200, "DELETE", "/images/other:1", nil, nil)
	p.want(201, "POST", "/volumes/create", object{"Name": "data"}, nil)
	p.want(201, "POST", "/networks/create", object{"Name": "net"}, nil)
	body := sleeper()
	body["Labels"] = object{"tier": "front"}
	body["HostConfig"] = object{"NetworkMode": "net", "Binds": []string{"data:/data:ro"}}
	c := p.create("noted", body)
	p.want(204, "POST", "/containers/noted/start", nil, nil)
	p.want(200, "GET", "/containers/noted/top", nil, nil)
	var x struct{ Id string }
	p.want(201, "POST", "/containers/noted/exec", object{"Cmd": []string{"sh", "-c", "exit 3"}}, &x)
	p.want(200, "POST", "/exec/"+x.Id+"/start", object{"Detach": true}, nil)
	p.Eventually("the exec to end", func() error { // nobody is told of that but by its event
		if n := len(p.eventsBetween(from, time.Now(), `{"event":["exec_die"]}`)); n == 0 {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	p.want(204, "POST", "/containers/noted/pause", nil, nil)
	p.want(204, "POST", "/containers/noted/unpause", nil, nil)
	p.want(200, "GET", "/containers/noted/archive?path=/etc/passwd", nil, nil)
	p.want(200, "PUT", "/containers/noted/archive?path=/tmp", strings.NewReader(string(tarOf(t, map[string]string{"f": "x"}))), nil)
	p.want(200, "GET", "/containers/noted/export", nil, nil)
	p.want(201, "POST", "/commit?container=noted&repo=kept&comment=why&pause=0", nil, nil)
	p.want(204, "POST", "/containers/noted/rename?name=renamed", nil, nil)
	p.want(200, "POST", "/containers/renamed/update", object{"CpuShares": 512}, nil)
	p.want(204, "POST", "/containers/renamed/kill?signal=USR1", nil, nil)
	p.want(204, "POST", "/containers/renamed/restart", nil, nil)
	p.want(204, "POST", "/containers/renamed/stop", nil, nil)
	p.want(204, "DELETE", "/containers/renamed", nil, nil)
	p.want(200, "POST", "/containers/prune", nil, nil)
	p.want(200, "POST", "/networks/prune", nil, nil)
	p.want(204, "DELETE", "/volumes/data", nil, nil)
	p.want(200, "POST", "/volumes/prune", nil, nil)
	p.want(200, "POST", "/build/prune", nil, nil)
	p.want(200, "DELETE", "/images/kept", nil, nil)
	p.want(200, "POST", "/images/prune", nil, nil)
	until := time.Now()

	events := p.eventsBetween(from, until, "")
	var got strings.Builder
	for _, e := range events {
		got.WriteString(e.line() + "\n")
	}
	data, err := os.ReadFile("testdata/events.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			want.WriteString(line)
		}
	}
	if got.String() != want.String() {
		t.Errorf("events:\n%s\nwant:\n%s", got.String(), want.String())
	}
	for filters, n := range map[string]int{
		`{"type":["container"]}`: count(events, "container", ""), `{"type":["network","volume"]}`: count(events, "network", "") + count(events, "volume", ""),
		`{"event":["start"]}`: 2, `{"event":["exec_create"]}`: 1, `{"event":["start","stop"]}`: 4, `{"container":["noted"],"event":["create"]}`: 1,
		`{"container":["` + c[:12] + `"],"event":["die"]}`: 2, `{"label":["tier=front"],"event":["die"]}`: 2, `{"label":["tier=back"]}`: 0,
		`{"image":["busybox"],"type":["container"],"event":["start"]}`: 2, `{"volume":["data"]}`: count(events, "volume", "data"), `{"scope":["swarm"]}`: 0,
		`{"network":["net"],"event":["connect"]}`: 2, `{"daemon":["x"]}`: 0,
	} {
		if found := p.eventsBetween(from, until, filters); len(found) != n {
			t.Errorf("%s: %d events, want %d", filters, len(found), n)
		}
	}
	if late := p.eventsBetween(until, until, ""); len(late) != 0 {
		t.Errorf("events after the last: %+v", late)
	}
	old := p.as(t)
	old.version = "/v1.51"
	for _, e := range old.eventsBetween(from, until, `{"type":["container","network"],"event":["start","connect"]}`) {
		if e.Type == "container" && (e.Status != "start" || e.ID != c || e.From != "busybox") || e.Type == "network" && e.Status != "" {
			t.Errorf("event of 1.51: %+v", e)
		}
	}
}

// count tells how many events are of a type and, unless that is "", of an object.
func count(events []event, kind, id string) (n int) {
	for _, e := range events {
		if e.Type == kind && (id == "" || e.Actor.ID == id) {
			n++
		}
	}
	return n
}

// TestEventsOutlivePierd looks back beyond the life of a pierd that ends in order, and of one that is killed.
func TestEventsOutlivePierd(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	from := time.Now()
	actions := func() (out []string) {
		for _, e := range p.eventsBetween(from, time.Now(), `{"type":["container"],"event":["create","start","die"]}`) {
			out = append(out, e.Actor.Attributes["name"]+" "+string(e.Action))
		}
		return out
	}
	var want []string
	for i, end := range []func(){p.Terminate, func() { _ = p.Signal(os.Kill) }, nil} {
		name := fmt.Sprintf("one-%d", i)
		body := sleeper()
		body["HostConfig"] = object{"NetworkMode": "none"}
		p.create(name, body)
		p.want(204, "POST", "/containers/"+name+"/start", nil, nil)
		p.want(204, "POST", "/containers/"+name+"/kill", nil, nil)
		p.want(200, "POST", "/containers/"+name+"/wait", nil, nil)
		want = append(want, name+" create", name+" start", name+" die")
		p.Eventually("the events", func() error {
			if got := actions(); !slices.Equal(got, want) {
				return fmt.Errorf("events %q, want %q", got, want)
			}
			return nil
		})
		if end != nil {
			// What is lost with a pierd that is killed is what it had no time to write.
			p.Eventually("the journal of events", func() error {
				text, err := os.ReadFile(filepath.Join(p.Dir, "data", "events", "events.log"))
				if err == nil && strings.Count(string(text), `"die"`) < i+1 {
					err = fmt.Errorf("it holds %q", text)
				}
				return err
			})
			end()
			p.Run()
			p.http.CloseIdleConnections()
		}
	}
}
