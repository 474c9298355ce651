package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/kernel/probe"
	"pier/lib/id"
	"pier/runtime/logging"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/journal"
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
		watchers: map[*watcher]struct{}{}}
}

// cutOffTask is a task of which the predecessor noted the process, and whether that had come to its program.
func cutOffTask(t *testing.T, s *Supervisor, pid int, ran bool) *task {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	c := s.newTask(record{Task: shim.Task{TaskRef: shim.TaskRef{ID: "c", Exec: "e"}, Cgroup: "/none"}})
	c.journal = j
	*j.PidWord() = int32(pid)
	if ran {
		*j.RunWord() = ^uint64(0)
	}
	return c
}

// Processes that have ended, one before and one after the predecessor's death. The second was born then: it has the number of
// a child that somebody has reaped. Whatever it was, what the child did is known by the journal alone.
func TestCutOffOfWhatHasEnded(t *testing.T) {
	ends := func() int {
		cmd := exec.Command("/bin/busybox", "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Wait() })
		for end := time.Now().Add(time.Minute); !ended(cmd.Process.Pid); time.Sleep(time.Millisecond) {
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
	began, err := pidfd.StartTime(child)
	if err != nil {
		t.Fatal(err)
	}
	const free = 1<<22 + 1 // no process has such a number
	for _, x := range []struct {
		what string
		pid  int
		ran  bool
		want uint64
	}{
		{"a child that has run", child, true, began},
		{"a child that never ran", child, false, 0},
		{"a stranger in the place of one that has run", stranger, true, startUnseen},
		{"a stranger in the place of one that never ran", stranger, false, 0},
		{"nobody in the place of one that has run", free, true, startUnseen},
		{"nobody in the place of one that never ran", free, false, 0},
	} {
		if pid, got := s.cutOff(cutOffTask(t, s, x.pid, x.ran)); got != x.want || pid != x.pid {
			t.Errorf("%s: process %d, start time %d, want %d", x.what, pid, got, x.want)
		}
	}
}

// The first of two processes stands for both until there is the second: then that one is decided about.
func TestCutOffOfTheSecond(t *testing.T) {
	sleeper := func() *exec.Cmd {
		cmd := exec.Command("/bin/busybox", "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	first, second := sleeper(), sleeper()
	s := successor(t)
	c := cutOffTask(t, s, first.Process.Pid, true)
	c.info.Cgroup = pidfd.Cgroup(second.Process.Pid)
	go func() {
		for !stopped(first.Process.Pid) {
			time.Sleep(time.Millisecond)
		}
		*c.journal.PidWord() = int32(second.Process.Pid)
	}()
	// Both run another program than ours: the first could be let go, had it not been for the second.
	want, err := pidfd.StartTime(second.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for { // until the number has changed: that may come late here, as the first is no process that waits for the second
		if pid, got := s.cutOff(c); pid == second.Process.Pid {
			if got != want {
				t.Errorf("start time %d, want %d", got, want)
			}
			return
		}
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
	script := ""
	for _, file := range join.Tasks {
		script += "echo 0 >" + file + "; "
	}
	if join.Dir != nil {
		script = "echo $$ >" + join.Dir.Name() + "/cgroup.procs; "
	}
	cmd := exec.Command("/bin/busybox", "sh", "-c", script+"echo; exec sleep 1000")
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
	before.journal.Started(cmd.Process.Pid, startTime, time.Now())
	before.journal.SetFlag(journal.Doomed, true)
	if err := group.Freeze(); err != nil {
		t.Fatal(err)
	}

	if err := s.takeUp(ref, given{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
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
	_ = before.journal.Close()
}

// An exec writes, ends and is reaped by somebody else, and by the time there is a supervisor again nobody else knows of it.
// What it has written is in the log, and how it ended is known where the kernel tells (Linux >= 6.17).
func TestTakeUpOfWhatEndedUnseen(t *testing.T) {
	const child = "PIER_TEST_UNSEEN"
	if os.Getenv(child) != "" {
		if err := fdsock.Put(os.NewFile(3, "deposit"), oci.DepositProcess); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("hello\n")
		os.Exit(7)
	}
	s := successor(t)
	ref := shim.TaskRef{ID: "c", Exec: "e"}
	if err := os.MkdirAll(filepath.Join(s.root, "tasks", ref.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	before := s.newTask(record{Task: shim.Task{TaskRef: ref, Cgroup: "/pier-test-" + id.Short(id.New()), Log: shim.Log{Path: log}}})
	keep, put, err := fdsock.NewDeposit()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	if err := errors.Join(before.prepare(), before.openOutput()); err != nil {
		t.Fatal(err)
	}
	before.putOutput(put)
	out, err := pipe.OpenChild(before.path("stdout"), os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestTakeUpOfWhatEndedUnseen$")
	cmd.Env, cmd.Stdout, cmd.ExtraFiles = append(os.Environ(), child+"=1"), out, []*os.File{put}
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Fatal(err)
	}
	*before.journal.PidWord(), *before.journal.RunWord() = int32(cmd.Process.Pid), ^uint64(0)
	put.Close()
	out.Close()
	before.made = false // its folder stays
	before.discard()

	if err := s.takeUp(ref, given{deposit: keep}); err != nil {
		t.Fatal(err)
	}
	<-s.tasks[ref].over
	want := 7
	if kernel, err := probe.Kernel(); err != nil || !kernel.AtLeast(probe.Version{Major: 6, Minor: 17}) {
		want = unknownCode
	}
	if x := s.tasks[ref].view().Exit; x.Code != want || x.Unknown != (want == unknownCode) {
		t.Errorf("it ended with %+v, want %d", x, want)
	}
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), `"hello\n"`) {
		t.Errorf("its log is %q, %v", text, err)
	}
	if err := s.delete(ref); err != nil {
		t.Error(err)
	}
}

// An exec whose first clone the kernel has refused puts a second terminal in its deposit: that one is the process's.
func TestWithdrawOfTheLastTerminal(t *testing.T) {
	keep, put, err := fdsock.NewDeposit()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	defer put.Close()
	var names []string
	for _, name := range []string{"first", "last"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		names = append(names, f.Name())
		if err := fdsock.Put(put, oci.DepositTerminal, f); err != nil {
			t.Fatal(err)
		}
	}
	opened := func() (n [2]int) {
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			to, _ := os.Readlink(link)
			if i := slices.Index(names, to); i >= 0 {
				n[i]++
			}
		}
		return n
	}
	g := given{deposit: keep}
	if err := g.withdraw(); err != nil || g.master == nil {
		t.Fatalf("withdrew %v, %v", g.master, err)
	}
	defer g.close()
	if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(g.master.Fd()))); err != nil || to != names[1] {
		t.Errorf("withdrew %s, %v; want %s", to, err, names[1])
	}
	if n := opened(); n != [2]int{1, 2} {
		t.Errorf("open are %v of the first and the last, want 1 and 2", n)
	}
}

// A supervisor has died over an exec and the next one has made it again: both processes have put themselves in the deposit, and
// the last is the one that lives.
func TestWithdrawOfTheLastProcess(t *testing.T) {
	const child = "PIER_TEST_DEPOSITOR"
	if os.Getenv(child) != "" {
		if err := fdsock.Put(os.NewFile(3, "deposit"), oci.DepositProcess); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("put")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	keep, put, err := fdsock.NewDeposit()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	defer put.Close()
	last := 0
	for range 2 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestWithdrawOfTheLastProcess$")
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), child+"=1"), []*os.File{put}
		in, inErr := cmd.StdinPipe()
		out, outErr := cmd.StdoutPipe()
		if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
		if _, err := io.ReadFull(out, make([]byte, len("put"))); err != nil {
			t.Fatal(err)
		}
		last = cmd.Process.Pid
	}
	g := given{deposit: keep}
	if err := g.withdraw(); err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if kernel, err := probe.Kernel(); err != nil || !kernel.AtLeast(probe.Version{Major: 6, Minor: 5}) {
		t.Skipf("Linux %v does not say who has sent a message", kernel)
	}
	if g.pidfd == nil {
		t.Fatal("withdrew no process")
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(g.pidfd.Fd())))
	if err != nil || !strings.Contains(string(info), fmt.Sprintf("Pid:\t%d\n", last)) {
		t.Errorf("withdrew %s, %v; want process %d", info, err, last)
	}
}
