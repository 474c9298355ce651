package oci

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/pidfd"
	"pier/kernel/tty"
	"pier/lib/errkind"
)

// running starts c and ends it with the test.
func running(t testing.TB, c *Container) *Process {
	t.Helper()
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pidfd.Signal(p.Pidfd, int(syscall.SIGKILL))
		_ = c.Cgroup.Kill()
		for {
			if _, err := pidfd.Reap(p.Pidfd); !errkind.Is(err, errkind.Conflict) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		p.Pidfd.Close()
		if p.Master != nil {
			p.Master.Close()
		}
	})
	return p
}

func execConfig(c *Container, p *Process, args ...string) *ExecConfig {
	process := *c.Spec.Process
	process.Args = args
	process.Terminal = false
	return &ExecConfig{ID: c.ID, Target: p.Pidfd, TargetPid: p.Pid, Spec: c.Spec, Process: &process, Cgroup: c.Cgroup}
}

func execOutput(t testing.TB, e *ExecConfig) (string, pidfd.Status) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e.Stdio = Stdio{Stdout: w, Stderr: w}
	p, err := Exec(t.Context(), e)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), reapAll(t, p)
}

// inBoth runs f on a container that sleeps, once without a user namespace of its own and once with one.
func inBoth(t *testing.T, f func(t *testing.T, c *Container, p *Process)) {
	for name, change := range map[string]func(testing.TB, *Container){"plain": func(testing.TB, *Container) {}, "user namespace": userNamespace} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, "sleep", "1000")
			change(t, c)
			f(t, c, running(t, c))
		})
	}
}

const look = `cat /proc/self/status; readlink /proc/self/ns/net; readlink /proc/self/ns/user; cat /proc/1/cgroup; cat /proc/self/cgroup; hostname; ls /proc/self/fd`

func TestExec(t *testing.T) {
	inBoth(t, func(t *testing.T, c *Container, p *Process) {
		out, status := execOutput(t, execConfig(c, p, "sh", "-c", look))
		if status.Code != 0 {
			t.Fatalf("status %+v: %s", status, out)
		}
		for key, want := range map[string]string{"CapInh:": "0000000000000000", "CapBnd:": "00000000a80425fb", "CapEff:": "00000000a80425fb",
			"NoNewPrivs:": "1", "Seccomp:": "2", "NSpid:": field1(out, "Pid:"), "Uid:": "0 0 0 0"} {
			if got := field1(out, key); got != want {
				t.Errorf("%s %s, want %s", key, got, want)
			}
		}
		group := "memory:/\n"
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			group = "0::/\n"
		}
		if !strings.Contains(out, "box\n") || strings.Count(out, group) != 2 {
			t.Errorf("host name or cgroup are not the container's: %s", out)
		}
		if strings.HasSuffix(out, "3\n4\n") {
			t.Errorf("a descriptor leaked: %s", out)
		}
		if _, status := execOutput(t, execConfig(c, p, "sh", "-c", "exit 42")); status.Code != 42 {
			t.Errorf("status %+v", status)
		}
	})
}

func TestExecTerminal(t *testing.T) {
	c := testContainer(t, "sleep", "1000")
	p := running(t, c)
	e := execConfig(c, p, "sh", "-c", "tty; stty size; read line; stty size")
	e.Process.Terminal = true
	e.Width, e.Height = 100, 40
	x, err := Exec(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	out := resizeAfter(t, x.Master, "40 100\r\n")
	if reapAll(t, x).Code != 0 || out != "/dev/pts/0\r\n40 100\r\n\r\n50 132\r\n" {
		t.Fatalf("output %q", out)
	}
}

// resizeAfter waits for the output prompt, resizes the terminal, sends a line and returns all output. The line comes
// back as the terminal's echo.
func resizeAfter(t *testing.T, master *os.File, prompt string) string {
	t.Helper()
	var out strings.Builder
	buf := make([]byte, 256)
	for !strings.HasSuffix(out.String(), prompt) {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("terminal: %v after %q", err, out.String())
		}
		out.Write(buf[:n])
	}
	if err := tty.SetSize(master, 132, 50); err != nil {
		t.Fatal(err)
	}
	if _, err := master.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	return out.String() + readTerminal(master)
}

// readTerminal reads a master until its last slave is closed, which the kernel reports as EIO.
func readTerminal(master *os.File) string {
	var out bytes.Buffer
	_, _ = io.Copy(&out, master)
	return out.String()
}

func TestExecErrors(t *testing.T) {
	c := testContainer(t, "sleep", "1000")
	p := running(t, c)
	before := hostTraces(t)
	for _, test := range []struct {
		args  []string
		cwd   string
		call  string
		errno syscall.Errno
		kind  errkind.Kind
	}{
		{[]string{"/missing"}, "/", "execve", syscall.ENOENT, errkind.NotFound},
		{[]string{"missing"}, "/", "execve", syscall.ENOENT, errkind.NotFound},
		{[]string{"/etc"}, "/", "execve", syscall.EACCES, errkind.Invalid},
		{[]string{"true"}, "/missing", "chdir", syscall.ENOENT, errkind.Invalid},
		{[]string{"true"}, "/proc/1/root/../../bin/true", "chdir", syscall.ENOTDIR, errkind.Invalid},
	} {
		e := execConfig(c, p, test.args...)
		e.Process.Cwd = test.cwd
		var ran uint64
		e.NoTracers, e.RunTo = true, &ran
		_, err := Exec(t.Context(), e)
		if ran != 0 {
			t.Errorf("%v in %s: a successor would think that it had run", test.args, test.cwd)
		}
		var failed *StartError
		if !errors.As(err, &failed) || failed.Call != test.call || failed.Errno != test.errno || errkind.Of(err) != test.kind {
			t.Errorf("%v in %s: %v", test.args, test.cwd, err)
		}
	}
	sameTraces(t, before)
	_ = specs.Version
}
