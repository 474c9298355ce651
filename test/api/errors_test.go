package api

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestErrors holds the statuses and words that clients match on.
func TestErrors(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	p.create("stopped", sleeper())
	p.create("running", sleeper())
	p.want(204, "POST", "/containers/running/start", nil, nil)
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	with := func(change object) object {
		body := sleeper()
		for k, v := range change {
			body[k] = v
		}
		return body
	}
	create := func(name string, body object) {
		var created struct{ Id string }
		p.as(t).want(201, "POST", "/containers/create?name="+name, body, &created)
	}
	create("taken", with(object{"ExposedPorts": object{"80/tcp": object{}}, "HostConfig": object{"PortBindings": object{"80/tcp": []object{{"HostPort": port}}}}}))
	create("nocmd", with(object{"Cmd": []string{"nothing"}}))
	create("noexec", with(object{"Cmd": []string{"/etc/passwd"}}))
	create("nonet", with(object{"HostConfig": object{"NetworkMode": "none-such"}}))
	create("nouser", with(object{"User": "nobody-here"}))

	tests := []struct {
		method, path string
		body         any
		status       int
		message      string
	}{
		{"GET", "/containers/none/json", nil, 404, `^No such container: none$`},
		{"POST", "/containers/none/start", nil, 404, `^No such container: none$`},
		{"GET", "/containers/none/logs?stdout=1", nil, 404, `^No such container: none$`},
		{"POST", "/containers/none/wait", nil, 404, `^No such container: none$`},
		{"GET", "/exec/none/json", nil, 404, `^No such exec instance: none$`},
		{"GET", "/networks/none-such", nil, 404, `^network none-such not found$`},
		{"GET", "/volumes/none", nil, 404, `^get none: no such volume$`},
		{"GET", "/images/none/json", nil, 404, `^No such image: none(:latest)?$`},
		{"POST", "/containers/create", with(object{"Image": "none"}), 404, `^No such image: none:latest$`},
		{"POST", "/containers/create?name=stopped", sleeper(), 409, `^Conflict. The container name "/stopped" is already in use by container "?[0-9a-f]{64}"?. You have to remove \(or rename\) that container to be able to reuse that name.$`},
		{"POST", "/containers/create?name=a%20b", sleeper(), 400, `^Invalid container name \(a b\), only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed$`},
		{"POST", "/containers/create", with(object{"HostConfig": object{"Memory": 1000}}), 400, `(?i)minimum memory limit`},
		{"POST", "/containers/create", with(object{"HostConfig": object{"NanoCpus": -1}}), 400, ``},
		{"POST", "/containers/create", with(object{"HostConfig": object{"CapAdd": []string{"ODD"}}}), 400, `(?i)capabilit`},
		{"POST", "/containers/create", with(object{"HostConfig": object{"Binds": []string{"/does/not/exist:relative"}}}), 400, ``},
		{"POST", "/containers/nonet/start", nil, 404, `network none-such not found`},
		{"DELETE", "/containers/running", nil, 409, `^cannot remove container "/?running": container is running: stop the container before removing or force remove$`},
		{"POST", "/containers/stopped/kill", nil, 409, `is not running$`},
		{"POST", "/containers/running/kill?signal=ODD", nil, 400, `(?i)invalid signal: ODD`},
		{"POST", "/containers/stopped/exec", object{"Cmd": []string{"true"}}, 409, `is not running$`},
		{"POST", "/containers/stopped/pause", nil, 409, `is not running`},
		{"POST", "/containers/running/unpause", nil, 409, `is not paused`},
		{"POST", "/containers/running/rename?name=stopped", nil, 409, `already in use`},
		{"POST", "/containers/running/rename?name=", nil, 400, ``},
		{"DELETE", "/images/busybox", nil, 409, `^conflict: unable to remove repository reference "busybox" \(must force\) - container [0-9a-f]{12} is using its referenced image [0-9a-f]{12}$`},
		{"DELETE", "/networks/bridge", nil, 403, `bridge is a pre-defined network and cannot be removed`},
		{"POST", "/volumes/create", object{"Name": "a", "Driver": "odd"}, 404, `error looking up volume plugin odd: plugin "odd" not found`},
		{"POST", "/containers/taken/start", nil, 500, `(port is already allocated|address already in use)`},
		{"POST", "/containers/nocmd/start", nil, 400, `executable file not found in \$PATH`},
		{"POST", "/containers/noexec/start", nil, 400, `permission denied`},
		{"POST", "/containers/nouser/start", nil, 400, `unable to find user nobody-here: no matching entries in passwd file`},
		{"POST", "/images/create?fromImage=127.0.0.1:1/none&tag=1", nil, 0, ``},
	}
	for _, tt := range tests {
		a := p.as(t).do(tt.method, tt.path, tt.body)
		if tt.status == 0 { // any error will do
			if a.status < 400 {
				t.Errorf("%s %s = %d %s", tt.method, tt.path, a.status, a.body)
			}
			continue
		}
		if a.status != tt.status || !regexp.MustCompile(tt.message).MatchString(a.message()) {
			t.Errorf("%s %s = %d %q, want %d %s", tt.method, tt.path, a.status, a.message(), tt.status, tt.message)
		}
	}
}

// TestLimits sends what no honest client sends.
func TestLimits(t *testing.T) {
	p := startPierd(t)
	post := func(contentType, body string, length int64) (int, string) {
		r, err := http.NewRequest("POST", "http://pierd/containers/create", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		r.Header.Set("Content-Type", contentType)
		response, err := p.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		data, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(data)
	}
	for _, tt := range []struct {
		contentType, body string
		length            int64
		status            int
	}{
		{"application/json", `{"Image": "` + strings.Repeat("x", 5<<20) + `"}`, -1, 413},
		{"application/json", `{"Image": 7}`, 12, 400},
		{"application/json", `{"Image"`, 8, 400},
		{"application/json", `[]`, 2, 400},
		{"text/plain", `{}`, 2, 400},
		{"application/json", strings.Repeat(`{"a":`, 20000), -1, 400},
	} {
		if status, body := post(tt.contentType, tt.body, tt.length); status != tt.status {
			t.Errorf("%.20q as %s = %d %s, want %d", tt.body, tt.contentType, status, body, tt.status)
		}
	}
	// A header without end is cut; the daemon goes on meanwhile.
	conn, err := net.Dial("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, "GET /_ping HTTP/1.1\r\n")
	for range 200 {
		if _, err := io.WriteString(conn, "X-Long: "+strings.Repeat("y", 16<<10)+"\r\n"); err != nil {
			break
		}
	}
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("endless header = %.100q", answer)
	}
	p.want(200, "GET", "/_ping", nil, nil)
}
