package api

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// killPierd ends pierd without warning and starts it again.
func (p *pierd) killPierd() {
	p.t.Helper()
	_ = p.Signal(os.Kill)
	p.Run()
}

// endSupervisor ends the supervisor without warning and returns its number.
func (p *pierd) endSupervisor() int {
	p.t.Helper()
	s := p.SupervisorProcess()
	if s == nil {
		p.t.Fatal("no supervisor is running")
	}
	if err := s.Kill(); err != nil {
		p.t.Fatalf("kill %d: %v", s.Pid, err)
	}
	return s.Pid
}

// killSupervisor ends the supervisor without warning and waits for its successor.
func (p *pierd) killSupervisor() {
	p.t.Helper()
	old := p.endSupervisor()
	p.Eventually("another supervisor", func() error {
		if pid := p.Supervisor(); pid == 0 || pid == old {
			return fmt.Errorf("it is process %d\n%s", pid, p.Log())
		}
		return nil
	})
}

// logged waits until a container's standard output, as it was logged, holds text.
func (p *pierd) logged(name, text string) {
	p.t.Helper()
	p.Eventually(name+" to say "+text, func() error {
		a := p.want(200, "GET", "/containers/"+name+"/logs?stdout=1", nil, nil)
		if !strings.Contains(string(a.body), text) {
			return fmt.Errorf("its log has %d bytes", len(a.body))
		}
		return nil
	})
}

// TestCrash kills pierd, the supervisor, and one after the other, while containers run, log and are attached to. The
// containers do not notice; their output and exit codes arrive whole.
func TestCrash(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	// A line every 20 ms, then an exit code; input ends it.
	script := `i=0; while [ ! -e /tmp/end ]; do echo line $i; i=$((i+1)); sleep 0.02; done; echo end >&2; exit 42`
	for _, crash := range []struct {
		name string
		do   func()
		// attached tells whether streams opened before must survive: those through a dead pierd cannot.
		attached bool
	}{
		{"pierd", p.killPierd, false},
		{"supervisor", p.killSupervisor, true},
		{"supervisor-then-pierd", func() { p.killSupervisor(); p.killPierd() }, false},
		{"pierd-then-supervisor", func() { p.killPierd(); p.killSupervisor() }, false},
		{"both", func() {
			p.endSupervisor()
			p.killPierd()
		}, false},
	} {
		t.Run(crash.name, func(t *testing.T) {
			q := p.as(t)
			name := "c-" + crash.name
			q.create(name, object{"Image": "busybox", "Cmd": []string{"sh", "-c", script}})
			var in io.Reader
			if crash.attached {
				_, _, in = q.hijack("/containers/"+name+"/attach?stream=1&stdout=1&stderr=1", true, nil)
			}
			q.want(204, "POST", "/containers/"+name+"/start", nil, nil)
			var before, after struct {
				State struct {
					Pid, ExitCode int
					Status        string
				}
			}
			q.want(200, "GET", "/containers/"+name+"/json", nil, &before)
			q.logged(name, "line 5\n")
			crash.do()
			q.want(200, "GET", "/containers/"+name+"/json", nil, &after)
			if after.State.Status != "running" || after.State.Pid != before.State.Pid {
				t.Fatalf("the container was %+v, is %+v", before.State, after.State)
			}
			q.logged(name, "line 10\n")
			var exec struct{ Id string }
			q.want(201, "POST", "/containers/"+name+"/exec", object{"Cmd": []string{"sh", "-c", "echo in; touch /tmp/end"}, "AttachStdout": true}, &exec)
			_, _, out := q.hijack("/exec/"+exec.Id+"/start", true, object{})
			if got := frames(t, out); got[1] != "in\n" {
				t.Errorf("exec after the crash: %q", got)
			}
			var end struct{ StatusCode int }
			q.want(200, "POST", "/containers/"+name+"/wait", nil, &end)
			if end.StatusCode != 42 {
				t.Errorf("exit code %d, want 42", end.StatusCode)
			}
			logs := q.want(200, "GET", "/containers/"+name+"/logs?stdout=1&stderr=1", nil, nil)
			whole(t, "log", frames(t, bytes.NewReader(logs.body)))
			if crash.attached {
				whole(t, "attached stream", frames(t, in))
			}
		})
	}
}

// whole checks that no line is missing, doubled or torn.
func whole(t *testing.T, what string, got [3]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got[1], "\n"), "\n")
	for i, line := range lines {
		if line != fmt.Sprintf("line %d", i) {
			t.Errorf("%s: line %d of %d is %q", what, i, len(lines), line)
			return
		}
	}
	if len(lines) < 10 || got[2] != "end\n" {
		t.Errorf("%s: %d lines, then %q", what, len(lines), got[2])
	}
}
