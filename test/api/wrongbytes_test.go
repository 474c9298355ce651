package api

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// wrongBytes are requests that no HTTP library sends, and the beginning of the answer.
var wrongBytes = []struct{ request, answer string }{
	{"GET /containers/json HTTP/1.1\r\n\r\n", "400 Bad Request"},
	{"GET /containers/json HTTP/9.9\r\nHost: d\r\n\r\n", "505 "},
	{"GET /containers/json HTTP/2.0\r\nHost: d\r\n\r\n", "505 "},
	{"GET containers/json HTTP/1.1\r\nHost: d\r\n\r\n", "400 Bad Request"},
	{"GET /containers/json\r\n\r\n", "400 Bad Request"},
	{"get /containers/json HTTP/1.1\r\nHost: d\r\n\r\n", "404 Not Found"},
	{"GET /containers/a b/json HTTP/1.1\r\nHost: d\r\n\r\n", "400 Bad Request"},
	{"GET /containers/%zz/json HTTP/1.1\r\nHost: d\r\n\r\n", "400 Bad Request"},
	{"GET * HTTP/1.1\r\nHost: d\r\n\r\n", "404 Not Found"},
	{"CONNECT d:80 HTTP/1.1\r\nHost: d\r\n\r\n", "404 Not Found"},
	{"GET http://d/containers/none/json HTTP/1.1\r\nHost: d\r\n\r\n", "404 Not Found"},
	{"GET /containers/json HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n", "400 Bad Request"},
	{"GET /containers/json HTTP/1.1\r\nHost: d\r\nX Y: z\r\n\r\n", "400 Bad Request"},
	{"GET /containers/json HTTP/1.1\r\nHost: d\r\nX : z\r\n\r\n", "400 Bad Request"},
	{"GET /containers/json HTTP/1.1\r\nHost: d\r\nX: a\x00b\r\n\r\n", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 5, 6\r\n\r\n{}   ", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n{}", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: odd\r\n\r\n{}", "501 Not Implemented"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nffffffffffffffffff\r\n", "400 Bad Request"},
	{"POST /containers/create HTTP/1.1\r\nHost: d\r\nExpect: odd\r\nContent-Length: 2\r\n\r\n{}", "417 "},
	{"POST /containers/none/attach?stream=1 HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "404 Not Found"},
	{"POST /containers/none/attach?stream=1 HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n\r\n", "404 Not Found"},
	{"GET /containers/none/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "404 Not Found"},
	// A web page of another site must not reach a container through its visitor's browser.
	{"GET /containers/running/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://evil.example\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "403 Forbidden"},
}

func TestWrongBytes(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	p.create("running", sleeper())
	p.want(204, "POST", "/containers/running/start", nil, nil)
	for _, w := range wrongBytes {
		conn, err := net.Dial("unix", p.Socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, w.request)
		head := make([]byte, 64)
		n, err := io.ReadFull(conn, head)
		_, status, _ := strings.Cut(string(head[:n]), " ")
		if !strings.HasPrefix(status, w.answer) {
			t.Errorf("%q\n = %q %v, want %s", w.request, head[:n], err, w.answer)
		}
		_ = conn.Close()
	}
	p.want(200, "GET", "/containers/running/json", nil, nil)
}

// TestManyLabels makes a container with 100,000 labels: lists, filters and events go on as before.
func TestManyLabels(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	labels := map[string]string{}
	for i := range 100_000 {
		labels[fmt.Sprintf("l%d", i)] = ""
	}
	body := sleeper()
	body["Labels"] = labels
	p.create("many", body)
	p.want(204, "POST", "/containers/many/start", nil, nil)
	var found []struct{ Labels map[string]string }
	p.want(200, "GET", `/containers/json?filters={"label":["l99999"]}`, nil, &found)
	if len(found) != 1 || len(found[0].Labels) != len(labels) {
		t.Errorf("found %d containers", len(found))
	}
}

// TestUnknownFields holds that fields which no version of the API has are passed over, since clients of all kinds send
// some, and told of by name where an answer has warnings.
func TestUnknownFields(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	body := sleeper()
	body["Cmmd"], body["Empty"], body["platform"] = []string{"x"}, "", "linux"
	body["HostConfig"] = object{"NetworkMode": "none", "Memroy": 1, "LogConfig": object{"Typ": "x"}}
	var created struct{ Warnings []string }
	p.want(201, "POST", "/containers/create?name=odd&platform=linux", body, &created)
	want := []string{`unknown field "Cmmd" was ignored`, `unknown field "HostConfig.LogConfig.Typ" was ignored`, `unknown field "HostConfig.Memroy" was ignored`}
	if fmt.Sprint(created.Warnings) != fmt.Sprint(want) {
		t.Errorf("warnings %q, want %q", created.Warnings, want)
	}
	p.want(200, "POST", "/containers/odd/update", object{"Memroy": 1}, &created)
	if fmt.Sprint(created.Warnings) != `[unknown field "Memroy" was ignored]` {
		t.Errorf("warnings of update %q", created.Warnings)
	}
	p.want(204, "DELETE", "/containers/odd", nil, nil)
}

// TestWithoutBridge runs pierd as dockerd --bridge none: there is no network "bridge", and a container that is on no
// other has none.
func TestWithoutBridge(t *testing.T) {
	p := startPierd(t, "--bridge", "none", "--bip", "")
	p.importBusybox()
	p.want(404, "GET", "/networks/bridge", nil, nil)
	body := sleeper()
	delete(body, "HostConfig")
	p.create("lone", body)
	p.want(204, "POST", "/containers/lone/start", nil, nil)
	var c struct {
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	p.want(200, "GET", "/containers/lone/json", nil, &c)
	for name, n := range c.NetworkSettings.Networks {
		if n.IPAddress != "" {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// TestUsageByType asks /system/df for single kinds.
func TestUsageByType(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	var u map[string]any
	p.want(200, "GET", "/system/df?type=image", nil, &u)
	if len(u) != 1 || u["ImageUsage"] == nil {
		t.Errorf("df of images = %v", u)
	}
	clear(u)
	p.want(200, "GET", "/system/df?type=container&type=volume", nil, &u)
	if len(u) != 2 || u["ContainerUsage"] == nil || u["VolumeUsage"] == nil {
		t.Errorf("df of containers and volumes = %v", u)
	}
	q := p.as(t)
	q.version, q.unchecked = "/v1.44", true
	clear(u)
	q.want(200, "GET", "/system/df?type=build-cache", nil, &u)
	if u["BuildCache"] == nil || u["Images"] != nil || u["ImageUsage"] != nil {
		t.Errorf("df of 1.44 = %v", u)
	}
}
