package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/cgroup"
	"pier/kernel/tty"
)

// The test program is the runtime too: every command is a process of its own, as engines run it.
const asRuntime = "PIER_TEST_RUNTIME"

func TestMain(m *testing.M) {
	if os.Getenv(asRuntime) != "" {
		os.Exit(Main(context.Background(), "test", os.Args[1:]))
	}
	code := m.Run()
	if parent, err := cgroup.Open(testParent()); err == nil {
		if err := parent.Delete(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func testParent() string { return "/pier-test-command-" + strconv.Itoa(os.Getpid()) }

type bench struct {
	*testing.T
	root, bundle string
	spec         *specs.Spec
}

// newBench makes a bundle of busybox, and a state folder.
func newBench(t *testing.T, args ...string) *bench {
	t.Helper()
	b := &bench{T: t, root: t.TempDir(), bundle: t.TempDir(), spec: exampleSpec()}
	for _, dir := range []string{"bin", "proc", "sys", "dev"} {
		b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs", dir), 0o755))
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal("these tests need a static busybox (Debian's busybox-static): ", err)
	}
	b.must(os.WriteFile(filepath.Join(b.bundle, "rootfs/bin/busybox"), box, 0o755))
	for _, name := range []string{"sh", "sleep", "cat", "id", "echo", "tty", "stty", "touch"} {
		b.must(os.Symlink("busybox", filepath.Join(b.bundle, "rootfs/bin", name)))
	}
	b.spec.Process.Args, b.spec.Process.Terminal = args, false
	b.spec.Linux.CgroupsPath = testParent() + "/" + filepath.Base(filepath.Dir(b.root))
	b.write()
	t.Cleanup(func() {
		b.run("delete", "--force", "c")
		if left, _ := os.ReadDir(b.root); len(left) > 0 {
			t.Errorf("state is left: %v", left)
		}
		if _, err := cgroup.Open(b.spec.Linux.CgroupsPath); err == nil {
			t.Errorf("the cgroup is left")
		}
	})
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) write() {
	b.Helper()
	data, err := json.Marshal(b.spec)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.bundle, "config.json"), data, 0o644))
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"--root", b.root}, args...)...)
	cmd.Env = append(os.Environ(), asRuntime+"=1")
	cmd.Dir = b.bundle
	return cmd
}

// run runs one command and returns its status and all its output. A container that stays behind must not hold the
// output, hence the file.
func (b *bench) run(args ...string) (int, string) {
	b.Helper()
	out, err := os.CreateTemp(b.TempDir(), "out")
	b.must(err)
	defer out.Close()
	cmd := b.command(args...)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	b.must(err)
	return cmd.ProcessState.ExitCode(), string(data)
}

func (b *bench) ok(args ...string) string {
	b.Helper()
	code, out := b.run(args...)
	if code != 0 {
		b.Fatalf("%v: status %d: %s", args, code, out)
	}
	return out
}

func (b *bench) refused(words string, args ...string) {
	b.Helper()
	want := 1
	if args[0] == "exec" {
		want = 255
	}
	if code, out := b.run(args...); code != want || !strings.Contains(out, words) {
		b.Errorf("%v: status %d: %s; want %q", args, code, out, words)
	}
}

func (b *bench) status() string {
	b.Helper()
	var s struct{ Status string }
	b.must(json.Unmarshal([]byte(b.ok("state", "c")), &s))
	return s.Status
}

// wrote waits until a file ends with text.
func (b *bench) wrote(path, text string) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if have, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(have), text) {
			return
		} else if time.Now().After(deadline) {
			b.Fatalf("%s holds %q, %v", path, have, err)
		}
	}
}

func TestLifeCycle(t *testing.T) {
	b := newBench(t, "sh", "-c", "echo started > /out; exec sleep 1000")
	b.spec.Root.Readonly = false
	b.write()
	pidFile := filepath.Join(b.root, "..", "pid")
	b.ok("create", "--pid-file", pidFile, "c")
	if s := b.status(); s != "created" {
		t.Errorf("status %s after create", s)
	}
	b.refused("already exists", "create", "c")
	b.ok("start", "c")
	b.refused("cannot start a container in the running state", "start", "c")
	if s := b.status(); s != "running" {
		t.Errorf("status %s after start", s)
	}
	if code, out := b.run("exec", "-u", "33:44", "-e", "A=b", "c", "sh", "-c", "id; echo $A; exit 5"); code != 5 || out != "uid=33 gid=44 groups=44\nb\n" {
		t.Errorf("exec: %d %s", code, out)
	}
	b.refused("executable file not found in $PATH", "exec", "c", "missing")
	b.refused("not a user or group number", "exec", "-u", "-1", "c", "id")
	pid, err := os.ReadFile(pidFile)
	b.must(err)
	if out := b.ok("ps", "--format", "json", "c"); out != "["+string(pid)+"]\n" {
		t.Errorf("ps: %s, the pid file says %s", out, pid)
	}
	if out := b.ok("events", "--stats", "c"); !strings.Contains(out, `"type":"stats"`) {
		t.Errorf("events: %s", out)
	}
	if out := b.ok("list", "-q"); out != "c\n" {
		t.Errorf("list: %s", out)
	}
	b.ok("pause", "c")
	b.refused("cannot exec in a paused container", "exec", "c", "id")
	b.ok("resume", "c")
	b.ok("update", "--memory", "67108864", "c")
	b.refused("not stopped", "delete", "c")
	b.refused("unknown signal", "kill", "c", "NONSENSE")
	b.wrote(filepath.Join(b.bundle, "rootfs/out"), "started\n")
	b.ok("kill", "c", "KILL")
	for b.status() != "stopped" {
		time.Sleep(5 * time.Millisecond)
	}
	b.refused("not running", "kill", "c", "TERM")
	b.ok("delete", "c")
	b.refused("does not exist", "state", "c")
	b.ok("delete", "--force", "c")
	if out, err := os.ReadFile(filepath.Join(b.bundle, "rootfs/out")); string(out) != "started\n" {
		t.Errorf("the container wrote %q (%v)", out, err)
	}
}

func TestRun(t *testing.T) {
	b := newBench(t, "sh", "-c", "cat; exit 9")
	cmd := b.command("run", "c")
	cmd.Stdin = strings.NewReader("through\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	if cmd.ProcessState.ExitCode() != 9 || out.String() != "through\n" {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), &out)
	}
	b.spec.Process.Args = []string{"missing"}
	b.write()
	b.refused("executable file not found in $PATH", "run", "c")
	b.refused("invalid container id", "run", "../c")
	b.refused("--systemd-cgroup is not supported", "--systemd-cgroup", "run", "c")
	log := filepath.Join(b.bundle, "log")
	b.refused("no such file", "--log", log, "--log-format", "json", "run", "-b", "/missing", "c")
	var line struct{ Level, Msg string }
	data, err := os.ReadFile(log)
	b.must(err)
	if err := json.Unmarshal(data, &line); err != nil || line.Level != "error" || line.Msg == "" {
		t.Errorf("log %s: %v", data, err)
	}
}

// TestWorkingFolder: one that is missing is made, also in a mount and below a root that is to be read-only, by a link that
// stays inside.
func TestWorkingFolder(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(t.TempDir(), "outside")
	b.must(os.Symlink(outside, filepath.Join(b.bundle, "rootfs/link")))
	b.must(os.MkdirAll(filepath.Join(b.bundle, "rootfs", outside), 0o700))
	b.spec.Root.Readonly = true
	for cwd, args := range map[string]string{
		"/new/folder": `[ "$(pwd)" = /new/folder ] && [ "$(stat -c '%u %a' .)" = "0 755" ]`, "/dev/shm/a/b": `[ "$(pwd)" = /dev/shm/a/b ]`,
		"/link/in": "pwd -P | grep /outside/in", "/": "true",
	} {
		b.spec.Process.Cwd, b.spec.Process.Args = cwd, []string{"/bin/busybox", "sh", "-c", args}
		b.write()
		b.ok("run", "c")
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a folder was made on the host")
	}
	b.spec.Process.Cwd = "/bin/busybox"
	b.write()
	b.refused("not a directory", "run", "c")
}

// The terminal of create and of exec travels through the console socket.
func TestConsoleSocket(t *testing.T) {
	b := newBench(t, "sh", "-c", "tty; exec sleep 1000")
	b.spec.Process.Terminal = true
	b.write()
	b.refused("--console-socket", "create", "c")
	socket := filepath.Join(b.bundle, "tty.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	b.must(err)
	defer l.Close()
	master := make(chan *os.File, 1)
	go func() {
		defer close(master)
		for range 2 {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if f, err := tty.Receive(conn); err == nil {
				master <- f
			}
			conn.Close()
		}
	}()
	b.ok("create", "--console-socket", socket, "c")
	first := <-master
	defer first.Close()
	b.ok("start", "c")
	b.ok("exec", "--detach", "--tty", "--console-socket", socket, "c", "tty")
	second := <-master
	defer second.Close()
	for i, f := range []*os.File{first, second} {
		line, err := bufio.NewReader(f).ReadString('\n')
		if want := "/dev/pts/" + strconv.Itoa(i) + "\r\n"; line != want {
			t.Errorf("terminal %d says %q (%v)", i, line, err)
		}
	}
}

// A run in the foreground that fails late leaves our terminal as it was.
func TestTerminalAfterFailure(t *testing.T) {
	b := newBench(t, "sleep", "1000")
	b.spec.Process.Terminal = true
	b.write()
	devpts, err := tty.Instance(nil, 0)
	b.must(err)
	defer devpts.Close()
	pair, err := tty.Open(devpts)
	b.must(err)
	defer pair.Close()
	settings := func() string {
		cmd := exec.Command("stty", "-g")
		cmd.Stdin = pair.Slave
		out, err := cmd.Output()
		b.must(err)
		return string(out)
	}
	before := settings()
	cmd := b.command("run", "--pid-file", filepath.Join(b.bundle, "missing/pid"), "c")
	cmd.Stdin = pair.Slave
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "missing") {
		t.Errorf("a run with a pid file in no folder: %v, %s", err, out)
	}
	if after := settings(); after != before {
		t.Errorf("the terminal is %sit was %s", after, before)
	}
}

func TestHooks(t *testing.T) {
	b := newBench(t, "sh", "-c", "echo process >> /log; exec sleep 1000")
	b.spec.Root.Readonly = false
	log := filepath.Join(b.bundle, "rootfs/log")
	hook := func(name, to string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/busybox", Args: []string{"busybox", "sh", "-c", "/bin/busybox cat > /dev/null; echo " + name + " >> " + to}}}
	}
	b.spec.Hooks = &specs.Hooks{
		Prestart: hook("prestart", log), CreateRuntime: hook("createRuntime", log), CreateContainer: hook("createContainer", log),
		StartContainer: hook("startContainer", "/log"), Poststart: hook("poststart", log+".2"), Poststop: hook("poststop", log+".2"),
	}
	b.write()
	b.ok("create", "c")
	b.ok("start", "c")
	b.wrote(log, "process\n")
	b.ok("delete", "--force", "c")
	one, _ := os.ReadFile(log)
	two, _ := os.ReadFile(log + ".2")
	if string(one) != "prestart\ncreateRuntime\ncreateContainer\nstartContainer\nprocess\n" || string(two) != "poststart\npoststop\n" {
		t.Errorf("order %q, %q", one, two)
	}
	// One that reads its input before we have written waits for it.
	b.spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/busybox", Args: []string{"busybox", "sh", "-c",
		"flags=$(/bin/busybox sed -n 's/^flags:[[:space:]]*/0/p' /proc/self/fdinfo/0); [ $((flags & 04000)) = 0 ]"}}}}
	b.write()
	b.ok("create", "c")
	b.ok("start", "c")
	b.ok("delete", "--force", "c")
	// Each is told the state, with the process's number where the hook lives.
	tell := func(to string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/busybox", Args: []string{"busybox", "sh", "-c", "/bin/busybox cat > " + to}}}
	}
	b.spec.Hooks = &specs.Hooks{CreateRuntime: tell(log + ".createRuntime"), CreateContainer: tell(log + ".createContainer"),
		StartContainer: tell("/log.startContainer"), Poststart: tell(log + ".poststart"), Poststop: tell(log + ".poststop")}
	b.write()
	b.ok("create", "c")
	var state specs.State
	b.must(json.Unmarshal([]byte(b.ok("state", "c")), &state))
	b.ok("start", "c")
	b.ok("delete", "--force", "c")
	for kind, want := range map[string]specs.State{
		"createRuntime": {Status: specs.StateCreating, Pid: state.Pid}, "createContainer": {Status: specs.StateCreating, Pid: 1},
		"startContainer": {Status: specs.StateCreated, Pid: 1}, "poststart": {Status: specs.StateRunning, Pid: state.Pid}, "poststop": {Status: specs.StateStopped},
	} {
		text, err := os.ReadFile(log + "." + kind)
		b.must(err)
		var got specs.State
		b.must(json.Unmarshal(text, &got))
		want.Version, want.ID, want.Bundle = specs.Version, "c", b.bundle
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is told %+v, want %+v", kind, got, want)
		}
	}
	b.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"busybox", "sh", "-c", "echo why >&2; exit 3"}}}}
	b.write()
	b.refused("why", "create", "c")
	second := 1
	slow := []specs.Hook{{Path: "/bin/busybox", Args: []string{"busybox", "sleep", "1000"}, Timeout: &second}}
	for _, hooks := range []specs.Hooks{{CreateRuntime: slow}, {CreateContainer: slow}} {
		b.spec.Hooks = &hooks
		b.write()
		b.refused("ran past its timeout of 1 s", "create", "c")
	}
}

func TestDocuments(t *testing.T) {
	b := newBench(t)
	var f map[string]any
	b.must(json.Unmarshal([]byte(b.ok("features")), &f))
	if f["ociVersionMax"] != specs.Version {
		t.Errorf("features: %v", f)
	}
	b.refused("exists", "spec")
	b.must(os.Remove(filepath.Join(b.bundle, "config.json")))
	b.ok("spec")
	b.refused("--console-socket", "run", "-d", "c")
	b.must(os.WriteFile(filepath.Join(b.bundle, "config.json"), []byte("{"), 0o644))
	b.refused("config.json is not what it should be", "run", "c")
	b.must(os.Truncate(filepath.Join(b.bundle, "config.json"), maxDocument+1))
	b.refused("is larger than", "run", "c")
}
