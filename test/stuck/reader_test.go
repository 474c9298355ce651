package stuck

import (
	"fmt"
	"net"
	"testing"
)

// TestStalledReader attaches to containers before they start and reads nothing. One whose log mode is non-blocking runs to
// its end all the same; one that is blocking waits for its reader, and goes on when the reader leaves. A reader of the log
// holds up neither.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	p := start(t)
	const script = "yes 0123456789012345678901234567890123456789 | head -c 4000000"
	p.make("loose", script, object{"LogConfig": object{"Type": "json-file", "Config": object{"mode": "non-blocking"}}})
	p.make("patient", script, nil)
	p.make("logged", script, nil)
	open := func(request string) net.Conn {
		conn, err := net.Dial("unix", p.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: pierd\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", request); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 16)); err != nil { // it is attached
			t.Fatal(err)
		}
		return conn
	}
	open("POST /v1.44/containers/loose/attach?stream=1&stdout=1")
	reader := open("POST /v1.44/containers/patient/attach?stream=1&stdout=1")
	for _, name := range []string{"loose", "patient", "logged"} {
		p.want(204, "POST", "/containers/"+name+"/start", nil)
	}
	open("GET /v1.44/containers/logged/logs?stdout=1&follow=1")
	ended := func(name string) {
		t.Helper()
		p.want(200, "POST", "/containers/"+name+"/wait", nil)
		if s := p.state(name); s.Status != "exited" || s.ExitCode != 0 {
			t.Errorf("%s = %+v", name, s)
		}
	}
	ended("logged")
	ended("loose")
	if s := p.state("patient"); s.Status != "running" {
		t.Errorf("the container that waits for its reader = %+v", s)
	}
	_ = reader.Close()
	ended("patient")
}
