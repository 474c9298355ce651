package command

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pier/daemon"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// TestIsPierd has a process that bears the name, with our root and with another one, as a container's has.
func TestIsPierd(t *testing.T) {
	if os.Getenv("PIER_TEST_NAMESAKE") != "" {
		_, _ = os.Stdout.WriteString("x")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	dir := t.TempDir()
	copyProgram(t, filepath.Join(dir, "pierd"))
	for want, args := range map[bool][]string{true: {filepath.Join(dir, "pierd")}, false: {"chroot", dir, "/pierd"}} {
		c := exec.Command(args[0], append(args[1:], "-test.run=^TestIsPierd$")...)
		c.Env = append(os.Environ(), "PIER_TEST_NAMESAKE=1")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if got := isPierd(c.Process.Pid); got != want {
			t.Errorf("%q: %v", args, got)
		}
		if want {
			findsPierd(t, c.Process.Pid)
		}
		_ = in.Close()
		_ = c.Wait()
	}
}

// findsPierd looks for the pierd pid by what itself, a former process with its number, and a former pierd have left. The last is
// left where a release that notes nothing has followed it.
func findsPierd(t *testing.T, pid int) {
	t.Helper()
	began, err := pidfd.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.Config{ExecRoot: t.TempDir()}
	if err := os.WriteFile(c.PidPath(), fmt.Appendf(nil, "%d\n", pid), 0o600); err != nil {
		t.Fatal(err)
	}
	for note, want := range map[string]bool{"": true, fmt.Sprintf("%d %d\n", pid, began): true, fmt.Sprintf("%d %d\n", pid, began-1): false, "1 2\n": true} {
		if note != "" {
			if err := os.WriteFile(filepath.Join(c.ExecRoot, "pierd.start"), []byte(note), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if err := os.RemoveAll(filepath.Join(c.ExecRoot, "pierd.start")); err != nil {
			t.Fatal(err)
		}
		p, err := running(c)
		if err == nil != want || err != nil && !errkind.Is(err, errkind.NotFound) {
			t.Errorf("note %q: %v", note, err)
		}
		if err == nil {
			_ = p.Release()
		}
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(f, from); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
