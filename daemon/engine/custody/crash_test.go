package custody

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/api/shim"
)

// counter is a container that writes numbered lines to both streams, slowly enough to be interrupted often.
const counter = `i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i; echo $i >&2; done; exit 5`

func count(n int) []string { return []string{"sh", "-c", fmt.Sprintf(counter, n)} }

// countOn is count that waits in the middle until there is a file.
func countOn(n int, file string) []string {
	wait := fmt.Sprintf("[ $i != %d ] || until [ -e %s ]; do sleep 0.01; done; echo $i; ", n/2, file)
	return []string{"sh", "-c", strings.Replace(fmt.Sprintf(counter, n), "echo $i; ", wait, 1)}
}

func TestSupervisorKilledWhileWriting(t *testing.T) {
	b := newBench(t)
	const lines = 60000
	ref := shim.TaskRef{ID: "counter"}
	s := b.attach(ref, false)
	b.run("counter", shim.Stdio{}, countOn(lines, "/tmp/twice")...)
	stop := make(chan struct{})
	killed := make(chan int)
	go func() {
		n := 0
		defer func() { killed <- n }()
		for {
			if n == 2 {
				if err := os.WriteFile(filepath.Join(b.rootfs, "tmp", "twice"), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(3+n%7*5) * time.Millisecond):
			}
			old := b.SupervisorPid()
			killHard(t, old)
			n++
			for i := 0; b.SupervisorPid() == old || i == 0; i++ {
				if _, err := b.Tasks(ctx(t)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	out, errs := demux(t, s)
	close(stop)
	n := <-killed
	e := b.exit(ref)
	if e.Code != 5 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	log := readLog(t, b.logPath("counter"))
	for name, text := range map[string]string{"attached stdout": string(out), "attached stderr": string(errs), "logged stdout": log["stdout"], "logged stderr": log["stderr"]} {
		if got := numbered(t, text); got != lines {
			t.Errorf("%s: %d lines, not %d", name, got, lines)
		}
	}
	t.Logf("supervisor killed %d times", n)
	if n < 2 {
		t.Errorf("the supervisor was killed %d times only", n)
	}
}

func TestSupervisorKilledWithTerminalAndStdin(t *testing.T) {
	b := newBench(t)
	ref, tty := shim.TaskRef{ID: "in"}, shim.TaskRef{ID: "tty"}
	in := b.attach(ref, true)
	b.run("in", shim.Stdio{OpenStdin: true, StdinOnce: true}, "cat")
	term := b.attach(tty, true)
	b.run("tty", shim.Stdio{Terminal: true, OpenStdin: true}, "sh", "-c", `stty -echo; echo ready; read a; echo "got $a"; stty size; read b; exit 9`)
	reader := bufio.NewReader(payload{term})
	if line, err := reader.ReadString('\n'); err != nil || line != "ready\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := io.WriteString(in, "one\n"); err != nil {
		t.Fatal(err)
	}
	killHard(t, b.SupervisorPid())
	if _, err := io.WriteString(in, "two\n"); err != nil {
		t.Fatal(err)
	}
	if err := b.Resize(ctx(t), shim.Resize{TaskRef: tty, Width: 77, Height: 33}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(term, "word\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"got word\r\n", "33 77\r\n"} {
		if line, err := reader.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
	}
	if _, err := io.WriteString(term, "\n"); err != nil {
		t.Fatal(err)
	}
	if e := b.exit(tty); e.Code != 9 {
		t.Errorf("exit %+v", e)
	}
	if err := in.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, _ := demux(t, in); string(out) != "one\ntwo\n" {
		t.Errorf("output %q", out)
	}
	if e := b.exit(ref); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
}

// payload strips the frame headers.
type payload struct{ s Stream }

func (p payload) Read(b []byte) (int, error) {
	buf := make([]byte, len(b)+8)
	n, err := p.s.Read(buf)
	if n < 8 {
		return 0, err
	}
	return copy(b, buf[8:n]), err
}

// custodianProcess is what the other tests kill: it takes custody and does nothing until it is killed.
func custodianProcess(root string) {
	c, err := Open(testContext(), Options{Root: root, Binary: os.Getenv("PIER_TEST_BINARY")})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open", c.SupervisorPid())
	select {}
}

// elsewhere takes custody in a process of its own, which can be killed.
func (b *bench) elsewhere() (cmd *exec.Cmd, supervisor int) {
	b.t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PIER_TEST_CUSTODIAN="+b.root, "PIER_TEST_BINARY="+runtimeBinary)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fscanf(out, "open %d\n", &supervisor); err != nil {
		b.t.Fatal("custodian process: ", err)
	}
	return cmd, supervisor
}

func TestPierdKilled(t *testing.T) {
	b := newBench(t)
	ref, second := shim.TaskRef{ID: "counter"}, shim.TaskRef{ID: "ended"}
	const lines = 20000
	b.run("counter", shim.Stdio{}, count(lines)...)
	b.run("ended", shim.Stdio{}, "sh", "-c", "exit 4")
	b.exit(second)
	supervisor := b.SupervisorPid()
	if err := b.Custodian.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		cmd, pid := b.elsewhere()
		if pid != supervisor {
			t.Errorf("another supervisor: %d, not %d", pid, supervisor)
		}
		time.Sleep(10 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	b.open()
	if b.SupervisorPid() != supervisor {
		t.Errorf("another supervisor: %d, not %d", b.SupervisorPid(), supervisor)
	}
	got := map[shim.TaskRef]int{}
	for len(got) < 2 {
		e, _, err := b.exits.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[e.TaskRef]; twice {
			t.Errorf("exit of %v told twice", e.TaskRef)
		}
		got[e.TaskRef] = e.Code
	}
	if got[ref] != 5 || got[second] != 4 {
		t.Errorf("exits %v", got)
	}
	if n := numbered(t, readLog(t, b.logPath("counter"))["stdout"]); n != lines {
		t.Errorf("%d lines", n)
	}
}

// Pierd dies, then the supervisor: tasks are nobody's children, but the next pierd holds their descriptors.
func TestOneAfterTheOther(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "counter"}
	const lines = 40000
	b.run("counter", shim.Stdio{}, count(lines)...)
	if err := b.Custodian.Close(); err != nil {
		t.Fatal(err)
	}
	cmd, _ := b.elsewhere() // its supervisor is our child, not its own: the tasks fall to us when it dies
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b.open()
	for range 3 {
		killHard(t, b.SupervisorPid())
		if _, err := b.Tasks(ctx(t)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.counted(t, ref, lines)
}

// A custodian in another process starts everything, and dies together with its supervisor.
func TestBothKilled(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "counter"}
	const lines = 40000
	if err := b.Shutdown(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if err := b.Custodian.Close(); err != nil {
		t.Fatal(err)
	}
	cmd, supervisor := b.elsewhere()
	b.open() // a second one, to start the task
	b.run("counter", shim.Stdio{}, count(lines)...)
	if err := b.Custodian.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	_ = cmd.Process.Kill()
	killHard(t, supervisor)
	_ = cmd.Wait()
	time.Sleep(20 * time.Millisecond) // nobody is there
	b.open()
	b.counted(t, ref, lines)
}

func TestUpgrade(t *testing.T) {
	b := newBench(t)
	ref := shim.TaskRef{ID: "counter"}
	const lines = 40000
	s := b.attach(ref, false)
	b.run("counter", shim.Stdio{}, count(lines)...)
	pid := b.SupervisorPid()
	for range 5 {
		if err := b.Upgrade(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	if b.SupervisorPid() != pid {
		t.Errorf("pid %d, not %d", b.SupervisorPid(), pid)
	}
	out, errs := demux(t, s)
	if e := b.exit(ref); e.Code != 5 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	log := readLog(t, b.logPath("counter"))
	for name, text := range map[string]string{"attached stdout": string(out), "attached stderr": string(errs), "logged stdout": log["stdout"], "logged stderr": log["stderr"]} {
		if got := numbered(t, text); got != lines {
			t.Errorf("%s: %d lines, not %d", name, got, lines)
		}
	}
}

func TestBinarySafe(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	ref := shim.TaskRef{ID: "c", Exec: "cat"}
	s := b.attach(ref, true)
	b.exec("c", "cat", shim.Stdio{OpenStdin: true, StdinOnce: true}, "cat")
	const size = 64 << 20
	sent, received := sha256.New(), sha256.New()
	go func() {
		defer s.CloseWrite()
		block := make([]byte, 1<<20)
		for range size >> 20 {
			_, _ = rand.Read(block)
			sent.Write(block)
			if _, err := s.Write(block); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	begin := time.Now()
	n, err := io.Copy(received, payload{s})
	if err != nil || n != size || fmt.Sprintf("%x", sent.Sum(nil)) != fmt.Sprintf("%x", received.Sum(nil)) {
		t.Errorf("%d bytes, %v", n, err)
	}
	t.Logf("%d MiB in %v", n>>20, time.Since(begin))
	if e := b.exit(ref); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	// Through a log, bytes that are no UTF-8 become U+FFFD and the rest stays.
	b.run("bin", shim.Stdio{}, "sh", "-c", `printf 'a\377b\000c\n'`)
	b.exit(shim.TaskRef{ID: "bin"})
	if got := readLog(t, b.logPath("bin"))["stdout"]; got != "a\uFFFDb\x00c\n" {
		t.Errorf("log %q", got)
	}
}

func TestLogRotation(t *testing.T) {
	b := newBench(t)
	r := b.request("c", shim.Stdio{}, "seq", "5000")
	r.Log.MaxSize, r.Log.MaxFiles = 50000, 20
	if _, err := b.Start(ctx(t), r, nil, nil); err != nil {
		t.Fatal(err)
	}
	b.exit(shim.TaskRef{ID: "c"})
	var text strings.Builder
	files := 0
	for i := 19; i >= 0; i-- {
		name := r.Log.Path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", r.Log.Path, i)
		}
		if info, err := os.Stat(name); err == nil {
			files++
			if info.Size() > r.Log.MaxSize+1000 {
				t.Errorf("%s: %d bytes", name, info.Size())
			}
			text.WriteString(readLog(t, name)["stdout"])
		}
	}
	if n := numbered(t, text.String()); n != 5000 || files < 5 {
		t.Errorf("%d lines in %d files", n, files)
	}
}

// An exec is over, announced and deleted before the one who has begun it has asked the next supervisor what became of it.
func TestExitOutlivesItsDeletion(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	ref := shim.TaskRef{ID: "c", Exec: "e"}
	late := b.enroll(ref)
	b.exec(ref.ID, ref.Exec, shim.Stdio{}, "sh", "-c", "exit 5")
	if e := b.exit(ref); e.Code != 5 {
		t.Errorf("exit %+v", e)
	}
	known := func() (exit shim.Exit, ok bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		exit, ok = b.ended[ref]
		return exit, ok
	}
	if err := b.Delete(ctx(t), ref); err != nil {
		t.Fatal(err)
	}
	if exit, ok := known(); !ok || exit.Code != 5 {
		t.Errorf("after the deletion: %+v, %v", exit, ok)
	}
	b.strike(late)
	if exit, ok := known(); ok {
		t.Errorf("it is remembered for ever: %+v", exit)
	}
}
