package supervisor

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/lib/id"
	"pier/runtime/logging"
)

// successor is a supervisor that has just taken over a folder, without its socket.
func successor(t *testing.T) *Supervisor {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	since, err := pidfd.Now()
	if err != nil {
		t.Fatal(err)
	}
	return &Supervisor{root: t.TempDir(), boot: "boot", log: log, since: since, tools: make(toolBox, 4), packer: logging.NewPacker(log),
		tasks: map[shim.TaskRef]*task{}, making: map[shim.TaskRef]*task{}, waiting: map[shim.TaskRef][]*attacher{},
		watchers: map[*watcher]struct{}{}, probes: map[int]*probing{}}
}

// Two processes that have ended and were not reaped: the predecessor's child, and one that was born when the predecessor
// was dead already and got the child's number.
func TestCutOffTakesNoStranger(t *testing.T) {
	ends := func() int {
		cmd := exec.Command("/bin/busybox", "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() })
		for end := time.Now().Add(10 * time.Second); !ended(cmd.Process.Pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a process does not end")
			}
		}
		return cmd.Process.Pid
	}
	child := ends()
	s := successor(t)
	for now := s.since; now <= s.since; { // the next tick of the clock that start times are in
		time.Sleep(time.Millisecond)
		var err error
		if now, err = pidfd.Now(); err != nil {
			t.Fatal(err)
		}
	}
	stranger := ends()
	c := s.newTask(record{Task: shim.Task{TaskRef: shim.TaskRef{ID: "c", Exec: "e"}, Cgroup: "/none"}})
	if want, err := pidfd.StartTime(child); err != nil || s.cutOff(c, child) != want {
		t.Errorf("the predecessor's child, which has ended, is not taken up, %v", err)
	}
	if s.cutOff(c, stranger) != 0 {
		t.Error("a process that is younger than the predecessor's death is taken for its child")
	}
}

// A supervisor dies while it kills a container: all stands still, and not everybody has had his signal.
func TestKillGoesOn(t *testing.T) {
	group, err := cgroup.Create("/pier-test-"+id.Short(id.New())+"/c", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cgroup.Remove(filepath.Dir(group.Path())); err != nil {
			t.Error(err)
		}
	})
	join, err := group.Join()
	if err != nil {
		t.Fatal(err)
	}
	script, files := "", join.Tasks
	for i := range join.Tasks {
		script += "echo 0 >&" + strconv.Itoa(3+i) + "; "
	}
	if join.Dir != nil {
		script, files = "echo $$ >"+join.Dir.Name()+"/cgroup.procs; ", nil
	}
	cmd := exec.Command("/bin/busybox", "sh", "-c", script+"echo; exec sleep 1000")
	cmd.ExtraFiles = files
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	join.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has joined
		t.Fatal(err)
	}
	startTime, err := pidfd.StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	s := successor(t)
	ref := shim.TaskRef{ID: "c"}
	if err := os.MkdirAll(filepath.Join(s.root, "tasks"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := s.newTask(record{Task: shim.Task{TaskRef: ref, Cgroup: group.Path()}})
	if err := before.prepare(); err != nil {
		t.Fatal(err)
	}
	before.journal.started(cmd.Process.Pid, startTime, time.Now())
	before.journal.setFlag(flagDoomed, true)
	if err := group.Freeze(); err != nil {
		t.Fatal(err)
	}

	if err := s.takeUp(ref, given{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if x := s.tasks[ref].view().Exit; x != nil {
			if x.Code != 137 {
				t.Errorf("it ended with %d", x.Code)
			}
			break
		}
		if time.Now().After(end) {
			_ = group.Kill()
			t.Fatal("a container that was being killed lives on")
		}
	}
	if err := s.delete(ref); err != nil {
		t.Error(err)
	}
	_ = before.journal.page.Close()
}
