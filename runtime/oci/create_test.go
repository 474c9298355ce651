package oci

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

func TestCreate(t *testing.T) {
	c := testContainer(t, "sh", "-c", "echo started; ls /proc/self/fd; exit 3")
	c.Gate = t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdio = Stdio{Stdout: w, Stderr: w}
	p, err := Create(t.Context(), c)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var fds []os.DirEntry
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if fds, err = os.ReadDir(filepath.Join("/proc", itoa(p.Pid), "fd")); err != nil || len(fds) == 5 {
			break // it has closed the one by which it told us
		}
	}
	if err != nil || len(fds) != 5 {
		t.Errorf("the waiting process has descriptors %v, want its streams and the gate (%v)", fds, err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("second start: %v", err)
	}
	out, _ := io.ReadAll(r)
	if string(out) != "started\n0\n1\n2\n3\n" { // 3 is ls reading the folder
		t.Errorf("output %q", out)
	}
	if s := reapAll(t, &p.Process); s.Code != 3 {
		t.Errorf("status %+v", s)
	}
}

// What can be known of the program is known at create, the rest at start.
func TestCreateThenError(t *testing.T) {
	for _, test := range []struct {
		arg   string
		errno syscall.Errno
		early bool
	}{{"missing", syscall.ENOENT, true}, {"/missing", syscall.ENOENT, true}, {"plain", syscall.EACCES, true}, {"/etc", syscall.EACCES, false}, {"script", syscall.ENOENT, false}} {
		c := testContainer(t, test.arg)
		c.Gate = t.TempDir()
		for name, mode := range map[string]os.FileMode{"plain": 0o644, "script": 0o755} {
			if err := os.WriteFile(filepath.Join(c.Spec.Root.Path, "bin", name), []byte("#!/missing\n"), mode); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Create(t.Context(), c)
		if (err != nil) != test.early {
			t.Fatalf("create of %s: %v", test.arg, err)
		}
		if err == nil {
			err = p.Start(t.Context())
			p.Pidfd.Close()
		}
		var failed *StartError
		if !errors.As(err, &failed) || failed.Call != "execve" || failed.Errno != test.errno {
			t.Errorf("%s: %v", test.arg, err)
		}
		if left, _ := os.ReadDir(c.Gate); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestCreateErrors(t *testing.T) {
	c := testContainer(t, "true")
	c.Gate = t.TempDir()
	before := hostTraces(t)
	c.Spec.Process.Cwd = "/missing"
	if _, err := Create(t.Context(), c); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("missing working folder: %v", err)
	}
	if left, _ := os.ReadDir(c.Gate); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	sameTraces(t, before)
	// A prepared process that is killed instead of started.
	c.Spec.Process.Cwd = "/"
	p, err := Create(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := pidfd.Signal(p.Pidfd, int(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if err := pidfd.Wait(t.Context(), p.Pidfd); err != nil {
		t.Fatal(err)
	}
	p.Pidfd.Close()
	if err := p.Start(t.Context()); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("start of a dead process: %v", err)
	}
}
