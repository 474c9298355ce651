package oci

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

// TestPodmanCheckpoint has podman save a container, restore it, export it, and make another of the export. It needs a criu that works
// with this machine's kernel; what becomes of one that does not, runtime/command tests.
func TestPodmanCheckpoint(t *testing.T) {
	if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		t.Skipf("criu does not work here: %v: %s", err, out)
	}
	e := preparePodman(t)
	e.do("import", lab.Busybox(e, e.TempDir()), "box:1")
	e.do(e.run("-d", "--name", "one", "box:1", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")...)
	e.Cleanup(func() { _, _ = e.try("rm", "-f", "-t", "0", "one", "two") })
	// counted waits until a container has counted on from n, and returns how far. A log lacks no number on the way.
	counted := func(name string, n int) int {
		e.Helper()
		for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			lines := strings.Fields(e.do("logs", name))
			if len(lines) == 0 {
				continue
			}
			last, err := strconv.Atoi(lines[len(lines)-1])
			if err == nil && last > n {
				first, _ := strconv.Atoi(lines[0])
				if len(lines) != last-first+1 {
					e.Errorf("%s: from %d to %d in %d lines", name, first, last, len(lines))
				}
				return last
			}
		}
		e.Fatalf("%s does not count on from %d", name, n)
		return 0
	}
	n := counted("one", 3)
	e.do("container", "checkpoint", "one")
	if s := e.do("inspect", "-f", "{{.State.Status}}", "one"); s != "exited" {
		t.Errorf("after the checkpoint it is %s", s)
	}
	e.do("container", "restore", "one")
	n = counted("one", n)
	archive := filepath.Join(t.TempDir(), "export.tar")
	e.do("container", "checkpoint", "--export", archive, "one")
	e.do("container", "restore", "--import", archive, "--name", "two")
	counted("two", n)
}
