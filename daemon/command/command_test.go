package command

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
		_ = in.Close()
		_ = c.Wait()
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
