package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/sys/signal"

	"pier/test/lab"
)

// replace puts a copy of a program, or another one, in its place, as a package manager does: under a new name, then moved.
func replace(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// follow asks for answers that have no end of their own.
func follow(t *testing.T, socket string, paths ...string) map[string]io.ReadCloser {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	bodies := make(map[string]io.ReadCloser)
	for _, path := range paths {
		answer, err := client.Get("http://pier" + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		if bodies[path] = answer.Body; answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, answer.Status)
		}
	}
	return bodies
}

// TestUpgrade replaces both programs on the disk and in their processes while containers run and clients call.
func TestUpgrade(t *testing.T) {
	own := t.TempDir()
	for _, name := range []string{"pier", "pierd", "pier-runtime"} {
		replace(t, filepath.Join(bin, name), filepath.Join(own, name))
	}
	d := lab.Start(t, own)
	d.Pier("import", "-c", `CMD ["sh"]`, lab.Busybox(t, t.TempDir()), "busybox")
	const lines = 300
	d.Pier("run", "-d", "--name", "counter", "busybox", "sh", "-c", fmt.Sprintf("for i in $(seq %d); do echo line $i; sleep 0.01; done; exit 7", lines))
	d.Pier("run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "echo page >/tmp/index.html; exec httpd -f -p 80 -h /tmp")
	port := d.Pier("port", "web", "80")
	reachable(t, port)
	processes := func() string {
		return fmt.Sprint(d.Pid(), d.Supervisor(), d.Pier("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", "web"))
	}
	before := processes()
	program := func(pid int) os.FileInfo {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}

	// Somebody calls all the time and must never be turned away.
	stop, calls := make(chan struct{}), 0
	var caller sync.WaitGroup
	caller.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			conn, err := net.Dial("unix", d.Socket)
			if err != nil {
				t.Errorf("call %d: %v", calls, err)
				return
			}
			_, _ = io.WriteString(conn, "GET /_ping HTTP/1.0\r\n\r\n")
			answer, err := io.ReadAll(conn)
			_ = conn.Close()
			if !strings.Contains(string(answer), "200 OK") {
				t.Errorf("call %d at %s: %q, %v", calls, time.Now().UTC().Format("05.000"), answer, err)
			}
			calls++
			time.Sleep(time.Millisecond)
		}
	})
	followed := follow(t, d.Socket, "/containers/web/logs?stdout=1&follow=1", "/containers/web/stats", "/events")
	old, oldSupervisor := program(d.Pid()), program(d.Supervisor())
	for range 3 {
		for _, name := range []string{"pierd", "pier-runtime"} {
			replace(t, filepath.Join(bin, name), filepath.Join(own, name))
		}
		if r := d.Do(filepath.Join(own, "pierd"), append([]string{"upgrade"}, d.Flags()...)...); r.Code != 0 {
			t.Fatalf("pierd upgrade: %s\n%s", r.Err, d.Log())
		}
		if now := program(d.Pid()); os.SameFile(old, now) {
			t.Error("pierd is the same program as before")
		} else {
			old = now
		}
		if now := program(d.Supervisor()); os.SameFile(oldSupervisor, now) {
			t.Error("the supervisor is the same program as before")
		} else {
			oldSupervisor = now
		}
		reachable(t, port)
		if out := d.Pier("exec", "web", "echo", "inside"); out != "inside" {
			t.Errorf("exec afterwards prints %q", out)
		}
	}
	close(stop)
	caller.Wait()
	for path, body := range followed {
		if _, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s ended with %v, as if there were no more of it", path, err)
		}
	}
	if after := processes(); after != before {
		t.Errorf("processes were %s and are %s", before, after)
	}
	if code := d.Pier("wait", "counter"); code != "7" {
		t.Errorf("counter ended with %s, want 7", code)
	}
	wantLines(t, d.Pier("logs", "counter"), lines)

	// A program that cannot run is refused, by the command as by the daemon.
	replace(t, "/bin/false", filepath.Join(own, "pierd"))
	if r := d.Do(filepath.Join(bin, "pierd"), append([]string{"upgrade"}, d.Flags()...)...); r.Code == 0 || !strings.Contains(r.Err, "exit status 1") {
		t.Errorf("upgrade to a broken program: exit code %d, %s", r.Code, r.Err)
	}
	if p, err := os.FindProcess(d.Pid()); err != nil || p.Signal(signal.SignalMap["HUP"]) != nil {
		t.Errorf("signal pierd: %v", err)
	}
	d.Eventually("the refusal", func() error {
		if !strings.Contains(d.Log(), "upgrade refused") {
			return fmt.Errorf("its log has no word of it")
		}
		return nil
	})
	replace(t, filepath.Join(bin, "pierd"), filepath.Join(own, "pierd"))
	if after := processes(); after != before {
		t.Errorf("processes were %s and are %s", before, after)
	}
	d.Pier("rm", "-f", "counter", "web")
}
