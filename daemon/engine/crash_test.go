package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/lifecycle"
)

// crashEnv tells a child of this test where to work: folder, bridge, cgroup and runtime, separated by colons.
const crashEnv = "PIER_TEST_ENGINE_CRASH"

// TestKillNine kills a daemon with kill -9 while it creates, starts, stops and removes containers, opens another on what
// is left, and looks: records agree with processes, a container that ran before runs on, and in the end nothing is left.
func TestKillNine(t *testing.T) {
	r := newRig(t)
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

// A daemon dies after the kernel has an interface more, or less, and before the record says so: the next one goes by the
// record.
func TestMendsNetworks(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	var nets []string
	for _, name := range []string{"one", "two"} {
		made, err := r.networks.Create(ctx, network.CreateRequest{Name: name})
		r.must(err)
		nets = append(nets, made.ID)
		t.Cleanup(func() { _ = r.networks.Remove(ctx, name) })
	}
	cid := r.create("mended", func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "one" }, "sleep", "1000")
	r.must(r.Containers().Start(ctx, cid))
	state := func() string {
		return r.exec(cid, "sh", "-c", "ip -o -4 addr | grep -v ' lo '; ip route; grep -v '^#' /etc/hosts; cat /etc/resolv.conf")
	}
	before := state()
	row := func() *row { return r.Engine.index.Get(cid).row() }

	r.must(r.Engine.beginRewiring(row(), nets[1]))
	change, err := r.networks.Connect(ctx, row().JoinOptions(), "two", nil)
	r.must(err)
	address := change.Settings.IPAddress.String()
	r.Engine.renew(row(), change, true)
	if now := state(); !strings.Contains(now, address) {
		t.Fatalf("connected, but for the record: %s", now)
	}
	r.close()
	r.open()
	if now := state(); now != before {
		t.Errorf("after a connect that was cut off:\n%s\nbefore:\n%s", now, before)
	}

	r.must(r.Engine.beginRewiring(row(), nets[0]))
	change, err = r.networks.Disconnect(ctx, row().JoinOptions(), "one")
	r.must(err)
	r.Engine.renew(row(), change, false)
	if now := state(); now == before {
		t.Fatalf("disconnected, but for the record: %s", now)
	}
	r.close()
	r.open()
	words := func(text string) []string { return slices.Sorted(strings.Lines(text)) }
	// Its number is another one, and a line may have moved.
	plain := regexp.MustCompile(`(?m)^[0-9]+: |scope global.*$`)
	if now := state(); !slices.Equal(words(plain.ReplaceAllString(now, "")), words(plain.ReplaceAllString(before, ""))) {
		t.Errorf("after a disconnect that was cut off:\n%s\nbefore:\n%s", now, before)
	}
	if left := row().Rewiring; left != "" {
		t.Errorf("%s is still being changed", left)
	}
	r.must(r.Containers().Kill(ctx, cid, ""))
}
