//go:build linux && (amd64 || arm64)

package reaper

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// command runs args below the program, in a pid namespace of its own.
func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	out := &bytes.Buffer{}
	c := &exec.Cmd{
		Path: "/proc/self/fd/" + strconv.Itoa(int(f.Fd())), Args: append([]string{"/sbin/docker-init", "--"}, args...),
		Env: append([]string{args[0]}, "PATH=/usr/bin:/bin", "WORD=kept"), Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID},
	}
	return c, out
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"/bin/sh", "-c", "echo $WORD; exit 7"}, 7, "kept\n"},
		{[]string{"/bin/sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"/bin/sh", "-c", "exit 0"}, 0, ""},
		{[]string{"/bin/sh", "-c", "echo $$; sleep 0.01 & exit 3"}, 3, "2\n"},
		{[]string{"/nosuch"}, 127, complaint},
		{[]string{"/etc/passwd"}, 126, complaint},
	} {
		c, out := command(t, test.args...)
		err := c.Run()
		if code := c.ProcessState.ExitCode(); code != test.code || out.String() != test.out {
			t.Errorf("%q: %v, exit code %d, output %q", test.args, err, code, out)
		}
	}
}

// An orphan is reaped, a signal passed on.
func TestReapAndForward(t *testing.T) {
	c, _ := command(t, "/bin/sh", "-c", `trap 'echo term; exit 5' TERM; (sleep 0.01 & exec true); echo up; while :; do sleep 0.05; done`)
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer w.Close()
	c.Stdout = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 3)
	if _, err := out.Read(line); err != nil || string(line) != "up\n" {
		t.Fatalf("%q %v", line, err)
	}
	for zombies(c.Process.Pid) > 0 { // its end may be a moment away
		time.Sleep(time.Millisecond)
	}
	if comm, _ := os.ReadFile("/proc/" + strconv.Itoa(c.Process.Pid) + "/comm"); string(comm) != "docker-init\n" {
		t.Errorf("it is called %q", comm)
	}
	if err := c.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Fatalf("%v", err)
	}
}

// zombies counts the dead children of pid.
func zombies(pid int) (n int) {
	children, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	for child := range strings.FieldsSeq(string(children)) {
		stat, _ := os.ReadFile("/proc/" + child + "/stat")
		if strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

func TestSealed(t *testing.T) {
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Fatalf("written to: %v", err)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Fatalf("cut: %v", err)
	}
	if info, _ := f.Stat(); info.Size() > 1024 {
		t.Fatalf("the program has %d bytes", info.Size())
	}
}

// TestSealedMode tries to keep others from executing the file, as root in any container that shares it could.
func TestSealedMode(t *testing.T) {
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&0x20 == 0 {
		t.Skipf("the kernel has no F_SEAL_EXEC: seals %#x, %v", seals, err)
	}
	again, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Chmod(0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("its mode is changed: %v", err)
	}
}
