package oci

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
)

// enter runs e once and returns what it said.
func enter(t testing.TB, e *Entry) (string, pidfd.Status, error) {
	t.Helper()
	out, err := pipe.NewCapture(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := e.Run(t.Context(), out.In)
	out.In.Close()
	if err != nil {
		return "", pidfd.Status{}, err
	}
	status := reapAll(t, p)
	if !out.Drain() {
		t.Error("the output has no end")
	}
	return string(out.Text()), status, nil
}

func TestEntry(t *testing.T) {
	inBoth(t, func(t *testing.T, c *Container, p *Process) {
		config := execConfig(c, p, "sh", "-c", look+"; echo $(($(cat /tmp/runs) + 1)) > /tmp/runs; cat /tmp/runs; exit 3")
		for _, config.NoTracers = range []bool{true, false} {
			if _, status := execOutput(t, execConfig(c, p, "sh", "-c", "echo 0 > /tmp/runs")); status.Code != 0 {
				t.Fatal("cannot write in there")
			}
			before := hostTraces(t)
			e, err := Enter(config)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := execOutput(t, execConfig(c, p, "sh", "-c", look))
			for _, run := range []string{"1", "2", "3"} {
				out, status, err := enter(t, e)
				if err != nil || status.Code != 3 || !strings.HasSuffix(out, "\n"+run+"\n") {
					t.Fatalf("run %s: %v, %+v: %s", run, err, status, out)
				}
				for _, key := range []string{"CapBnd:", "CapEff:", "NoNewPrivs:", "Uid:", "Groups:", "SigBlk:"} {
					if field1(out, key) != field1(want, key) {
						t.Errorf("%s %s, not %s", key, field1(out, key), field1(want, key))
					}
				}
				if got := strings.Count(out, "\n0\n1\n2\n3\n"); got != 1 || !strings.Contains(out, "box\n") {
					t.Errorf("host name or descriptors are not as they should be: %s", out)
				}
			}
			e.Close()
			sameTraces(t, before)
		}
	})
}

func TestEntryErrors(t *testing.T) {
	c := testContainer(t, "sleep", "1000")
	p := running(t, c)
	config := execConfig(c, p, "sh", "-c", "exec /tmp/program")
	config.Process.Args = []string{"/tmp/program"}
	config.NoTracers = true
	e, err := Enter(config)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var failed *StartError
	if _, _, err := enter(t, e); !errors.As(err, &failed) || failed.Call != "execve" || failed.Errno != syscall.ENOENT {
		t.Errorf("a program that is missing: %v", err)
	}
	if _, status := execOutput(t, execConfig(c, p, "sh", "-c", "cp /bin/busybox /tmp/program")); status.Code != 0 {
		t.Fatal("cannot write in there")
	}
	if out, _, err := enter(t, e); err != nil || !strings.Contains(out, "applet not found") {
		t.Errorf("once it is there: %q, %v", out, err)
	}
	// The container ends, and its first process's number may be another's.
	_ = pidfd.Signal(p.Pidfd, int(syscall.SIGKILL))
	if err := pidfd.Wait(t.Context(), p.Pidfd); err != nil {
		t.Fatal(err)
	}
	if _, _, err := enter(t, e); err == nil {
		t.Error("a process in a container that has ended")
	}
	if _, err := Enter(config); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("the way into a container that has ended: %v", err)
	}
}
