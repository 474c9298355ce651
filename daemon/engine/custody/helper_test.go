package custody

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/runtimetest"
	"pier/kernel/cgroup"
	"pier/kernel/pidfd"
	"pier/lib/feed"
	"pier/lib/id"
)

var runtimeBinary string // pier-runtime, built once

func TestMain(m *testing.M) {
	if root := os.Getenv("PIER_TEST_CUSTODIAN"); root != "" {
		custodianProcess(root)
		return
	}
	os.Exit(runtimetest.Main(m, &runtimeBinary))
}

// bench is a custodian with a root folder of its own.
type bench struct {
	*Custodian
	t      testing.TB
	root   string
	group  string
	rootfs string
	exits  *feed.Reader[shim.Exit]
}

func newBench(t testing.TB) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("containers need root")
	}
	dir := t.TempDir()
	b := &bench{t: t, root: filepath.Join(dir, "run"), group: "/pier-test-" + id.Short(id.New()), rootfs: filepath.Join(dir, "rootfs")}
	for _, d := range []string{"bin", "proc", "dev", "tmp", "sys"} {
		if err := os.MkdirAll(filepath.Join(b.rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal("busybox-static is needed: ", err)
	}
	if err := os.WriteFile(filepath.Join(b.rootfs, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "sleep", "true", "seq", "stty", "id", "sha256sum", "yes", "head", "tr", "test"} {
		if err := os.Symlink("busybox", filepath.Join(b.rootfs, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	t.Cleanup(b.end)
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.Custodian, err = Open(ctx(b.t), Options{Root: b.root, Binary: runtimeBinary, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil))}); err != nil {
		b.t.Fatal(err)
	}
	b.exits = b.Exits()
}

// end kills what runs, ends the supervisor and looks for leftovers.
func (b *bench) end() {
	t := b.t
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tasks, err := b.Tasks(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, task := range tasks {
		if task.Exec == "" && task.Exit == nil {
			if err := b.Signal(ctx, shim.Signal{TaskRef: task.TaskRef, Signal: 9, All: true}); err != nil {
				t.Error(err)
			}
		}
	}
	for _, task := range tasks {
		if task.Exec != "" {
			continue
		}
		for {
			if err := b.Delete(ctx, task.TaskRef); err == nil {
				break
			} else if ctx.Err() != nil {
				t.Fatalf("delete %s: %v", task.ID, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	pid := b.SupervisorPid()
	began, err := pidfd.StartTime(pid)
	if err != nil {
		t.Error(err)
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Error("shutdown: ", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(b.root, "tasks")); len(left) > 0 {
		t.Errorf("tasks left: %v", left)
	}
	for { // it was ours from an earlier Open, perhaps, and is reaped there
		if now, err := pidfd.StartTime(pid); err != nil || now != began { // another process may have got its number
			break
		}
		if ctx.Err() != nil {
			t.Errorf("supervisor %d is still there", pid)
			break
		}
		time.Sleep(time.Millisecond)
	}
	if g, err := cgroup.Open(b.group); err == nil {
		if err := g.Delete(); err != nil {
			t.Errorf("cgroups left below %s: %v", b.group, err)
		}
	}
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(b.root, "supervisor.log"))
		t.Logf("supervisor.log:\n%s", log)
	}
}

func ctx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) spec(name string, args ...string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: b.rootfs},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: b.group + "/" + name,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
		},
	}
}

func (b *bench) logPath(name string) string { return filepath.Join(b.root, name+"-json.log") }

func (b *bench) request(name string, stdio shim.Stdio, args ...string) *shim.Start {
	return &shim.Start{ID: name, Spec: b.spec(name, args...), Launch: shim.Launch{Stdio: stdio}, Log: shim.Log{Path: b.logPath(name)}}
}

func (b *bench) run(name string, stdio shim.Stdio, args ...string) *shim.Task {
	b.t.Helper()
	task, err := b.Start(ctx(b.t), b.request(name, stdio, args...), nil, nil)
	if err != nil {
		b.t.Fatalf("start %s: %v", name, err)
	}
	return task
}

func (b *bench) exec(name, execName string, stdio shim.Stdio, args ...string) *shim.Task {
	b.t.Helper()
	task, _, err := b.Exec(ctx(b.t), b.execRequest(name, execName, stdio, args...), nil)
	if err != nil {
		b.t.Fatalf("exec in %s: %v", name, err)
	}
	return task
}

// execJoined is exec with its stream, which needs no more than that.
func (b *bench) execJoined(name, execName string, stdio shim.Stdio, args ...string) Stream {
	b.t.Helper()
	join := &shim.Attach{TaskRef: shim.TaskRef{ID: name, Exec: execName}, Stdin: stdio.OpenStdin, Stdout: true, Stderr: true}
	_, s, err := b.Exec(ctx(b.t), b.execRequest(name, execName, stdio, args...), join)
	if err != nil {
		b.t.Fatalf("exec in %s: %v", name, err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

func (b *bench) execRequest(name, execName string, stdio shim.Stdio, args ...string) *shim.Exec {
	process := &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}
	return &shim.Exec{TaskRef: shim.TaskRef{ID: name, Exec: execName}, Process: process, Launch: shim.Launch{Stdio: stdio}}
}

func (b *bench) attach(ref shim.TaskRef, stdin bool) Stream {
	b.t.Helper()
	s, err := b.Attach(ctx(b.t), shim.Attach{TaskRef: ref, Stdin: stdin, Stdout: true, Stderr: true})
	if err != nil {
		b.t.Fatalf("attach to %s: %v", ref.ID, err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

// exit waits for the next exit of ref.
func (b *bench) exit(ref shim.TaskRef) shim.Exit {
	b.t.Helper()
	ctx := ctx(b.t)
	for {
		e, _, err := b.exits.Next(ctx)
		if err != nil {
			b.t.Fatalf("exit of %v: %v", ref, err)
		}
		if e.TaskRef == ref {
			return e
		}
	}
}

// demux reads a stream to its end.
func demux(t *testing.T, s io.Reader) (stdout, stderr []byte) {
	t.Helper()
	var out [3]bytes.Buffer
	buf := make([]byte, 32<<10)
	for {
		n, err := s.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			size := int(p[4])<<24 | int(p[5])<<16 | int(p[6])<<8 | int(p[7])
			out[p[0]].Write(p[8 : 8+size])
			p = p[8+size:]
		}
		if err == io.EOF {
			return out[1].Bytes(), out[2].Bytes()
		}
		if err != nil {
			t.Errorf("read stream: %v", err)
			return out[1].Bytes(), out[2].Bytes()
		}
	}
}

// readLog returns a log's text by stream.
func readLog(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for i, line := range strings.SplitAfter(string(text), "\n") {
		if line == "" {
			continue
		}
		var e struct {
			Log, Stream string
			Time        time.Time
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time.IsZero() || e.Stream == "" {
			t.Fatalf("line %d of %s is damaged: %q: %v", i+1, path, line, err)
		}
		out[e.Stream] += e.Log
	}
	return out
}

// numbered checks that text is "1\n2\n..." and returns the last number.
func numbered(t *testing.T, text string) int {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d of %d is %q", i+1, len(lines), line)
		}
	}
	return len(lines)
}

// counted wants the task counter to have ended by itself, and all its lines to be in its log.
func (b *bench) counted(t *testing.T, ref shim.TaskRef, lines int) {
	t.Helper()
	if e := b.exit(ref); e.Code != 5 || e.Unknown {
		t.Errorf("exit %+v", e)
	}
	log := readLog(t, b.logPath(ref.ID))
	if a, b := numbered(t, log["stdout"]), numbered(t, log["stderr"]); a != lines || b != lines {
		t.Errorf("%d and %d lines", a, b)
	}
}

// killHard ends a process and waits until it is gone.
func killHard(t *testing.T, pid int) {
	t.Helper()
	f, err := pidfd.Open(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pidfd.Signal(f, 9); err != nil {
		t.Fatal(err)
	}
	if err := pidfd.Wait(ctx(t), f); err != nil {
		t.Fatal(err)
	}
}

func testContext() context.Context { return context.Background() }
