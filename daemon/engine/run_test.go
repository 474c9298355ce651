package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
)

// The supervisor dies in the middle of a run's start, which is begun anew and misses none of the output.
func TestRunIsBegunAnew(t *testing.T) {
	r := newRig(t)
	runc, err := exec.LookPath("runc")
	r.must(err)
	once, script := filepath.Join(r.dir, "once"), filepath.Join(r.dir, "runtime")
	r.must(os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nif mkdir %s 2>/dev/null; then kill -9 $PPID; exit 1; fi\nexec %s \"$@\"\n", once, runc), 0o755))
	r.o.Runtimes = map[string]shim.Runtime{"once": {Name: "once", Path: script}}
	r.host.Runtimes = []string{"once"}
	run, err := r.Containers().Run(context.Background(), CreateRequest{Config: &container.Config{Image: "busybox", Cmd: []string{"sh", "-c", "echo all of it; exit 3"}},
		HostConfig: &container.HostConfig{Runtime: "once"}}, AttachOptions{Stream: true, Stdout: true, Stderr: true})
	r.must(err)
	defer run.Close()
	started := make(chan error, 1)
	go func() { started <- run.Started() }()
	select {
	case err := <-started:
		r.must(err)
	case <-time.After(time.Minute):
		t.Fatal("the start does not come to its end")
	}
	if _, err := os.Stat(once); err != nil {
		t.Errorf("the supervisor was not killed: %v", err)
	}
	out, err := io.ReadAll(run.Stream)
	if err != nil || !strings.HasSuffix(string(out), "all of it\n") {
		t.Errorf("output %q, %v", out, err)
	}
	if code, known := run.Wait(nil); code != 3 || !known {
		t.Errorf("exit code %d, known: %v", code, known)
	}
}
