package custody

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"pier/api/shim"
)

// procStatus returns a figure of /proc/PID/status.
func procStatus(t *testing.T, pid int, key string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var n int
			fmt.Sscan(rest, &n)
			return n
		}
	}
	t.Fatalf("no %s of %d", key, pid)
	return 0
}

func pss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	var n int
	fmt.Sscan(rest, &n)
	return n
}

func fds(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// eventually waits until got is at most want.
func eventually(t *testing.T, what string, want int, got func() int) {
	t.Helper()
	n := got()
	for end := time.Now().Add(time.Minute); n > want && time.Now().Before(end); n = got() {
		time.Sleep(20 * time.Millisecond)
	}
	if n > want {
		t.Errorf("%s: %d, not %d", what, n, want)
	}
}

func TestAttachAndCancelLeavesNothing(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "c"}
	b.run("c", shim.Stdio{OpenStdin: true}, "sleep", "1000")
	cycle := func(n int) {
		for i := range n {
			r := ref
			if i%4 == 3 {
				r.ID = "never" // attached to a task that never begins
			}
			s := b.attachOnce(r)
			if i%2 == 0 && r == ref {
				if _, err := s.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycle(20)
	pid := b.SupervisorPid()
	time.Sleep(50 * time.Millisecond)
	files, ours, goroutines, threads := fds(t, pid), fds(t, os.Getpid()), runtime.NumGoroutine(), procStatus(t, pid, "Threads")
	cycle(1000)
	eventually(t, "descriptors of the supervisor", files, func() int { return fds(t, pid) })
	eventually(t, "our descriptors", ours, func() int { return fds(t, os.Getpid()) })
	eventually(t, "goroutines", goroutines, runtime.NumGoroutine)
	// How many threads there are at once is up to the scheduler; one that each of them left would be a thousand.
	eventually(t, "threads of the supervisor", threads+20, func() int { return procStatus(t, pid, "Threads") })
}

func (b *bench) attachOnce(ref shim.TaskRef) Stream {
	b.t.Helper()
	s, err := b.Attach(ctx(b.t), shim.Attach{TaskRef: ref, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestRunAndExecLeaveNothing(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	cycle := func(n int) {
		for i := range n {
			name := fmt.Sprintf("r%d", i)
			b.run(name, shim.Stdio{}, "true")
			b.exit(shim.TaskRef{ID: name})
			if err := b.Delete(ctx(t), shim.TaskRef{ID: name}); err != nil {
				t.Fatal(err)
			}
			b.exec("c", name, shim.Stdio{}, "true")
			b.exit(shim.TaskRef{ID: "c", Exec: name})
		}
	}
	cycle(5)
	time.Sleep(2*forget + 100*time.Millisecond)
	pid := b.SupervisorPid()
	files, ours, goroutines := fds(t, pid), fds(t, os.Getpid()), runtime.NumGoroutine()
	cycle(50)
	// Connections are kept for the next requests, and so are the supervisor's tools for output, a pipe each: how many of them
	// there are depends on how many were at work at once. 50 runs and 50 execs would leave 50 of anything.
	const tools = 4 * 2
	eventually(t, "descriptors of the supervisor", files+idleConns+tools, func() int { return fds(t, pid) })
	eventually(t, "our descriptors", ours+idleConns, func() int { return fds(t, os.Getpid()) })
	eventually(t, "goroutines", goroutines, runtime.NumGoroutine)
	eventually(t, "tasks", 1, func() int {
		tasks, err := b.Tasks(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	})
}

func TestIdleContainersAreSmall(t *testing.T) {
	b := newBench(t)
	for i := range 10 {
		b.run(fmt.Sprintf("warm%d", i), shim.Stdio{}, "sleep", "1000")
	}
	pid := b.SupervisorPid()
	time.Sleep(6 * time.Second) // what requests leave behind is collected five seconds after the last one
	before := pss(t, pid)
	const n = 100
	begin := time.Now()
	for i := range n {
		b.run(fmt.Sprintf("c%d", i), shim.Stdio{OpenStdin: true}, "sleep", "1000")
	}
	took := time.Since(begin)
	after := pss(t, pid)
	for end := time.Now().Add(30 * time.Second); (after-before)/n > 40 && time.Now().Before(end); after = pss(t, pid) {
		time.Sleep(200 * time.Millisecond)
	}
	threads := procStatus(t, pid, "Threads")
	t.Logf("%d starts, %v each; PSS %d KiB, then %d KiB: %d KiB a container; %d threads", n, took/n, before, after, (after-before)/n, threads)
	if (after-before)/n > 40 {
		t.Errorf("%d KiB a container", (after-before)/n)
	}
	if threads > 30 { // 8 as a rule; on a busy machine a few more are in the kernel at once, and stay
		t.Errorf("%d threads", threads)
	}
}

func TestSlowStreams(t *testing.T) {
	b := newBench(t)
	// A stream attached before the start is waited for, like the reader of a pipe, and loses nothing.
	ref := shim.TaskRef{ID: "c"}
	s := b.attach(ref, false)
	b.run("c", shim.Stdio{}, "seq", "300000")
	time.Sleep(200 * time.Millisecond)
	if tasks, err := b.Tasks(ctx(t)); err != nil || tasks[0].Exit != nil {
		t.Errorf("the task did not wait: %v, %v", tasks, err)
	}
	out, _ := demux(t, s)
	if n := numbered(t, string(out)); n != 300000 {
		t.Errorf("%d lines", n)
	}
	// The end of a task does not wait for it.
	ref.ID = "d"
	s = b.attach(ref, false)
	b.run("d", shim.Stdio{}, "seq", "300000")
	time.Sleep(100 * time.Millisecond)
	if err := b.Signal(ctx(t), shim.Signal{TaskRef: ref, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	if e := b.exit(ref); e.Code != 137 {
		t.Errorf("exit %+v", e)
	}
	out, _ = demux(t, s)
	if got := readLog(t, b.logPath("d"))["stdout"]; got != string(out) {
		t.Errorf("attached %d bytes, logged %d", len(out), len(got))
	}
}
