package pidfd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// start runs a shell script as a child that nobody has waited for when the test ends.
func start(t *testing.T, script string) (*os.File, int) {
	t.Helper()
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := StartTime(p.Pid)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(p.Pid, begun)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = Signal(f, 9)
		_ = Wait(context.Background(), f)
		_, _ = Reap(f)
		_ = p.Release()
		f.Close()
	})
	return f, p.Pid
}

func TestExitStatus(t *testing.T) {
	for script, want := range map[string]Status{"exit 7": {Code: 7}, "kill -9 $$": {Code: 137, Signaled: true}, "true": {}} {
		f, _ := start(t, script)
		if err := Wait(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if _, err := ExitInfo(f); !errkind.Is(err, errkind.NotFound) && !errkind.Is(err, errkind.Unsupported) {
			t.Errorf("%s: ExitInfo before Reap: %v", script, err)
		}
		if got, err := Reap(f); err != nil || got != want {
			t.Errorf("%s: Reap = %+v, %v; want %+v", script, got, err, want)
		}
		if _, err := Reap(f); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("%s: second Reap: %v", script, err)
		}
		if got, err := ExitInfo(f); !errkind.Is(err, errkind.Unsupported) && (err != nil || got != want) {
			t.Errorf("%s: ExitInfo = %+v, %v; want %+v", script, got, err, want)
		}
		if err := Signal(f, 0); !errkind.Is(err, errkind.NotFound) {
			t.Errorf("%s: Signal after Reap: %v", script, err)
		}
	}
}

func TestWait(t *testing.T) {
	f, pid := start(t, "exec sleep 100")
	if _, err := Reap(f); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("Reap of a living process: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := Wait(ctx, f); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	results := make(chan error)
	for range 5 {
		go func() { results <- Wait(t.Context(), f) }()
	}
	time.Sleep(5 * time.Millisecond)
	if err := Signal(f, int(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got, err := Reap(f); err != nil || got != (Status{Code: 143, Signaled: true}) {
		t.Errorf("Reap = %+v, %v", got, err)
	}
	if _, err := Open(pid, 0); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("Open of a process that is gone: %v", err)
	}
}

// TestTake has a tracer hold a child beyond its end. The test runs itself again to have one.
func TestTake(t *testing.T) {
	const tracee = "PIER_TEST_TRACEE"
	if pid, err := strconv.Atoi(os.Getenv(tracee)); err == nil {
		runtime.LockOSThread()
		if err := unix.PtraceSeize(pid); err != nil {
			t.Fatal(err)
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // lets go
	}
	f, pid := start(t, "exec sleep 1000")
	tracer := exec.Command("/proc/self/exe", "-test.run=^TestTake$")
	tracer.Env = append(os.Environ(), tracee+"="+strconv.Itoa(pid))
	in, err := tracer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := tracer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the tracer says %q, %v", line, err)
	}
	if err := Signal(f, 9); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if _, err := Reap(f); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("Reap of what a tracer holds: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Take(ctx, f); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Take of what a tracer holds: %v", err)
	}
	go func() {
		time.Sleep(5 * time.Millisecond)
		in.Close()
	}()
	if got, err := Take(t.Context(), f); err != nil || got != (Status{Code: 137, Signaled: true}) {
		t.Errorf("Take = %+v, %v", got, err)
	}
	if err := tracer.Wait(); err != nil {
		t.Error(err)
	}
}

func TestOpenKnowsReusedNumbers(t *testing.T) {
	begun, err := StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(os.Getpid(), begun+1); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("another start time: %v", err)
	}
	if _, err := Open(1<<30, 0); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("no such process: %v", err)
	}
	if _, err := StartTime(1 << 30); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("StartTime of no process: %v", err)
	}
}

// TestSubreaper runs itself again, so that the attribute does not stay with the test binary.
func TestSubreaper(t *testing.T) {
	const child = "PIER_TEST_SUBREAPER"
	if os.Getenv(child) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSubreaper$")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := SetSubreaper(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// The shell's background child becomes ours when the shell ends.
	cmd := exec.Command("/bin/sh", "-c", "sh -c 'read x <&3; exit 9' & echo $!")
	cmd.ExtraFiles = []*os.File{r}
	cmd.Stdout = nil
	pids, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 32)
	n, err := pids.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	for _, c := range buf[:n-1] {
		pid = pid*10 + int(c-'0')
	}
	f, err := Open(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := Wait(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if got, err := Reap(f); err != nil || got.Code != 9 {
		t.Fatalf("Reap of the orphan = %+v, %v", got, err)
	}
}

// TestNow brackets the start of a process.
func TestNow(t *testing.T) {
	before, err := Now()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/busybox", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	began, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := Now(); err != nil || began < before || began > after {
		t.Errorf("a process began at %d, between %d and %d, %v", began, before, after, err)
	}
}

func TestCondition(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "kill -STOP $$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	until := func(want byte, exiting bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); Condition(pid) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it is in condition %c, want %c", Condition(pid), want)
			}
		}
		if got := Exiting(pid); got != exiting {
			t.Errorf("in condition %c, exiting is %v", want, got)
		}
	}
	until('T', false)
	_ = cmd.Process.Signal(unix.SIGCONT)
	until('Z', true)
	const free = 1<<22 + 1 // no process has such a number
	if c := Condition(free); c != 'X' || !Exiting(free) {
		t.Errorf("nobody is in condition %c, exiting is %v", c, Exiting(free))
	}
}
