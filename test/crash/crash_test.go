package crash

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

var bin string

func TestMain(m *testing.M) {
	if os.Getenv(tracerEnv) != "" {
		tracerMain()
		return
	}
	if err := reapOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, "reap orphans:", err)
		os.Exit(1)
	}
	lab.Main(m, &bin)
}

func start(t *testing.T) *lab.Daemon {
	t.Helper()
	d := lab.Start(t, bin)
	d.Pier("import", "-c", `CMD ["sh"]`, lab.Busybox(t, t.TempDir()), "busybox")
	return d
}

// killSupervisor kills it and waits until another one serves.
func killSupervisor(t *testing.T, d *lab.Daemon) {
	t.Helper()
	p := d.SupervisorProcess()
	if p == nil {
		t.Fatal("no supervisor is running")
	}
	old := p.Pid
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	d.Eventually("a new supervisor", func() error {
		if now := d.Supervisor(); now == 0 || now == old {
			return fmt.Errorf("supervisor is process %d", now)
		}
		return nil
	})
}

func killPierd(_ *testing.T, d *lab.Daemon) {
	d.Signal(os.Kill)
	d.Run()
}

// kills are the ways in which Pier's processes die. Each leaves a serving daemon.
func kills() map[string]func(*testing.T, *lab.Daemon) {
	return map[string]func(*testing.T, *lab.Daemon){
		"pierd":                   killPierd,
		"supervisor":              killSupervisor,
		"pierd, then supervisor":  func(t *testing.T, d *lab.Daemon) { killPierd(t, d); killSupervisor(t, d) },
		"supervisor, then pierd":  func(t *testing.T, d *lab.Daemon) { killSupervisor(t, d); killPierd(t, d) },
		"pierd, three times":      func(t *testing.T, d *lab.Daemon) { killPierd(t, d); killPierd(t, d); killPierd(t, d) },
		"supervisor, three times": func(t *testing.T, d *lab.Daemon) { killSupervisor(t, d); killSupervisor(t, d); killSupervisor(t, d) },
		"pierd ends by SIGTERM":   func(_ *testing.T, d *lab.Daemon) { d.Terminate(); d.Run() },
		"both at once": func(t *testing.T, d *lab.Daemon) {
			if p := d.SupervisorProcess(); p != nil {
				_ = p.Kill()
			}
			d.Signal(os.Kill)
			d.Run()
		},
	}
}

// TestKill lets containers count while processes die, and then looks at every trace they should have left.
func TestKill(t *testing.T) {
	for name, kill := range kills() {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			const lines = 200
			count := fmt.Sprintf("for i in $(seq %d); do echo line $i; sleep 0.01; done; exit 7", lines)
			d.Pier("run", "-d", "--name", "counter", "-m", "32m", "busybox", "sh", "-c", count)
			d.Pier("run", "-d", "--name", "steady", "-p", "127.0.0.1::80", "-v", "data:/data", "busybox", "sh", "-c",
				"trap 'exit 9' TERM; echo page > /tmp/index.html; httpd -p 80 -h /tmp; echo up; while true; do sleep 0.05; done")
			d.Pier("run", "-d", "--name", "console", "-t", "busybox", "sh", "-c", "sleep 1000")
			d.Pier("run", "-d", "--name", "brief", "--rm", "busybox", "sleep", "0.3")
			before := d.Pier("inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}", "steady")
			port := d.Pier("port", "steady", "80")
			reachable(t, port)

			kill(t, d)

			if after := d.Pier("inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}", "steady"); after != before {
				t.Errorf("steady was %s and is now %s", before, after)
			}
			reachable(t, port)
			if out := d.Pier("exec", "steady", "echo", "inside"); out != "inside" {
				t.Errorf("exec afterwards prints %q", out)
			}
			unknownAllowed := name == "both at once"
			if code := d.Pier("wait", "counter"); code != "7" && !(unknownAllowed && code == "255") {
				t.Errorf("counter ended with %s, want 7", code)
			}
			wantLines(t, d.Pier("logs", "counter"), lines)
			d.Pier("stop", "-t", "100", "steady")
			if code := d.Pier("inspect", "-f", "{{.State.ExitCode}}", "steady"); code != "9" && !(unknownAllowed && code == "255") {
				t.Errorf("steady ended with %s, want 9", code)
			}
			d.Eventually("brief to be removed", func() error {
				if left := d.Pier("ps", "-aq", "--filter", "name=brief"); left != "" {
					return errors.New("it is still there")
				}
				return nil
			})
			if console := d.Pier("inspect", "-f", "{{.State.Running}}", "console"); console != "true" && !unknownAllowed {
				t.Error("the container with a terminal did not live on")
			}
			// What survived can be used as if nothing had happened.
			d.Pier("start", "steady")
			reachable(t, d.Pier("port", "steady", "80"))
			d.Pier("rm", "-f", "counter", "steady", "console")
			if left := d.Pier("ps", "-aq"); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// wantLines checks that the log holds line 1 to line n once each and in order.
func wantLines(t *testing.T, log string, n int) {
	t.Helper()
	got := strings.Split(log, "\n")
	for i := 1; i <= n; i++ {
		if i > len(got) || got[i-1] != fmt.Sprintf("line %d", i) {
			have := "nothing"
			if i <= len(got) {
				have = got[i-1]
			}
			t.Errorf("line %d of the log is %q; %d lines in all, want %d", i, have, len(got), n)
			return
		}
	}
	if len(got) != n {
		t.Errorf("the log has %d lines, want %d", len(got), n)
	}
}

func reachable(t *testing.T, address string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	lab.Eventually(t, address+" to answer", func() error {
		answer, err := client.Get("http://" + address + "/index.html")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		out, err := io.ReadAll(io.LimitReader(answer.Body, 100))
		if err == nil && string(out) != "page\n" {
			err = fmt.Errorf("got %q", out)
		}
		return err
	})
}

// TestAttachSurvivesSupervisor keeps a client attached, input and output, while the supervisor dies.
func TestAttachSurvivesSupervisor(t *testing.T) {
	d := start(t)
	cmd := d.Command("pier", "run", "-i", "--name", "echo", "busybox", "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.Eventually("echo to run", func() error {
		if r := d.Do("pier", "inspect", "-f", "{{.State.Running}}", "echo"); r.Out != "true\n" {
			return errors.New(r.Err)
		}
		return nil
	})
	var want strings.Builder
	for i := range 30 {
		line := fmt.Sprintf("word %d\n", i)
		want.WriteString(line)
		if _, err := in.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 5 {
			killSupervisor(t, d)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("the client got %q, want %q", out.String(), want.String())
	}
	d.Pier("rm", "echo")
}

// TestKillDuringCreate kills pierd at many moments of a stream of commands; what is left must be whole or nothing.
func TestKillDuringCreate(t *testing.T) {
	d := start(t)
	for round := range 12 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 20 {
				// Most of these fail once the daemon is gone: that is the point.
				_ = d.Command("pier", "run", "-d", "--name", fmt.Sprintf("c%d-%d", round, i), "-v", "/anon", "busybox", "sleep", "1000").Run()
			}
		}()
		time.Sleep(time.Duration(5+round*7) * time.Millisecond)
		killPierd(t, d)
		<-done
	}
	for _, line := range strings.Split(d.Pier("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"), "\n") {
		id, state, _ := strings.Cut(line, " ")
		switch state {
		case "running":
			d.Pier("exec", id, "true")
		case "created", "exited":
		default:
			t.Errorf("container %s is %s", id, state)
		}
		d.Pier("rm", "-f", "-v", id)
	}
}

// TestOrder ends everything, as a machine does that is restarted, and looks at the order in which containers come back.
func TestOrder(t *testing.T) {
	d := start(t)
	var names []string
	for i := range 8 {
		policy := []string{"always", "unless-stopped", "on-failure"}[i%3]
		names = append(names, fmt.Sprintf("c%d", i))
		d.Pier("run", "-d", "--restart", policy, "--name", names[i], "busybox", "sleep", "1000")
	}
	each := func(format string) []string {
		return strings.Split(d.Pier(append([]string{"inspect", "-f", format}, names...)...), "\n")
	}
	pids := each("{{.State.Pid}}")
	supervisor := d.Supervisor()
	d.Signal(os.Kill)
	for _, pid := range append([]string{strconv.Itoa(supervisor)}, pids...) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := os.FindProcess(n); err == nil {
			_ = p.Kill()
		}
	}
	d.Eventually("all to be gone", func() error {
		for _, pid := range pids {
			if _, err := os.Lstat("/proc/" + pid); err == nil {
				return fmt.Errorf("process %s is there", pid)
			}
		}
		return nil
	})
	d.Run()
	d.Eventually("all to run again", func() error {
		for i, pid := range each("{{.State.Pid}}") {
			if pid == "0" || pid == pids[i] {
				return fmt.Errorf("the first process of c%d was %s and is %s", i, pids[i], pid)
			}
		}
		return nil
	})
	var begun []time.Time
	for _, text := range each("{{.State.StartedAt}}") {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		begun = append(begun, at)
	}
	if !slices.IsSortedFunc(begun, time.Time.Compare) {
		t.Errorf("they were made in this order and came back at %s", begun)
	}
	d.Pier(append([]string{"rm", "-f"}, names...)...)
}
