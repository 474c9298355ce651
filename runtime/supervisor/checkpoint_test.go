package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/fdsock"
	"pier/kernel/link"
	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/criu/criutest"
)

// The test program is a supervisor of this root folder, if it is set.
const asSupervisor = "PIER_TEST_SUPERVISOR"

func TestMain(m *testing.M) {
	if root := os.Getenv(asSupervisor); root != "" {
		err := spawn.HideMemory()
		if err == nil {
			err = Run(context.Background(), Config{Root: root})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host is a supervisor in a process of its own, and a root file system.
type host struct {
	*testing.T
	root, rootfs, group string
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{t, filepath.Join(dir, "run"), filepath.Join(dir, "rootfs"), "/pier-test-checkpoint-" + strconv.Itoa(os.Getpid())}
	for _, d := range []string{"bin", "proc", "dev", "tmp", "sys", "data"} {
		h.must(os.MkdirAll(filepath.Join(h.rootfs, d), 0o755))
	}
	box, err := os.ReadFile("/bin/busybox")
	h.must(err)
	h.must(os.WriteFile(filepath.Join(h.rootfs, "bin/busybox"), box, 0o755))
	for _, name := range []string{"sh", "cat", "sleep", "stty", "echo", "usleep", "grep"} {
		h.must(os.Symlink("busybox", filepath.Join(h.rootfs, "bin", name)))
	}
	out, err := os.Create(filepath.Join(dir, "supervisor.log"))
	h.must(err)
	defer out.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asSupervisor+"="+h.root)
	cmd.Stdout, cmd.Stderr = out, out
	h.must(cmd.Start())
	t.Cleanup(func() {
		_, err := h.ask(&shim.Request{Kind: shim.KindShutdown})
		if err != nil {
			t.Error(err)
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
		if g, err := cgroup.Open(h.group); err == nil {
			if err := g.Delete(); err != nil {
				t.Error(err)
			}
		}
		if left, _ := os.ReadDir(filepath.Join(h.root, "tasks")); len(left) > 0 {
			t.Errorf("tasks are left: %v", left)
		}
		if t.Failed() {
			text, _ := os.ReadFile(out.Name())
			t.Logf("%s", text)
			text, _ = os.ReadFile(filepath.Join(h.root, "restore.log"))
			t.Logf("%s", text[max(0, len(text)-4096):])
		}
	})
	h.until(func() bool { _, err := h.ask(&shim.Request{Kind: shim.KindHello}); return err == nil }, "the supervisor does not answer")
	return h
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) until(done func() bool, otherwise string) {
	h.Helper()
	for end := time.Now().Add(3 * time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatal(otherwise)
		}
	}
}

// ask sends one request with files, and closes what descriptors the answer brings but the terminal's, which is last then.
func (h *host) ask(r *shim.Request, files ...*os.File) (*shim.Response, error) {
	c, err := net.Dial("unix", filepath.Join(h.root, "supervisor.sock"))
	if err != nil {
		return nil, err
	}
	conn := fdsock.NewConn(c.(*net.UnixConn))
	defer conn.Close()
	text, err := json.Marshal(r)
	h.must(err)
	if err := conn.Send(text, files...); err != nil {
		return nil, err
	}
	text, got, err := conn.Receive(shim.MaxFrame)
	for _, f := range got {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	answer := &shim.Response{}
	h.must(json.Unmarshal(text, answer))
	if answer.Error != nil {
		return nil, answer.Error
	}
	return answer, nil
}

func (h *host) start(id string, tty bool, args ...string) *shim.Start {
	return &shim.Start{ID: id, Launch: shim.Launch{Stdio: shim.Stdio{Terminal: tty}}, Log: shim.Log{Path: h.log(id)}, Spec: &specs.Spec{
		Version: specs.Version, Root: &specs.Root{Path: h.rootfs},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{CgroupsPath: h.group + "/" + id, MaskedPaths: []string{"/proc/keys", "/proc/acpi"}, ReadonlyPaths: []string{"/proc/sys"},
			Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.CgroupNamespace}}},
	}}
}

func (h *host) log(id string) string { return filepath.Join(h.root, id+".log") }

// output is what a container has written to its log.
func (h *host) output(id string) string {
	text, err := os.ReadFile(h.log(id))
	if os.IsNotExist(err) {
		return ""
	}
	h.must(err)
	var all strings.Builder
	for line := range strings.Lines(string(text)) {
		var entry struct{ Log string }
		if json.Unmarshal([]byte(line), &entry) == nil {
			all.WriteString(entry.Log)
		}
	}
	return all.String()
}

func (h *host) begin(s *shim.Start, files ...*os.File) *shim.Task {
	h.Helper()
	r, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: s}, files...)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { h.end(s.ID) })
	return &r.Started.Task
}

func (h *host) end(id string) {
	h.Helper()
	_, _ = h.ask(&shim.Request{Kind: shim.KindSignal, Signal: &shim.Signal{TaskRef: shim.TaskRef{ID: id}, Signal: 9, All: true}})
	h.until(func() bool {
		_, err := h.ask(&shim.Request{Kind: shim.KindDelete, Delete: &shim.TaskRef{ID: id}})
		return err == nil || errkind.Is(err, errkind.NotFound)
	}, "task "+id+" does not end")
}

func (h *host) dump(id string) (*os.File, error) {
	h.Helper()
	images, err := os.Open(h.TempDir())
	h.must(err)
	h.Cleanup(func() { images.Close() })
	_, err = h.ask(&shim.Request{Kind: shim.KindDump, Dump: &shim.Dump{ID: id}}, images)
	return images, err
}

// netns makes a network namespace in which somebody listens, and takes whoever comes.
func (h *host) netns() (ns *os.File, port string) {
	h.Helper()
	type made struct {
		ns *os.File
		l  net.Listener
	}
	result := make(chan made)
	go func() {
		defer close(result)
		if err := link.Isolate(); err != nil {
			return
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return
		}
		if l, err := net.Listen("tcp4", "127.0.0.1:0"); err == nil {
			result <- made{ns, l}
		}
	}()
	m := <-result
	if m.l == nil {
		h.Fatal("no network namespace")
	}
	go func() {
		for {
			c, err := m.l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	h.Cleanup(func() { m.l.Close(); m.ns.Close() })
	return m.ns, strconv.Itoa(m.l.Addr().(*net.TCPAddr).Port)
}

// Without a criu that works all is refused, and the container goes on. The other tests of checkpoints have nothing to look at then,
// which the skip of this one shows.
func TestCheckpointWithoutCRIU(t *testing.T) {
	lacking := criutest.Lacking()
	if lacking == nil {
		return
	}
	h := newHost(t)
	h.begin(h.start("refused", false, "sh", "-c", "while :; do echo on; usleep 20000; done"))
	if _, err := h.dump("refused"); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), "criu") {
		t.Errorf("dump without criu: %v", err)
	}
	seen := strings.Count(h.output("refused"), "\n")
	h.until(func() bool { return strings.Count(h.output("refused"), "\n") > seen }, "the container does not go on")
	images, err := os.Open(t.TempDir())
	h.must(err)
	defer images.Close()
	h.must(os.WriteFile(filepath.Join(images.Name(), "pier-runtime.json"), []byte(`{"version":1}`), 0o600))
	again := h.start("again", false, "sleep", "1000")
	again.Restore = &shim.Restore{}
	if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: again}, images); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("restore without criu: %v", err)
	}
	t.Skipf("no criu here that works (%v): checkpoints were not looked at, but for what is refused", lacking)
}

// counter counts in memory, and tells each number on its output, in a file in a tmpfs that it holds open, and to its child
// through a pipe; the child writes what it gets to a file of the root.
const counter = `exec 5>/tmp/own; (while :; do echo child; sleep 1; done) | cat >/dev/null &
i=0; while :; do i=$((i+1)); echo $i; echo $i >&5; usleep 20000; done`

// One checkpoint, made of a container that runs on, becomes two others; what each counts goes on from where it stood.
func TestCheckpoint(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	h := newHost(t)
	some := []string{"CAP_CHOWN", "CAP_KILL"}
	counting := func(id string) *shim.Start {
		s := h.start(id, false, "sh", "-c", counter)
		s.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: some, Effective: some, Permitted: some}
		s.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActErrno}}}
		return s
	}
	first := h.begin(counting("one"))
	h.until(func() bool { return strings.Count(h.output("one"), "\n") > 5 }, "nothing is counted")
	beside := &shim.Exec{TaskRef: shim.TaskRef{ID: "one", Exec: "beside"}, Process: &specs.Process{Args: []string{"sleep", "4321"}, Cwd: "/", Env: []string{"PATH=/bin"}}}
	if _, err := h.ask(&shim.Request{Kind: shim.KindExec, Exec: beside}); err != nil {
		t.Fatal(err)
	}
	images, err := h.dump("one")
	if err != nil {
		t.Fatal(err)
	}
	seen := strings.Count(h.output("one"), "\n")
	h.until(func() bool { return strings.Count(h.output("one"), "\n") > seen+5 }, "the container does not go on after its dump")
	for _, id := range []string{"two", "three", "four"} {
		if id == "four" { // what was restored is saved again
			if images, err = h.dump("three"); err != nil {
				t.Fatal(err)
			}
			seen = strings.Count(h.output("three"), "\n") + seen
		}
		s := counting(id)
		s.Restore, s.Spec.Process.Args = &shim.Restore{}, []string{"no program is looked at"}
		task := h.begin(s, images)
		if task.Pid == 0 || task.Pid == first.Pid || task.StartTime == 0 {
			t.Errorf("restored as %+v", task)
		}
		h.until(func() bool { return strings.Count(h.output(id), "\n") > 10 }, "nothing is counted after the restore")
		lines := strings.Fields(h.output(id))
		for i, line := range lines[1:] {
			before, _ := strconv.Atoi(lines[i])
			if n, err := strconv.Atoi(line); err != nil || n != before+1 {
				t.Errorf("%s: after %s comes %s", id, lines[i], line)
			}
		}
		if n, _ := strconv.Atoi(lines[0]); n < 3 || n > seen+1 {
			t.Errorf("%s: counts from %s; the first had told %d", id, lines[0], seen)
		}
		h.like(first.Pid, task.Pid)
		exec := &shim.Exec{TaskRef: shim.TaskRef{ID: id, Exec: "e"}, Process: &specs.Process{Args: []string{"sh", "-c", `cat /tmp/own >/data/own.` + id + `; cat /proc/[0-9]*/cmdline >/data/who.` + id + `; cat /proc/self/cgroup >/data/groups.` + id}, Cwd: "/", Env: []string{"PATH=/bin"}}}
		if _, err := h.ask(&shim.Request{Kind: shim.KindExec, Exec: exec}); err != nil {
			t.Fatal(err)
		}
		h.until(func() bool {
			own, _ := os.ReadFile(filepath.Join(h.rootfs, "data/own."+id))
			return strings.HasPrefix(string(own), "1\n2\n3\n")
		}, "the tmpfs is not back")
		h.until(func() bool {
			text, _ := os.ReadFile(filepath.Join(h.rootfs, "data/groups."+id))
			return strings.HasSuffix(string(text), ":/\n")
		}, "the cgroup namespace has another root")
		if who, err := os.ReadFile(filepath.Join(h.rootfs, "data/who."+id)); err != nil || bytes.Contains(who, []byte("4321")) || !bytes.Contains(who, []byte("echo child")) {
			t.Errorf("%s: who is in it: %q, %v", id, who, err) // an exec was not saved
		}
		if on, err := mount.Mounted(filepath.Join(h.root, "tasks", id, "criu/root")); on || err != nil {
			t.Errorf("the root is still shown to criu: %v, %v", on, err)
		}
		if id == "three" {
			continue
		}
		// Its end is told as that of any other.
		_, err := h.ask(&shim.Request{Kind: shim.KindSignal, Signal: &shim.Signal{TaskRef: task.TaskRef, Signal: 9}})
		h.must(err)
		h.until(func() bool { return h.task(id).Exit != nil }, "it does not end")
		if e := h.task(id).Exit; e.Code != 137 || e.Unknown {
			t.Errorf("its end: %+v", e)
		}
	}
}

// A user who is not root stays who he is. To save his processes criu needs a right that not every root has.
func TestCheckpointOfUser(t *testing.T) {
	h := newHost(t)
	status, err := os.ReadFile("/proc/self/status")
	h.must(err)
	_, caps, _ := strings.Cut(string(status), "CapEff:")
	mask, err := strconv.ParseUint(strings.Fields(caps)[0], 16, 64)
	h.must(err)
	const sysResource = 24
	if mask&(1<<sysResource) == 0 || criutest.Lacking() != nil {
		return
	}
	make := func(id string) *shim.Start {
		s := h.start(id, false, "sh", "-c", "while :; do echo on; usleep 20000; done")
		s.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
		return s
	}
	one := h.begin(make("one"))
	h.until(func() bool { return h.output("one") != "" }, "no output")
	images, err := h.dump("one")
	if err != nil {
		t.Fatal(err)
	}
	two := make("two")
	two.Restore = &shim.Restore{}
	other := h.begin(two, images)
	h.until(func() bool { return h.output("two") != "" }, "no output")
	h.like(one.Pid, other.Pid)
	three := make("three")
	three.Restore, three.Spec.Process.User.UID = &shim.Restore{}, 1001
	if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: three}, images); !errkind.Is(err, errkind.Forbidden) {
		t.Errorf("restore as another user: %v", err)
	}
}

// A checkpoint gets nobody more than his configuration gives: it is refused before a process of it runs.
func TestCheckpointForbidden(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	h := newHost(t)
	free := h.start("free", false, "sh", "-c", "while :; do echo ran; usleep 20000; done")
	some := []string{"CAP_CHOWN", "CAP_NET_RAW"}
	free.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: some}
	free.Spec.Process.NoNewPrivileges = false
	free.Spec.Linux.MaskedPaths, free.Spec.Linux.ReadonlyPaths = nil, nil
	free.Spec.Mounts = append(free.Spec.Mounts, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"})
	h.begin(free)
	h.until(func() bool { return h.output("free") != "" }, "it does not run")
	images, err := h.dump("free")
	if err != nil {
		t.Fatal(err)
	}
	h.end("free")
	for words, change := range map[string]func(*specs.Spec){
		"CAP_NET_RAW in Cap":         func(s *specs.Spec) { s.Process.Capabilities.Bounding = some[:1] },
		"no filter of system calls":  func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow} },
		"/proc/keys is not covered":  func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/missing", "/proc/keys"} },
		"/proc/sys is not read-only": func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/proc/sys"} },
		"sysfs at /sys is not among": func(s *specs.Spec) { s.Mounts = s.Mounts[:len(s.Mounts)-1] },
	} {
		s := h.start("bound", false, "sh")
		s.Restore = &shim.Restore{}
		s.Spec.Process.NoNewPrivileges = false
		s.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: some}
		s.Spec.Linux.MaskedPaths, s.Spec.Linux.ReadonlyPaths, s.Spec.Mounts = nil, nil, slices.Clone(free.Spec.Mounts)
		change(s.Spec)
		if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: s}, images); !errkind.Is(err, errkind.Forbidden) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	if said := h.output("bound"); said != "" {
		t.Errorf("what was refused has run: %s", said)
	}
}

func (h *host) task(id string) shim.Task {
	h.Helper()
	r, err := h.ask(&shim.Request{Kind: shim.KindList})
	h.must(err)
	for _, t := range r.Tasks {
		if t.ID == id && t.Exec == "" {
			return t
		}
	}
	h.Fatalf("there is no task %s", id)
	return shim.Task{}
}

// like compares what a restored process may do with what the one may that was saved.
func (h *host) like(one, two int) {
	h.Helper()
	read := func(pid int) (out []string) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		h.must(err)
		for line := range strings.Lines(string(text)) {
			for _, key := range []string{"Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "Umask:"} {
				if strings.HasPrefix(line, key) {
					out = append(out, line)
				}
			}
		}
		sorted := len(out)
		text, err = os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		h.must(err)
		for line := range strings.Lines(string(text)) { // 684 47 254:0 / /dev rw,nosuid - tmpfs tmpfs rw
			f := strings.Fields(line)
			out = append(out, f[4]+" "+f[5]+"\n")
		}
		slices.Sort(out[sorted:])
		return out
	}
	a, b := strings.Join(read(one), ""), strings.Join(read(two), "")
	if a != b {
		h.Errorf("it was\n%s\nand is\n%s", a, b)
	}
}

// A terminal comes back as another one, which the supervisor holds.
func TestCheckpointOfTerminal(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	h := newHost(t)
	h.begin(h.start("one", true, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done"))
	h.until(func() bool { return strings.Count(h.output("one"), "\n") > 5 }, "nothing is counted")
	images, err := h.dump("one")
	if err != nil {
		t.Fatal(err)
	}
	plain := h.start("plain", false, "sh")
	plain.Restore = &shim.Restore{}
	if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: plain}, images); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "terminal") {
		t.Errorf("restore without a terminal: %v", err)
	}
	two := h.start("two", true, "sh")
	two.Restore = &shim.Restore{}
	h.begin(two, images)
	h.until(func() bool { return strings.Count(h.output("two"), "\n") > 5 }, "nothing is counted after the restore")
	if _, err := h.ask(&shim.Request{Kind: shim.KindResize, Resize: &shim.Resize{TaskRef: shim.TaskRef{ID: "two"}, Width: 123, Height: 45}}); err != nil {
		t.Error(err)
	}
	exec := &shim.Exec{TaskRef: shim.TaskRef{ID: "two", Exec: "e"}, Process: &specs.Process{Args: []string{"sh", "-c", `stty size </dev/console >/data/size; echo ok >>/data/size`}, Cwd: "/", Env: []string{"PATH=/bin"}}}
	if _, err := h.ask(&shim.Request{Kind: shim.KindExec, Exec: exec}); err != nil {
		t.Fatal(err)
	}
	h.until(func() bool {
		text, _ := os.ReadFile(filepath.Join(h.rootfs, "data/size"))
		return strings.HasSuffix(string(text), "ok\n")
	}, "no size")
	if text, _ := os.ReadFile(filepath.Join(h.rootfs, "data/size")); string(text) != "45 123\nok\n" {
		t.Errorf("the terminal's size: %s", text)
	}
}

// What cannot be saved is refused, and the container goes on as it was: running, or standing still.
func TestCheckpointRefused(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	h := newHost(t)
	if _, err := h.dump("nobody"); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("dump of nobody: %v", err)
	}
	shared := h.start("shared", false, "sleep", "1000")
	shared.Spec.Linux.Namespaces = append(shared.Spec.Linux.Namespaces[:1], shared.Spec.Linux.Namespaces[2:]...)
	h.begin(shared)
	if _, err := h.dump("shared"); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), "pid namespace") {
		t.Errorf("dump in the host's pid namespace: %v", err)
	}
	// A connection, which is not saved without a word.
	netns, port := h.netns()
	linked := h.start("linked", false, "sh", "-c", `sleep 1000 | busybox nc 127.0.0.1 `+port+` >/dev/null &
		until busybox netstat -tn | grep -q `+port+`.*ESTAB; do :; done; while :; do echo on; usleep 20000; done`)
	linked.HasNetns = true
	h.begin(linked, netns)
	h.until(func() bool { return h.output("linked") != "" }, "no output")
	for _, frozen := range []bool{false, true} {
		_, err := h.ask(&shim.Request{Kind: shim.KindFreeze, Freeze: &shim.Freeze{ID: "linked", On: frozen}})
		h.must(err)
		_, err = h.dump("linked")
		if !errkind.Is(err, errkind.Internal) || !strings.Contains(err.Error(), "tcp-established") || !strings.Contains(err.Error(), filepath.Join(h.root, "tasks/linked/dump.log")) {
			t.Errorf("dump with a connection: %v", err)
		}
		group, err := cgroup.Open(h.group + "/linked")
		h.must(err)
		if group.Frozen() != frozen {
			t.Errorf("frozen: %v after the dump", !frozen)
		}
	}
	_, err := h.ask(&shim.Request{Kind: shim.KindFreeze, Freeze: &shim.Freeze{ID: "linked"}})
	h.must(err)
	seen := len(h.output("linked"))
	h.until(func() bool { return len(h.output("linked")) > seen }, "the container does not go on")
	// With the word that allows it, frozen, and then with what does not fit.
	_, err = h.ask(&shim.Request{Kind: shim.KindFreeze, Freeze: &shim.Freeze{ID: "linked", On: true}})
	h.must(err)
	images, err := os.Open(t.TempDir())
	h.must(err)
	defer images.Close()
	allowed := shim.CheckpointOptions{TCPEstablished: true}
	if _, err := h.ask(&shim.Request{Kind: shim.KindDump, Dump: &shim.Dump{ID: "linked", CheckpointOptions: allowed}}, images); err != nil {
		t.Fatal(err)
	}
	if group, err := cgroup.Open(h.group + "/linked"); err != nil || !group.Frozen() {
		t.Errorf("not frozen any more after the dump: %v", err)
	}
	h.end("linked")
	for what, change := range map[string]func(*shim.Start){
		"createContainer":  func(s *shim.Start) { s.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/true"}}} },
		"no pid namespace": func(s *shim.Start) { s.Spec.Linux.Namespaces = shared.Spec.Linux.Namespaces },
		"criu failed":      func(s *shim.Start) { s.Spec.Root.Path = t.TempDir() },
	} {
		s := h.start("back", false, "sh")
		s.Restore, s.HasNetns = &shim.Restore{CheckpointOptions: allowed}, true
		change(s)
		if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: s}, netns, images); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.must(os.Symlink("/etc/passwd", filepath.Join(images.Name(), "core-9.img")))
	s := h.start("back", false, "sh")
	s.Restore, s.HasNetns = &shim.Restore{CheckpointOptions: allowed, TCPClose: true}, true
	if _, err := h.ask(&shim.Request{Kind: shim.KindStart, Start: s}, netns, images); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("a checkpoint with a link in it: %v", err)
	}
	h.must(os.Remove(filepath.Join(images.Name(), "core-9.img")))
	back := h.begin(s, netns, images) // not frozen: what was saved had to stand still in any case
	seen = len(h.output("back"))
	h.until(func() bool { return len(h.output("back")) > seen }, "what was frozen does not go on")
	if back.Frozen {
		t.Errorf("%+v", back)
	}
}
