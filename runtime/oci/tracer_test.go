package oci

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/capability"
	"pier/kernel/mount"
	"pier/lib/id"
)

// asTracer makes the test program the first process of a container: one that looks into whatever appears beside it.
const asTracer = "PIER_TEST_TRACER"

// sight is what a tracer sees of a process that has not executed its program yet.
type sight struct {
	Secret   bool   // the secret is in its memory
	Caps     string // effective capabilities
	FDs      []string
	SameRoot bool // it is in the tracer's mount namespace
}

// trace reports the first process besides its own that it can catch before its program runs.
func trace(secret string) {
	runtime.LockOSThread()
	fmt.Println("ready")
	own, _ := os.Readlink("/proc/self/exe")
	for {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			var pid int
			if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == 1 {
				continue
			}
			if unix.PtraceSeize(pid) != nil {
				continue
			}
			_ = unix.PtraceInterrupt(pid) // one that has ended is to be waited for all the same, or its parent never can
			var status unix.WaitStatus
			_, err := unix.Wait4(pid, &status, unix.WALL, nil)
			for err == unix.EINTR {
				_, err = unix.Wait4(pid, &status, unix.WALL, nil)
			}
			if err != nil || !status.Stopped() {
				continue
			}
			dir := "/proc/" + e.Name()
			if exe, err := os.Readlink(dir + "/exe"); err != nil || exe == own || exe == "/bin/busybox" {
				_ = unix.PtraceDetach(pid)
				continue
			}
			_ = json.NewEncoder(os.Stdout).Encode(lookInto(dir, secret))
			_ = unix.PtraceDetach(pid)
			for {
				_ = unix.Pause()
			}
		}
	}
}

func lookInto(dir, secret string) (s sight) {
	status, _ := os.ReadFile(dir + "/status")
	s.Caps = field1(string(status), "CapEff:")
	fds, _ := os.ReadDir(dir + "/fd")
	for _, f := range fds {
		s.FDs = append(s.FDs, f.Name())
	}
	mine, _ := os.Readlink("/proc/self/ns/mnt")
	theirs, _ := os.Readlink(dir + "/ns/mnt")
	s.SameRoot = mine == theirs
	mem, err := os.Open(dir + "/mem")
	if err != nil {
		return s
	}
	defer mem.Close()
	maps, _ := os.ReadFile(dir + "/maps")
	for line := range bytes.Lines(maps) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &mode); err != nil || mode[0] != 'r' || to-from > 1<<27 {
			continue
		}
		part, _ := io.ReadAll(io.NewSectionReader(mem, from, to-from))
		s.Secret = s.Secret || bytes.Contains(part, []byte(secret))
	}
	return s
}

// tracer runs a container with CAP_SYS_PTRACE that looks into the first process to appear in it, and tells what it saw.
func tracer(t *testing.T, newPrivs bool) (c *Container, p *Process, seen <-chan sight) {
	t.Helper()
	secret := "secret:" + id.New()
	c = testContainer(t, "/tracer")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Spec.Root.Path, "tracer"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Spec.Process.NoNewPrivileges = !newPrivs
	c.Spec.Process.Env = []string{asTracer + "=" + secret}
	caps := c.Spec.Process.Capabilities
	for _, set := range []*[]string{&caps.Bounding, &caps.Permitted, &caps.Effective} {
		*set = append(slices.Clone(*set), "CAP_SYS_PTRACE")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c.Stdio = Stdio{Stdout: w, Stderr: w}
	p = running(t, c)
	w.Close()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the tracer says %q", lines.Text())
	}
	out := make(chan sight, 1)
	go func() {
		defer close(out)
		var s sight
		if lines.Scan() && json.Unmarshal(lines.Bytes(), &s) == nil {
			out <- s
		}
	}()
	return c, p, out
}

// until calls f until the tracer has seen something.
func until(t *testing.T, seen <-chan sight, f func()) sight {
	t.Helper()
	for {
		f()
		select {
		case s := <-seen:
			t.Logf("%+v", s)
			return s
		default:
		}
	}
}

// slowly is an environment with which the lookup of a program takes its time.
func slowly() []string { return []string{"PATH=" + strings.Repeat("/nowhere:", 5000) + "/bin"} }

// TestExecUnderTracer has a container with CAP_SYS_PTRACE look at an exec before its program runs. What it sees has
// nothing that the program will not have. The faster way, beside it, shows that there would be something to see.
func TestExecUnderTracer(t *testing.T) {
	for _, test := range []struct {
		name             string
		faster, newPrivs bool
	}{{"split", false, false}, {"split, filter first", false, true}, {"faster", true, false}} {
		t.Run(test.name, func(t *testing.T) {
			c, p, seen := tracer(t, test.newPrivs)
			s := until(t, seen, func() {
				e := execConfig(c, p, "true")
				e.NoTracers = test.faster
				e.Process.Env = slowly()
				if _, status := execOutput(t, e); status.Code != 0 {
					t.Fatalf("exec: %+v", status)
				}
			})
			if test.faster {
				if !s.Secret {
					t.Error("the tracer does not see what it could: this test proves nothing")
				}
				return
			}
			status, err := os.ReadFile("/proc/" + itoa(p.Pid) + "/status")
			if err != nil {
				t.Fatal(err)
			}
			if s.Secret || s.Caps != field1(string(status), "CapEff:") || !slices.Equal(s.FDs, []string{"0", "1", "2"}) || !s.SameRoot {
				t.Errorf("a tracer sees %+v", s)
			}
		})
	}
}

// TestStartUnderTracer has a container begin among the processes of one that can trace (--pid container:x). It appears there
// with its final rights alone, where the kernel lets its procfs be mounted from outside.
func TestStartUnderTracer(t *testing.T) {
	for _, test := range []struct{ created, newPrivs bool }{{false, false}, {false, true}, {true, false}} {
		_, p, seen := tracer(t, test.newPrivs)
		ns, err := os.Open("/proc/" + itoa(p.Pid) + "/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		hidden := mount.ShowsPids(ns)
		s := until(t, seen, func() {
			guest := testContainer(t, "true")
			guest.Spec.Process.Env = slowly()
			guest.Spec.Process.NoNewPrivileges = !test.newPrivs
			for i := range guest.Spec.Linux.Namespaces {
				if n := &guest.Spec.Linux.Namespaces[i]; n.Type == specs.PIDNamespace {
					n.Path = ns.Name()
				}
			}
			if !test.created {
				if out, status := output(t, guest); status.Code != 0 {
					t.Fatalf("start: %+v, %s", status, out)
				}
				return
			}
			guest.Gate = t.TempDir()
			made, err := Create(t.Context(), guest)
			if err != nil {
				t.Fatal(err)
			}
			if err := made.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if status := reapAll(t, &made.Process); status.Code != 0 {
				t.Fatalf("create and start: %+v", status)
			}
		})
		if !hidden {
			t.Logf("Linux before 6.18: what is seen has %s", s.Caps)
			continue
		}
		final, err := capability.Mask(testContainer(t, "true").Spec.Process.Capabilities.Effective)
		if err != nil {
			t.Fatal(err)
		}
		gate := map[bool]int{true: 3}[test.created]
		if s.Secret || s.Caps != fmt.Sprintf("%016x", final) || s.SameRoot || len(s.FDs) > 3+gate {
			t.Errorf("created %v, new privileges %v: a tracer sees %+v", test.created, test.newPrivs, s)
		}
	}
}
