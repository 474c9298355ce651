package custody

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

func TestStartOutputExit(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "c1"}
	s := b.attach(ref, false) // before the start: misses nothing
	b.run("c1", shim.Stdio{}, "sh", "-c", `echo out; echo err >&2; echo again >/dev/stdout 2>/dev/null; printf 'no newline'; exit 7`)
	out, errs := demux(t, s)
	if string(out) != "out\nno newline" && string(out) != "out\nagain\nno newline" || string(errs) != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
	e := b.exit(ref)
	if e.Code != 7 || e.Unknown || e.OOM {
		t.Errorf("exit %+v", e)
	}
	log := readLog(t, b.logPath("c1"))
	if log["stdout"] != string(out) || log["stderr"] != "err\n" {
		t.Errorf("log %q", log)
	}
	within, record := ctx(t), filepath.Join(b.root, "tasks/c1/exit.json")
	for _, err := os.Stat(record); err != nil; _, err = os.Stat(record) { // it comes after the news
		if within.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := b.Delete(ctx(t), ref); err != nil {
		t.Error(err)
	}
	b.run("c1", shim.Stdio{}, "sh", "-c", "kill -9 $$") // init cannot be killed from inside; sh goes on
	if e := b.exit(ref); e.Code == 137 {
		t.Errorf("exit %+v", e)
	}
}

func TestStartErrors(t *testing.T) {
	b := newBench(t)
	_, err := b.Start(ctx(t), b.request("bad", shim.Stdio{}, "nothing-there"), nil, nil)
	e, ok := err.(*shim.Error)
	if !ok || e.Kind != errkind.NotFound || e.Errno != 2 {
		t.Errorf("start of a missing command: %v (%+v)", err, e)
	}
	if _, err := b.Start(ctx(t), b.request("../up", shim.Stdio{}, "true"), nil, nil); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("start of ../up: %v", err)
	}
	b.run("ok", shim.Stdio{}, "sleep", "100")
	if _, err := b.Start(ctx(t), b.request("ok", shim.Stdio{}, "true"), nil, nil); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("second start: %v", err)
	}
	if err := b.Delete(ctx(t), shim.TaskRef{ID: "ok"}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("delete of a living task: %v", err)
	}
	if err := b.Signal(ctx(t), shim.Signal{TaskRef: shim.TaskRef{ID: "nobody"}, Signal: 15}); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("signal to nobody: %v", err)
	}
	if err := b.Resize(ctx(t), shim.Resize{TaskRef: shim.TaskRef{ID: "ok"}, Width: 80, Height: 25}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("resize without a terminal: %v", err)
	}
}

func TestStdinHalfClose(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "cat"}
	s := b.attach(ref, true)
	b.run("cat", shim.Stdio{OpenStdin: true, StdinOnce: true}, "cat")
	echoes(t, s)
	if e := b.exit(ref); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
}

// TestAttachToAnother shows that a stream does not stay with a supervisor that took the place of the one with the tasks: it
// may not have been given the task yet, and would begin its stream anew.
func TestAttachToAnother(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "cat"}
	s := b.attach(ref, true).(*stream)
	b.run("cat", shim.Stdio{OpenStdin: true, StdinOnce: true}, "cat")
	inc, err := b.living(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	former := &incarnation{hello: inc.hello}
	former.hello.Pid++
	// What tells them apart is asked before the stream joins: a task that waits for its streams goes on with the last that came.
	if err := s.connect(t.Context(), former, &s.pos); !isLost(err) || !strings.Contains(err.Error(), "another supervisor than") {
		t.Errorf("resumed at another supervisor: %v", err)
	}
	if err := s.connect(t.Context(), former, nil); !isLost(err) {
		t.Errorf("connected to another supervisor: %v", err)
	}
	echoes(t, s)
	b.exit(ref)
}

// echoes has the task of s say what it is told, and ends its input.
func echoes(t *testing.T, s Stream) {
	t.Helper()
	if _, err := io.WriteString(s, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, _ := demux(t, s); string(out) != "hello\n" {
		t.Errorf("output %q", out)
	}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	ref := shim.TaskRef{ID: "c", Exec: "e1"}
	s := b.attach(ref, true)
	b.exec("c", "e1", shim.Stdio{OpenStdin: true, StdinOnce: true}, "sh", "-c", "cat; echo done >&2; exit 3")
	go func() {
		_, _ = io.WriteString(s, strings.Repeat("x", 100000))
		_ = s.CloseWrite()
	}()
	out, errs := demux(t, s)
	if len(out) != 100000 || string(errs) != "done\n" {
		t.Errorf("%d bytes, stderr %q", len(out), errs)
	}
	if e := b.exit(ref); e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
	// What an exec leaves behind does not keep it, nor its stream, from ending.
	s = b.attach(shim.TaskRef{ID: "c", Exec: "e2"}, false)
	b.exec("c", "e2", shim.Stdio{}, "sh", "-c", "(sleep 1000; echo late) & echo now")
	if out, _ := demux(t, s); string(out) != "now\n" {
		t.Errorf("output %q", out)
	}
}

// A stream that comes with its process gives all output and the exit code, also where the supervisor dies meanwhile.
func TestExecJoined(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	s := b.execJoined("c", "e1", shim.Stdio{OpenStdin: true, StdinOnce: true}, "sh", "-c", "cat; exit 3")
	if _, err := io.WriteString(s, "one\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(payload{s})
	if line, err := reader.ReadString('\n'); err != nil || line != "one\n" {
		t.Fatalf("%q, %v", line, err)
	}
	killHard(t, b.SupervisorPid())
	if _, err := io.WriteString(s, "two\n"); err != nil {
		t.Fatal(err)
	}
	_ = s.CloseWrite()
	if rest, err := io.ReadAll(reader); err != nil || string(rest) != "two\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if code, known := s.ExitCode(); code != 3 || !known {
		t.Errorf("exit code %d, %v", code, known)
	}
	if e := b.exit(shim.TaskRef{ID: "c", Exec: "e1"}); e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
	request := b.execRequest("c", "e2", shim.Stdio{}, "nosuch")
	if _, s, err := b.Exec(ctx(t), request, &shim.Attach{TaskRef: request.TaskRef, Stdout: true}); !errkind.Is(err, errkind.NotFound) || s != nil {
		t.Errorf("a command that does not exist: %v, %v", s, err)
	}
	b.mu.Lock()
	open := len(b.streams)
	b.mu.Unlock()
	if open != 1 {
		t.Errorf("%d streams are open, not 1", open)
	}
	b.mu.Lock()
	b.current.hello.Generation += 7 // it was upgraded since it said hello, and nobody has noticed
	generation := b.current.generation
	b.mu.Unlock()
	s = b.execJoined("c", "e3", shim.Stdio{}, "true")
	if at := s.(*stream).at.Load(); at.Generation != generation {
		t.Errorf("the stream is taken for one of program %d, not %d", at.Generation, generation)
	}
	if out, errs := demux(t, s); len(out)+len(errs) > 0 {
		t.Errorf("output %q, %q", out, errs)
	}
}

// An exec does not run once its caller has given up, however long the supervisor was stopped.
func TestExecAbandoned(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	supervisor, err := pidfd.Open(b.SupervisorPid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer supervisor.Close()
	const stop, resume = 19, 18
	if err := pidfd.Signal(supervisor, stop); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pidfd.Signal(supervisor, resume) }()
	within := ctx(t)
	for !stopped(t, b.SupervisorPid()) {
		if within.Err() != nil {
			t.Fatal("the supervisor does not stop")
		}
		time.Sleep(time.Millisecond)
	}
	for _, name := range []string{"detached", "joined"} {
		request := b.execRequest("c", name, shim.Stdio{}, "sh", "-c", "echo >/tmp/"+name)
		var join *shim.Attach
		if name == "joined" {
			join = &shim.Attach{TaskRef: request.TaskRef, Stdout: true}
		}
		short, cancel := context.WithTimeout(ctx(t), 200*time.Millisecond)
		_, _, err := b.Exec(short, request, join)
		cancel()
		if !errkind.Is(err, errkind.Timeout) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := pidfd.Signal(supervisor, resume); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // what was asked for before has had its turn by then
		ref := shim.TaskRef{ID: "c", Exec: fmt.Sprint("e", i)}
		b.exec(ref.ID, ref.Exec, shim.Stdio{}, "true")
		b.exit(ref)
	}
	for _, name := range []string{"detached", "joined"} {
		if _, err := os.Stat(filepath.Join(b.rootfs, "tmp", name)); err == nil {
			t.Errorf("the %s one has run", name)
		}
	}
}

// stopped reports whether all threads of a process are stopped.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(all) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, all, err)
	}
	for _, name := range all {
		if text, err := os.ReadFile(name); err == nil && !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return true
}

func TestOutOfMemory(t *testing.T) {
	b := newBench(t)
	spec := b.spec("c", "sh", "-c", "x=$(yes | head -c 100000000); echo survived")
	limit := int64(16 << 20)
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
	if _, err := b.Start(ctx(t), &shim.Start{ID: "c", Spec: spec}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if e := b.exit(shim.TaskRef{ID: "c"}); !e.OOM {
		t.Errorf("exit %+v", e)
	}
}

func TestFreezeAndKill(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "c"}
	b.run("c", shim.Stdio{}, "sleep", "1000")
	if err := b.Freeze(ctx(t), shim.Freeze{ID: "c", On: true}); err != nil {
		t.Fatal(err)
	}
	if err := b.Signal(ctx(t), shim.Signal{TaskRef: ref, Signal: 9}); err != nil { // ends it all the same
		t.Fatal(err)
	}
	if e := b.exit(ref); e.Code != 137 {
		t.Errorf("exit %+v", e)
	}
}

// Somebody who is gone has frozen the container, and a part of it: the supervisor has no note of that. On cgroup v1 what is
// frozen does not die of its signal, and the first process waits for all in its pid namespace.
func TestKillWhatStandsStill(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "c"}
	task := b.run("c", shim.Stdio{}, "sh", "-c", "sleep 1000 & wait")
	group, err := cgroup.Open(task.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	part, err := cgroup.Create(task.Cgroup+"/part", nil)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := group.Procs()
	for soon := ctx(t); len(pids) < 2 && err == nil && soon.Err() == nil; pids, err = group.Procs() {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if pid != task.Pid {
			join(t, part, pid)
		}
	}
	for _, g := range []*cgroup.Cgroup{part, group} {
		if err := g.Freeze(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Signal(ctx(t), shim.Signal{TaskRef: ref, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	if e := b.exit(ref); e.Code != 137 {
		t.Errorf("exit %+v", e)
	}
}

// join moves a process into a cgroup, on the hierarchy where it can be frozen.
func join(t *testing.T, c *cgroup.Cgroup, pid int) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup"} {
		err := os.WriteFile(filepath.Join(root, c.Path(), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		if err == nil {
			return
		}
		if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	t.Fatal("no hierarchy has a freezer")
}

// A container in the host's pid namespace: what its first process leaves behind ends with it, and orphans are reaped.
func TestSharedPidNamespace(t *testing.T) {
	b := newBench(t)
	spec := b.spec("c", "sh", "-c", "sh -c 'sleep 0.01 & sleep 0.05 & exit' ; sleep 1000 & sleep 0.2; exit 6")
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	spec.Mounts = spec.Mounts[1:] // no /proc of its own
	if _, err := b.Start(ctx(t), &shim.Start{ID: "c", Spec: spec}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if e := b.exit(shim.TaskRef{ID: "c"}); e.Code != 6 {
		t.Errorf("exit %+v", e)
	}
	pid := b.SupervisorPid()
	eventually(t, "children of the supervisor", 0, func() int {
		n := 0
		threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, th := range threads {
			list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, th.Name()))
			n += len(strings.Fields(string(list)))
		}
		return n
	})
}
