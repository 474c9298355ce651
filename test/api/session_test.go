package api

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"pier/api/docker"
)

// object is a JSON object as the tests write and read it.
type object = map[string]any

// TestSession walks through the API as one client would. do checks every answer against the description.
func TestSession(t *testing.T) {
	p := startPierd(t)
	t.Run("system", func(t *testing.T) { p.as(t).system() })
	t.Run("images", func(t *testing.T) { p.as(t).images() })
	t.Run("containers", func(t *testing.T) { p.as(t).containers() })
	t.Run("files", func(t *testing.T) { p.as(t).files() })
	t.Run("resources", func(t *testing.T) { p.as(t).resources() })
	t.Run("streams", func(t *testing.T) { p.as(t).streams() })
	t.Run("execs", func(t *testing.T) { p.as(t).execs() })
	t.Run("networks", func(t *testing.T) { p.as(t).networks() })
	t.Run("volumes", func(t *testing.T) { p.as(t).volumes() })
	t.Run("build", func(t *testing.T) { p.as(t).builds() })
	t.Run("events", func(t *testing.T) { p.as(t).events() })
	t.Run("older versions", func(t *testing.T) { p.as(t).olderVersions() })
}

// as is the same daemon with failures told to another test.
func (p *pierd) as(t *testing.T) *pierd {
	q := *p
	q.t = t
	return &q
}

func (p *pierd) system() {
	a := p.want(200, "GET", "/_ping", nil, nil)
	if string(a.body) != "OK" || a.header.Get("Builder-Version") != "1" || a.header.Get("Api-Version") != docker.MaxVersion.String() || a.header.Get("Ostype") != "linux" {
		p.t.Errorf("_ping = %q %v", a.body, a.header)
	}
	p.want(200, "HEAD", "/_ping", nil, nil)
	var v struct{ ApiVersion, MinAPIVersion, Os string }
	p.want(200, "GET", "/version", nil, &v)
	if v.ApiVersion != docker.MaxVersion.String() || v.MinAPIVersion != docker.MinVersion.String() || v.Os != "linux" {
		p.t.Errorf("version = %+v", v)
	}
	p.want(200, "GET", "/info", nil, nil)
	p.want(200, "GET", "/system/df", nil, nil)
	p.want(501, "POST", "/auth", object{"username": "a", "password": "b"}, nil)
	p.want(200, "GET", "/plugins", nil, nil)
	p.want(503, "GET", "/nodes", nil, nil)
}

func (p *pierd) images() {
	p.importBusybox()
	var images []struct {
		Id       string
		RepoTags []string
		Size     int64
	}
	p.want(200, "GET", "/images/json", nil, &images)
	if len(images) != 1 || len(images[0].RepoTags) != 1 || images[0].RepoTags[0] != "busybox:latest" || images[0].Size < 1<<19 {
		p.t.Fatalf("images = %+v", images)
	}
	id := images[0].Id
	for filter, n := range map[string]int{
		`{"reference":["busybox"]}`: 1, `{"reference":["busybox:l*"]}`: 1, `{"reference":["other"]}`: 0,
		`{"dangling":["true"]}`: 0, `{"dangling":{"false":true}}`: 1, `{"label":["a"]}`: 0, `{"since":["busybox"]}`: 0,
	} {
		p.want(200, "GET", "/images/json?filters="+filter, nil, &images)
		if len(images) != n {
			p.t.Errorf("images with %s: %d, want %d", filter, len(images), n)
		}
	}
	p.want(200, "GET", "/images/json?shared-size=1&all=1", nil, nil)
	var inspected struct {
		Id     string
		Config struct{ Cmd, Env []string }
	}
	for _, ref := range []string{"busybox", "busybox:latest", "docker.io/library/busybox", id, id[7:19]} {
		p.want(200, "GET", "/images/"+ref+"/json", nil, &inspected)
		if inspected.Id != id {
			p.t.Errorf("inspect %s = %s, want %s", ref, inspected.Id, id)
		}
	}
	if fmt.Sprint(inspected.Config.Cmd, inspected.Config.Env) != "[sh] [A=b]" {
		p.t.Errorf("changes of the import = %+v", inspected.Config)
	}
	p.want(200, "GET", "/images/busybox/history", nil, nil)
	p.want(201, "POST", "/images/busybox/tag?repo=example.test/a/b&tag=1", nil, nil)
	p.want(200, "GET", "/images/example.test/a/b:1/json", nil, nil)

	archive := p.want(200, "GET", "/images/example.test/a/b:1/get", nil, nil).body
	p.want(200, "GET", "/images/get?names=busybox&names=example.test/a/b:1", nil, nil)
	p.want(200, "DELETE", "/images/example.test/a/b:1", nil, nil)
	p.want(404, "GET", "/images/example.test/a/b:1/json", nil, nil)
	loaded := p.want(200, "POST", "/images/load?quiet=0", bytes.NewReader(archive), nil).body
	if !bytes.Contains(loaded, []byte("Loaded image: example.test/a/b:1")) {
		p.t.Errorf("load = %s", loaded)
	}
	p.want(200, "DELETE", "/images/example.test/a/b:1?force=1", nil, nil)
	p.want(200, "POST", "/images/prune", nil, nil)
	p.want(404, "DELETE", "/images/none", nil, nil)
	if a := p.want(404, "GET", "/images/none/json", nil, nil); a.message() != "No such image: none:latest" && a.message() != "No such image: none" {
		p.t.Errorf("message = %q", a.message())
	}
	p.want(400, "POST", "/images/busybox/tag?repo=UPPER", nil, nil)
	p.want(501, "GET", "/images/search?term=x", nil, nil)
	p.want(501, "POST", "/images/busybox/push", nil, nil)
}

// create makes a container and removes it at the end of the test.
func (p *pierd) create(name string, body object) string {
	p.t.Helper()
	var created struct{ Id string }
	p.want(201, "POST", "/containers/create?name="+name, body, &created)
	p.t.Cleanup(func() {
		if a := p.do("DELETE", "/containers/"+created.Id+"?force=1&v=1", nil); a.status != 204 && a.status != 404 {
			p.t.Errorf("remove %s = %d %s", created.Id, a.status, a.body)
		}
	})
	return created.Id
}

func sleeper() object {
	return object{"Image": "busybox", "Cmd": []string{"sleep", "600"}, "StopSignal": "SIGKILL", "HostConfig": object{"NetworkMode": "none"}}
}

func (p *pierd) containers() {
	body := sleeper()
	body["Labels"] = object{"tier": "front"}
	body["HostConfig"] = object{"NetworkMode": "bridge", "Memory": 64 << 20, "PidsLimit": 50}
	id := p.create("web", body)
	p.want(409, "POST", "/containers/create?name=web", body, nil)
	p.want(404, "POST", "/containers/create", object{"Image": "none"}, nil)
	p.want(400, "POST", "/containers/create?name=a%20b", body, nil)

	type summary struct {
		Id, State string
		Names     []string
	}
	list := func(query string) (out []summary) {
		p.want(200, "GET", "/containers/json?"+query, nil, &out)
		return out
	}
	if got := list("all=1"); len(got) != 1 || got[0].State != "created" || got[0].Names[0] != "/web" {
		p.t.Fatalf("list = %+v", got)
	}
	p.want(204, "POST", "/containers/web/start", nil, nil)
	p.want(304, "POST", "/containers/web/start", nil, nil)
	var c struct {
		Id, Name string
		State    struct {
			Status string
			Pid    int
		}
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	p.want(200, "GET", "/containers/"+id[:12]+"/json?size=1", nil, &c)
	if c.Id != id || c.Name != "/web" || c.State.Status != "running" || c.State.Pid <= 1 || c.NetworkSettings.Networks["bridge"].IPAddress == "" {
		p.t.Errorf("inspect = %+v", c)
	}
	for query, n := range map[string]int{
		"": 1, `filters={"status":["running"]}`: 1, `filters={"name":{"we":true}}`: 1, `filters={"label":["tier=back"]}`: 0,
		`filters={"ancestor":["busybox"]}`: 1, "limit=1": 1, "size=1": 1, `all=1&filters={"status":["exited"]}`: 0,
	} {
		if got := list(query); len(got) != n {
			p.t.Errorf("list ?%s = %d containers, want %d", query, len(got), n)
		}
	}
	p.want(200, "GET", "/containers/web/top", nil, nil)
	p.want(204, "POST", "/containers/web/pause", nil, nil)
	p.want(204, "POST", "/containers/web/unpause", nil, nil)
	p.want(204, "POST", "/containers/web/rename?name=site", nil, nil)
	p.want(404, "GET", "/containers/web/json", nil, nil)
	p.want(409, "DELETE", "/containers/site", nil, nil)
	p.want(204, "POST", "/containers/site/restart?t=0", nil, nil)

	wait := make(chan answer, 1)
	response := p.send("POST", "/containers/site/wait?condition=next-exit", nil) // returns with the head, before the end
	go func() {
		defer response.Body.Close()
		data, _ := io.ReadAll(response.Body)
		wait <- answer{response.StatusCode, response.Header, data}
	}()
	p.want(204, "POST", "/containers/site/kill?signal=KILL", nil, nil)
	select {
	case a := <-wait:
		p.check("POST", "/containers/site/wait", a)
		if !bytes.Contains(a.body, []byte(`"StatusCode":137`)) {
			p.t.Errorf("wait = %s", a.body)
		}
	case <-time.After(2 * time.Minute):
		p.t.Fatal("wait does not end")
	}
	p.want(409, "POST", "/containers/site/kill", nil, nil)
	p.want(304, "POST", "/containers/site/stop", nil, nil)
	p.want(204, "POST", "/containers/site/start", nil, nil)
	p.want(204, "POST", "/containers/site/stop?t=1", nil, nil)
	p.want(204, "DELETE", "/containers/site", nil, nil)
	p.want(404, "DELETE", "/containers/site", nil, nil)

	p.create("gone", object{"Image": "busybox", "Cmd": []string{"true"}})
	p.want(200, "POST", "/containers/prune", nil, nil)
	for path, status := range map[string]int{"GET /containers/none/stats": 404, "GET /containers/none/export": 404, "GET /images/search": 501} {
		method, path, _ := strings.Cut(path, " ")
		p.want(status, method, path, nil, nil)
	}
}

// frames takes Docker's stream frames apart: what came on each stream.
func frames(t *testing.T, r io.Reader) (out [3]string) {
	t.Helper()
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return out
		} else if err != nil {
			t.Errorf("frame: %v", err)
			return out
		}
		data := make([]byte, binary.BigEndian.Uint32(head[4:]))
		if _, err := io.ReadFull(r, data); err != nil || head[0] > 2 {
			t.Errorf("frame %v: %v", head, err)
			return out
		}
		out[head[0]] += string(data)
	}
}

func (p *pierd) streams() {
	script := "echo ready; cat; echo bye >&2; exit 3"
	p.create("talk", object{"Image": "busybox", "Cmd": []string{"sh", "-c", script}, "OpenStdin": true, "StdinOnce": true,
		"HostConfig": object{"NetworkMode": "none"}})
	for i, upgrade := range []bool{true, false} {
		response, conn, in := p.hijack("/containers/talk/attach?stream=1&stdin=1&stdout=1&stderr=1", upgrade, nil)
		if want := map[bool]int{true: 101, false: 200}[upgrade]; response.StatusCode != want {
			p.t.Fatalf("attach, upgrade %v: status %d, want %d", upgrade, response.StatusCode, want)
		}
		if got := response.Header.Get("Content-Type"); got != "application/vnd.docker.multiplexed-stream" {
			p.t.Errorf("attach: content type %q", got)
		}
		p.want(204, "POST", "/containers/talk/start", nil, nil)
		_, _ = io.WriteString(conn, "hello\n")
		// What goes to two streams at about the same time has no order: the first is in the log before the second begins.
		p.Eventually("the log", func() error {
			a := p.want(200, "GET", "/containers/talk/logs?stdout=1", nil, nil)
			if n := bytes.Count(a.body, []byte("hello\n")); n != i+1 {
				return fmt.Errorf("it has %d greetings", n)
			}
			return nil
		})
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		if got := frames(p.t, in); got[1] != "ready\nhello\n" || got[2] != "bye\n" {
			p.t.Errorf("attach, upgrade %v: %q", upgrade, got)
		}
		var end struct{ StatusCode int }
		p.want(200, "POST", "/containers/talk/wait", nil, &end)
		if end.StatusCode != 3 {
			p.t.Errorf("exit code %d", end.StatusCode)
		}
	}
	logs := p.want(200, "GET", "/containers/talk/logs?stdout=1&stderr=1&tail=2", nil, nil)
	if got := frames(p.t, bytes.NewReader(logs.body)); got[1] != "hello\n" || got[2] != "bye\n" {
		p.t.Errorf("logs = %q", got)
	}
	follow := p.want(200, "GET", "/containers/talk/logs?stdout=1&follow=1&timestamps=1", nil, nil)
	if got := frames(p.t, bytes.NewReader(follow.body)); strings.Count(got[1], "\n") != 4 || !strings.Contains(got[1], "Z ready") {
		p.t.Errorf("logs with timestamps = %q", got)
	}

	p.create("tty", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "read x; stty size; echo got $x"}, "Tty": true, "OpenStdin": true,
		"HostConfig": object{"NetworkMode": "none"}})
	response, conn, in := p.hijack("/containers/tty/attach?stream=1&stdin=1&stdout=1", true, nil)
	if got := response.Header.Get("Content-Type"); got != "application/vnd.docker.raw-stream" {
		p.t.Errorf("attach to a terminal: content type %q", got)
	}
	p.want(204, "POST", "/containers/tty/start", nil, nil)
	p.want(200, "POST", "/containers/tty/resize?h=33&w=77", nil, nil)
	_, _ = io.WriteString(conn, "it\n")
	if got, _ := io.ReadAll(in); !strings.Contains(string(got), "33 77") || !strings.Contains(string(got), "got it") {
		p.t.Errorf("terminal = %q", got)
	}

	p.create("ws", object{"Image": "busybox", "Cmd": []string{"cat"}, "OpenStdin": true, "StdinOnce": true, "Tty": true, "HostConfig": object{"NetworkMode": "none"}})
	p.want(204, "POST", "/containers/ws/start", nil, nil)
	ws, _, err := websocket.Dial(p.t.Context(), "ws://pierd"+p.version+"/containers/ws/attach/ws?stream=1&stdin=1&stdout=1",
		&websocket.DialOptions{HTTPClient: p.http})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := ws.Write(p.t.Context(), websocket.MessageBinary, []byte("over\n")); err != nil {
		p.t.Fatal(err)
	}
	// A terminal echoes byte by byte; where one message ends and the next begins is nobody's promise.
	for got := ""; !strings.Contains(got, "over"); {
		_, message, err := ws.Read(p.t.Context())
		if err != nil {
			p.t.Fatalf("websocket = %q, then %v", got, err)
		}
		got += string(message)
	}
	_ = ws.CloseNow()
	p.want(404, "POST", "/containers/none/attach?stream=1", nil, nil)
}

func (p *pierd) execs() {
	p.create("host", sleeper())
	p.want(409, "POST", "/containers/host/exec", object{"Cmd": []string{"true"}}, nil)
	p.want(204, "POST", "/containers/host/start", nil, nil)
	p.want(400, "POST", "/containers/host/exec", object{}, nil)
	var exec struct{ Id string }
	p.want(201, "POST", "/containers/host/exec", object{"Cmd": []string{"sh", "-c", "cat; echo $X >&2; exit 4"}, "AttachStdin": true,
		"AttachStdout": true, "AttachStderr": true, "Env": []string{"X=y"}}, &exec)
	response, conn, in := p.hijack("/exec/"+exec.Id+"/start", true, object{})
	if response.StatusCode != 101 {
		p.t.Fatalf("exec start = %d", response.StatusCode)
	}
	_, _ = io.WriteString(conn, "input")
	_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	if got := frames(p.t, in); got[1] != "input" || got[2] != "y\n" {
		p.t.Errorf("exec = %q", got)
	}
	var end struct {
		Running  bool
		ExitCode *int
	}
	p.Eventually("the exec to end", func() error { // the exit is recorded a moment after the streams end
		if p.want(200, "GET", "/exec/"+exec.Id+"/json", nil, &end); end.Running {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	if end.ExitCode == nil || *end.ExitCode != 4 {
		p.t.Errorf("exec ended as %+v", end)
	}
	p.want(201, "POST", "/containers/host/exec", object{"Cmd": []string{"true"}}, &exec)
	p.want(200, "POST", "/exec/"+exec.Id+"/start", object{"Detach": true}, nil)
	p.want(404, "GET", "/exec/none/json", nil, nil)
	p.want(404, "POST", "/exec/none/start", object{"Detach": true}, nil)
}

func (p *pierd) networks() {
	var created struct{ Id string }
	p.want(201, "POST", "/networks/create", object{"Name": "back", "Labels": object{"a": "b"}, "Driver": "bridge"}, &created)
	p.want(409, "POST", "/networks/create", object{"Name": "back"}, nil)
	p.want(200, "GET", "/networks/back", nil, nil)
	for filter, want := range map[string]int{`{"name":["back"]}`: 1, `{"driver":["bridge"]}`: 2, `{"type":["builtin"]}`: 3, `{"label":["a=b"]}`: 1} {
		var got []object
		p.want(200, "GET", "/networks?filters="+filter, nil, &got)
		if len(got) != want {
			p.t.Errorf("networks with %s: %d, want %d", filter, len(got), want)
		}
	}
	body := sleeper()
	body["HostConfig"] = object{"NetworkMode": "back"}
	p.create("member", body)
	p.want(204, "POST", "/containers/member/start", nil, nil)
	p.want(200, "GET", "/networks/"+created.Id, nil, nil)
	p.want(403, "DELETE", "/networks/back", nil, nil)
	p.want(204, "DELETE", "/containers/member?force=1", nil, nil)
	p.want(204, "DELETE", "/networks/back", nil, nil)
	p.want(404, "GET", "/networks/back", nil, nil)
	p.want(403, "DELETE", "/networks/bridge", nil, nil)
	p.want(200, "POST", "/networks/prune", nil, nil)
}

func (p *pierd) volumes() {
	p.want(201, "POST", "/volumes/create", object{"Name": "data", "Labels": object{"a": "b"}}, nil)
	p.want(201, "POST", "/volumes/create", object{}, nil)
	p.want(400, "POST", "/volumes/create", object{"Name": "../x"}, nil)
	p.want(200, "GET", "/volumes/data", nil, nil)
	p.want(200, "GET", `/volumes?filters={"label":["a=b"]}`, nil, nil)
	run := func(name, script string) int {
		p.create(name, object{"Image": "busybox", "Cmd": []string{"sh", "-c", script},
			"HostConfig": object{"NetworkMode": "none", "Binds": []string{"data:/data"}}})
		p.want(204, "POST", "/containers/"+name+"/start", nil, nil)
		var end struct{ StatusCode int }
		p.want(200, "POST", "/containers/"+name+"/wait", nil, &end)
		return end.StatusCode
	}
	if code := run("writer", "echo kept > /data/file"); code != 0 {
		p.t.Errorf("writer ended with %d", code)
	}
	if code := run("reader", `[ "$(cat /data/file)" = kept ]`); code != 0 {
		p.t.Errorf("reader ended with %d", code)
	}
	p.want(409, "DELETE", "/volumes/data", nil, nil)
	p.want(200, "GET", "/system/df", nil, nil)
	p.want(204, "DELETE", "/containers/writer", nil, nil)
	p.want(204, "DELETE", "/containers/reader", nil, nil)
	p.want(200, "POST", "/volumes/prune", nil, nil)
	p.want(204, "DELETE", "/volumes/data", nil, nil)
	p.want(404, "GET", "/volumes/data", nil, nil)
}

// buildContext is a tar of the files given.
func buildContext(t *testing.T, files map[string]string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func (p *pierd) builds() {
	files := map[string]string{"Dockerfile": "FROM busybox\nARG who=nobody\nCOPY file /file\nRUN echo $who >> /file\nCMD [\"cat\", \"/file\"]\n", "file": "from context\n"}
	a := p.want(200, "POST", `/build?t=made:1&buildargs={"who":"me"}`, buildContext(p.t, files), nil)
	for _, line := range []string{"Step 1/5 : FROM busybox", "Successfully built ", "Successfully tagged made:1", `"aux":{"ID":"sha256:`} {
		if !bytes.Contains(a.body, []byte(line)) {
			p.t.Errorf("build lacks %q: %s", line, a.body)
		}
	}
	p.create("made", object{"Image": "made:1", "HostConfig": object{"NetworkMode": "none"}})
	p.want(204, "POST", "/containers/made/start", nil, nil)
	p.want(200, "POST", "/containers/made/wait", nil, nil)
	logs := p.want(200, "GET", "/containers/made/logs?stdout=1", nil, nil)
	if got := frames(p.t, bytes.NewReader(logs.body)); got[1] != "from context\nme\n" {
		p.t.Errorf("output of the image = %q", got)
	}
	failing := map[string]string{"Dockerfile": "FROM busybox\nRUN exit 7\n"}
	a = p.want(200, "POST", "/build", buildContext(p.t, failing), nil)
	if !bytes.Contains(a.body, []byte(`"code":7`)) || !bytes.Contains(a.body, []byte("returned a non-zero code: 7")) {
		p.t.Errorf("failing build = %s", a.body)
	}
	a = p.do("POST", "/build", buildContext(p.t, map[string]string{"Dockerfile": "FROM busybox\nODD x\n"}))
	if !bytes.Contains(a.body, []byte("unknown instruction: ODD")) {
		p.t.Errorf("build of an unknown instruction = %d %s", a.status, a.body)
	}
	p.want(501, "POST", "/build?version=2", buildContext(p.t, failing), nil)
	p.want(200, "POST", "/build/prune", nil, nil)
	p.want(204, "DELETE", "/containers/made", nil, nil)
	p.want(200, "DELETE", "/images/made:1", nil, nil)
}

func (p *pierd) events() {
	from := time.Now()
	p.create("noted", object{"Image": "busybox", "Cmd": []string{"true"}, "HostConfig": object{"NetworkMode": "none"}})
	p.want(204, "POST", "/containers/noted/start", nil, nil)
	p.want(200, "POST", "/containers/noted/wait", nil, nil)
	p.want(204, "DELETE", "/containers/noted", nil, nil)
	path := fmt.Sprintf("/events?since=%d.%09d&until=%d&filters=%s", from.Unix(), from.Nanosecond(), time.Now().Unix()+1, `{"container":["noted"]}`)
	response := p.send("GET", path, nil)
	defer response.Body.Close()
	var actions []string
	for dec := json.NewDecoder(response.Body); ; {
		var m struct{ Action string }
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			p.t.Fatal(err)
		}
		actions = append(actions, m.Action)
	}
	if got := strings.Join(actions, " "); got != "create start die destroy" {
		p.t.Errorf("events = %s", got)
	}
	p.want(400, "GET", "/events?since=soon", nil, nil)
}

func (p *pierd) olderVersions() {
	p.create("old", sleeper())
	p.want(204, "POST", "/containers/old/start", nil, nil)
	defer func() { p.unchecked = false }()
	for minor := docker.MinVersion.Minor; minor <= docker.MaxVersion.Minor; minor++ {
		p.version = fmt.Sprintf("/v1.%d", minor)
		// To read a description takes a while: those before the changes of 1.42, 1.44 and 1.52 stand for the others.
		p.unchecked = !slices.Contains([]int{41, 43, 51}, minor)
		for _, path := range []string{"/_ping", "/version", "/info", "/containers/json", "/containers/old/json", "/images/json", "/images/busybox/json",
			"/networks", "/volumes", "/system/df", "/containers/json?all=1&size=1", "/containers/old/top", "/containers/old/changes",
			"/containers/old/stats?stream=0&one-shot=1", "/plugins"} {
			p.want(200, "GET", path, nil, nil)
		}
	}
	p.version, p.unchecked = "/v1.41", true
	var c struct {
		NetworkSettings struct {
			IPAddress *string
			Networks  object
		}
	}
	p.want(200, "GET", "/containers/old/json", nil, &c)
	if c.NetworkSettings.IPAddress == nil {
		p.t.Error("1.41 lacks NetworkSettings.IPAddress")
	}
	var images []struct{ VirtualSize int64 }
	p.want(200, "GET", "/images/json", nil, &images)
	if len(images) == 0 || images[0].VirtualSize == 0 {
		p.t.Errorf("1.41: images = %+v", images)
	}
	response, _, in := p.hijack("/containers/old/attach?stream=1&stdout=1", true, nil)
	if response.Header.Get("Content-Type") != "application/vnd.docker.raw-stream" {
		p.t.Errorf("1.41: attach is %s", response.Header.Get("Content-Type"))
	}
	_ = in
	p.version = "/v1.39"
	p.want(http.StatusBadRequest, "GET", "/version", nil, nil)
	p.version = "/v" + docker.MaxVersion.String()
}
