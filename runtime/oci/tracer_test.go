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

	"golang.org/x/sys/unix"

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

// TestExecUnderTracer has a container with CAP_SYS_PTRACE look at an exec before its program runs. What it sees has
// nothing that the program will not have. The faster way, beside it, shows that there would be something to see.
func TestExecUnderTracer(t *testing.T) {
	for _, test := range []struct {
		name             string
		faster, newPrivs bool
	}{{"split", false, false}, {"split, filter first", false, true}, {"faster", true, false}} {
		t.Run(test.name, func(t *testing.T) {
			secret := "secret:" + id.New()
			c := testContainer(t, "/tracer")
			program, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Spec.Root.Path, "tracer"), program, 0o755); err != nil {
				t.Fatal(err)
			}
			c.Spec.Process.NoNewPrivileges = !test.newPrivs
			c.Spec.Process.Env = []string{asTracer + "=" + secret}
			caps := c.Spec.Process.Capabilities
			for _, set := range []*[]string{&caps.Bounding, &caps.Permitted, &caps.Effective} {
				*set = append(slices.Clone(*set), "CAP_SYS_PTRACE")
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c.Stdio = Stdio{Stdout: w, Stderr: w}
			p := running(t, c)
			w.Close()
			lines := bufio.NewScanner(r)
			if !lines.Scan() || lines.Text() != "ready" {
				t.Fatalf("the tracer says %q", lines.Text())
			}
			seen := make(chan sight, 1)
			go func() {
				defer close(seen)
				var s sight
				if lines.Scan() && json.Unmarshal(lines.Bytes(), &s) == nil {
					seen <- s
				}
			}()
			var s sight
			for done := false; !done; {
				e := execConfig(c, p, "true")
				e.NoTracers = test.faster
				e.Process.Env = []string{"PATH=" + strings.Repeat("/nowhere:", 5000) + "/bin"} // it takes its time
				if _, status := execOutput(t, e); status.Code != 0 {
					t.Fatalf("exec: %+v", status)
				}
				select {
				case s = <-seen:
					done = true
				default:
				}
			}
			t.Logf("%+v", s)
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
