package stuck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/sys/signal"

	"pier/test/lab"
)

// TestKernelWait has a container wait for a file system that never answers. No signal ends it: stop, kill and rm say so,
// nobody else notices, and it can be ended and removed as any other once the wait is over.
func TestKernelWait(t *testing.T) {
	t.Parallel()
	p := start(t)
	dir, release := hungFS(t)
	p.run("other", "while true; do echo tick; sleep 1; done", nil)
	p.run("stuck", "echo before; exec cat /hung/file", object{"Binds": []string{dir + ":/hung"}})
	pid := p.state("stuck").Pid
	lab.Eventually(t, "the container to wait in the kernel", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && !strings.Contains(string(status), "cat\n") {
			err = fmt.Errorf("not yet: %.40s", status)
		}
		if stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid)); err == nil && !strings.Contains(string(stack), "request_wait_answer") {
			err = fmt.Errorf("it waits in %s", stack)
		}
		return err
	})
	p.snapshots("other", "stuck")

	var all sync.WaitGroup
	for _, r := range []struct{ method, path string }{
		{"POST", "/containers/stuck/kill"}, {"POST", "/containers/stuck/stop?t=0"}, {"DELETE", "/containers/stuck?force=1"},
	} {
		all.Go(func() {
			if text := p.want(504, r.method, r.path, nil); !strings.Contains(text, "did not end") || !strings.Contains(text, fmt.Sprintf("/proc/%d/stack", pid)) {
				t.Errorf("%s %s = %q", r.method, r.path, text)
			}
		})
	}
	// Meanwhile all others live as before.
	for i := range 3 {
		p.snapshots("other", "stuck")
		name := fmt.Sprintf("more%d", i)
		p.run(name, "exec sleep 600", nil)
		p.want(204, "POST", "/containers/"+name+"/kill", nil)
		p.want(204, "DELETE", "/containers/"+name, nil)
	}
	p.want(204, "POST", "/containers/other/stop?t=0", nil)
	p.want(204, "POST", "/containers/other/start", nil)
	all.Wait()
	if s := p.state("stuck"); s.Status != "running" || s.Pid != pid {
		t.Errorf("the stuck container = %+v", s)
	}
	release()
	lab.Eventually(t, "its end", func() error {
		if s := p.state("stuck"); s.Status != "exited" || s.ExitCode != 137 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if text := p.want(200, "GET", "/containers/stuck/logs?stdout=1", nil); !strings.Contains(text, "before") {
		t.Errorf("its log = %q", text)
	}
	p.want(204, "DELETE", "/containers/stuck", nil)
}

// TestStoppedSupervisor stops the supervisor. What pierd knows it goes on telling; what needs the supervisor is answered
// with the reason; and when it goes on nothing was lost.
func TestStoppedSupervisor(t *testing.T) {
	t.Parallel()
	p := start(t)
	names := []string{"one", "two", "three", "four"}
	for _, name := range names {
		p.run(name, "trap 'exit 7' TERM; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.1; done", nil)
	}
	p.make("resting", "true", nil)
	supervisor := p.SupervisorProcess()
	if supervisor == nil {
		t.Fatal("no supervisor is running")
	}
	send := func(name string) {
		t.Helper()
		if err := supervisor.Signal(signal.SignalMap[name]); err != nil {
			t.Fatal(err)
		}
	}
	send("STOP")
	var going sync.Once
	resume := func() { going.Do(func() { send("CONT") }) }
	t.Cleanup(resume) // before the daemon's own cleanup, which needs it

	p.snapshots(names...)
	var all sync.WaitGroup
	for _, r := range []struct{ method, path string }{
		{"POST", "/containers/one/stop?t=1"}, {"POST", "/containers/two/kill"}, {"DELETE", "/containers/three?force=1"}, {"POST", "/containers/four/pause"},
	} {
		all.Go(func() {
			if text := p.want(504, r.method, r.path, nil); !strings.Contains(text, fmt.Sprintf("process %d", supervisor.Pid)) {
				t.Errorf("%s %s = %q", r.method, r.path, text)
			}
		})
	}
	for range 5 {
		p.snapshots(append(names, "resting")...)
	}
	p.make("made", "true", nil)
	p.want(204, "POST", "/containers/made/rename?name=named", nil)
	p.want(204, "DELETE", "/containers/named", nil)
	p.want(204, "DELETE", "/containers/resting", nil)
	all.Wait()
	for _, name := range names {
		if s := p.state(name); s.Pid == 0 {
			t.Errorf("%s = %+v", name, s)
		}
	}
	resume()
	// What was asked for and answered with a timeout may have happened; all containers can be ended and removed now.
	for _, name := range names {
		lab.Eventually(t, name+" to stop", func() error {
			if status, text := p.ask("POST", "/containers/"+name+"/stop?t=5", nil); status != 204 && status != 304 && !strings.Contains(text, "No such container") {
				return fmt.Errorf("%d %s", status, text)
			}
			return nil
		})
		if status, text := p.ask("GET", "/containers/"+name+"/logs?stdout=1", nil); status == 200 {
			if n := strings.Count(text, "line "); n == 0 || !strings.Contains(text, fmt.Sprintf("line %d\n", n)) {
				t.Errorf("log of %s has %d lines, and not the last of them", name, n)
			}
		}
		if status, text := p.ask("DELETE", "/containers/"+name, nil); status != 204 && status != 404 {
			t.Errorf("remove %s = %d %s", name, status, text)
		}
	}
	p.run("after", "exit 3", nil)
	if text := p.want(200, "POST", "/containers/after/wait", nil); !strings.Contains(text, `"StatusCode":3`) {
		t.Errorf("a container afterwards = %s", text)
	}
}

// TestFullLogDisk has a container write its log to a disk without room. It waits for its log or runs on, as its log mode
// says; nobody else notices; it can be stopped and removed.
func TestFullLogDisk(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.run("other", "while true; do echo tick; sleep 1; done", nil)
	p.make("full", "echo first; sleep 1; yes 0123456789012345678901234567890123456789", nil)
	p.make("loose", "echo first; sleep 1; dd if=/dev/zero bs=64k count=512 2>/dev/null | tr '\\0' '\\n'; echo done >&2; exec sleep 600",
		object{"LogConfig": object{"Type": "json-file", "Config": object{"mode": "non-blocking", "max-buffer-size": "1m"}}})
	for _, name := range []string{"full", "loose"} {
		var id string
		for _, c := range strings.Fields(p.Pier("ps", "-aq", "--no-trunc", "--filter", "name="+name)) {
			id = c
		}
		folder := filepath.Join(p.Dir, "data", "containers", id)
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "pier-test-full", folder).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
		t.Cleanup(func() { // before the daemon's own cleanup, which refuses to remove what is mounted
			p.want(204, "DELETE", "/containers/"+name+"?force=1", nil)
			if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
				t.Errorf("umount: %v\n%s", err, out)
			}
		})
		p.want(204, "POST", "/containers/"+name+"/start", nil)
	}
	lab.Eventually(t, "pierd to tell of the full disk", func() error {
		if n := strings.Count(p.Log(), "no space left on device"); n < 2 {
			return fmt.Errorf("told %d times", n)
		}
		return nil
	})
	p.snapshots("other", "full", "loose")
	for i := range 3 {
		name := fmt.Sprintf("more%d", i)
		p.run(name, "echo hello", nil)
		p.want(200, "POST", "/containers/"+name+"/wait", nil)
		if text := p.want(200, "GET", "/containers/"+name+"/logs?stdout=1", nil); !strings.Contains(text, "hello") {
			t.Errorf("log of another = %q", text)
		}
		p.want(204, "DELETE", "/containers/"+name, nil)
	}
	for _, name := range []string{"full", "loose"} {
		p.want(204, "POST", "/containers/"+name+"/stop?t=1", nil)
		if text := p.want(200, "GET", "/containers/"+name+"/logs?stdout=1", nil); !strings.Contains(text, "first") {
			t.Errorf("the beginning of %s's log = %.100q", name, text)
		}
	}
}
