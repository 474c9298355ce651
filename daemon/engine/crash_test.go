package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/lifecycle"
	"pier/lib/id"
)

// crashEnv tells a child of this test where to work: folder, bridge, cgroup and runtime, separated by colons.
const crashEnv = "PIER_TEST_ENGINE_CRASH"

// TestKillNine kills a daemon with kill -9 while it creates, starts, stops and removes containers, opens another on what
// is left, and looks: records agree with processes, a container that ran before runs on, and in the end nothing is left.
func TestKillNine(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("containers need root")
	}
	short := id.New()[:6]
	r := &rig{t: t, dir: t.TempDir(), bridge: "pt" + short, cgroup: "/pier-test-" + short}
	r.open()
	t.Cleanup(r.destroy)
	r.image("busybox", nil)
	keep := r.create("keep", nil, "sleep", "600")
	r.must(r.Containers().Start(context.Background(), keep))
	pid := r.inspect(keep).State.Pid
	for range 4 {
		r.close()
		child := exec.Command("/proc/self/exe", "-test.run=^TestCrashingDaemon$")
		child.Env = append(os.Environ(), crashEnv+"="+strings.Join([]string{r.dir, r.bridge, r.cgroup, runtimeBinary}, ":"))
		out, err := os.Create(filepath.Join(r.dir, "child.log"))
		r.must(err)
		child.Stdout, child.Stderr = out, out
		r.must(child.Start())
		ready := filepath.Join(r.dir, "ready")
		r.eventually("the daemon at work", func() bool { _, err := os.Stat(ready); return err == nil })
		r.must(os.Remove(ready))
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		r.must(child.Process.Kill())
		_ = child.Wait()
		_ = out.Close()
		r.open()
		if s := r.inspect(keep).State; !s.Running || s.Pid != pid {
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("the container that ran before: %+v\n%s", s, text)
		}
		r.agree()
	}
}

// agree compares records with processes.
func (r *rig) agree() {
	r.t.Helper()
	time.Sleep(400 * time.Millisecond) // what the killed daemon had sent off arrives, and is looked for
	r.eventually("records and processes agree", func() bool {
		tasks, err := r.o.Custody.Tasks(context.Background())
		r.must(err)
		alive := map[string]bool{}
		for _, t := range tasks {
			alive[t.ID] = alive[t.ID] || t.Exit == nil
		}
		for _, c := range r.index.All() {
			row := c.row()
			if row.Life.State.Alive() != alive[c.id] || row.Life.State == lifecycle.Removing || row.Host.AutoRemove && !alive[c.id] {
				return false
			}
			delete(alive, c.id)
		}
		for _, living := range alive {
			if living {
				return false
			}
		}
		return true
	})
}

// TestCrashingDaemon is the daemon that TestKillNine kills; alone it does nothing.
func TestCrashingDaemon(t *testing.T) {
	where := strings.Split(os.Getenv(crashEnv), ":")
	if len(where) != 4 { // it runs as a child of TestKillNine
		return
	}
	runtimeBinary = where[3]
	r := &rig{t: t, dir: where[0], bridge: where[1], cgroup: where[2]}
	r.open()
	var wg sync.WaitGroup
	ctx := context.Background()
	for n := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("c%d-%d-%d", os.Getpid(), n, i)
				res, err := r.Containers().Create(ctx, CreateRequest{Name: name, Config: &container.Config{Image: "busybox", Cmd: []string{"sleep", "600"},
					Volumes: map[string]struct{}{"/v": {}}}, HostConfig: &container.HostConfig{AutoRemove: i%2 == 0}})
				if err != nil {
					t.Log(err)
					return
				}
				_ = r.Containers().Start(ctx, res.ID)
				if i%3 > 0 {
					_ = r.Containers().Kill(ctx, res.ID, "")
				}
				if i%2 == 1 {
					_ = r.Containers().Remove(ctx, res.ID, RemoveOptions{Force: true, Volumes: true})
				}
			}
		})
	}
	r.must(os.WriteFile(filepath.Join(r.dir, "ready"), nil, 0o600))
	wg.Wait()
}
