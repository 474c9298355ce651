//go:build amd64

package crash

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/container"
	dnet "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"pier/api/docker"
	"pier/client"
	"pier/lib/errkind"
)

// operations are the rows of the matrix.
func operations() []operation {
	ctx := context.Background()
	running := func(c *cell) {
		c.create(nil)
		c.must(c.api.Containers().Start(ctx, c.id))
		c.ready()
	}
	return []operation{
		{"create", func(*cell) {}, func(c *cell) error { return c.tryCreate(nil) }, func(c *cell, told error) error {
			s, err := c.state()
			if told != nil && errkind.Is(err, errkind.NotFound) {
				return nil
			}
			if err != nil || s.Status != container.StateCreated && s.Status != container.StateRunning {
				return fmt.Errorf("it is %+v, %w", s, err)
			}
			if s.Status == container.StateCreated {
				if err := c.api.Containers().Start(ctx, c.name); err != nil {
					return err
				}
			}
			return c.works()
		}},
		{"start", func(c *cell) { c.create(nil) }, func(c *cell) error { return c.api.Containers().Start(ctx, c.id) }, func(c *cell, told error) error {
			s, err := c.state()
			if err != nil || !s.Running && (told == nil || s.Status != container.StateCreated) {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			if s.Running {
				return c.works()
			}
			return nil
		}},
		{"start of a program that is missing", func(c *cell) { c.program = "/missing"; c.create(nil) }, func(c *cell) error {
			err := c.api.Containers().Start(ctx, c.id)
			if err != nil && strings.Contains(err.Error(), `exec: "/missing": stat /missing: no such file or directory`) {
				return nil
			}
			return fmt.Errorf("its start gave %v", err)
		}, func(c *cell, told error) error {
			s, err := c.state()
			if err != nil || s.Status != container.StateCreated || told == nil && s.ExitCode != 127 {
				return fmt.Errorf("it is %+v, %w", s, err)
			}
			return nil
		}},
		{"exec", running, func(c *cell) error { return c.exec(ranScript, "done\n", 3) }, ranOnce},
		{"exec with a terminal", running, func(c *cell) error { return c.execIn(true, ranScript, "done\r\n", 3) }, ranOnce},
		{"stop", running, func(c *cell) error { _, err := c.api.Containers().Stop(ctx, c.id, "", nil); return err }, func(c *cell, told error) error {
			return c.ended(told, 9)
		}},
		{"kill", running, func(c *cell) error { return c.api.Containers().Kill(ctx, c.id, "KILL") }, func(c *cell, told error) error {
			return c.ended(told, 137)
		}},
		{"rename", running, func(c *cell) error { return c.api.Containers().Rename(ctx, c.id, c.name+"-new") }, func(c *cell, told error) error {
			in, err := c.api.Containers().Inspect(ctx, c.id)
			if err != nil || in.Name != "/"+c.name+"-new" && (told == nil || in.Name != "/"+c.name) {
				return fmt.Errorf("it is called %q, %v", in.Name, err)
			}
			for _, name := range []string{"/" + c.name, "/" + c.name + "-new"} {
				if _, err := c.api.Containers().Inspect(ctx, name[1:]); (err == nil) != (name == in.Name) {
					return fmt.Errorf("it is called %q; asked for %q: %v", in.Name, name, err)
				}
			}
			return c.works()
		}},
		{"update", running, func(c *cell) error {
			_, err := c.api.Resources().Update(ctx, c.id, docker.Update{UpdateConfig: container.UpdateConfig{Resources: container.Resources{Memory: 96 << 20, MemorySwap: 96 << 20}}})
			return err
		}, func(c *cell, told error) error {
			in, err := c.api.Containers().Inspect(ctx, c.id)
			if err != nil || in.HostConfig.Memory != 96<<20 && (told == nil || in.HostConfig.Memory != 64<<20) {
				return fmt.Errorf("its limit is %d, %v", in.HostConfig.Memory, err)
			}
			if got, err := c.memoryLimit(); err != nil || got != in.HostConfig.Memory {
				return fmt.Errorf("its record says %d, its cgroup %d, %v", in.HostConfig.Memory, got, err)
			}
			return c.works()
		}},
		{"update of ports", running, func(c *cell) error {
			_, err := c.api.Resources().Update(ctx, c.id, docker.Update{PierPublishAdd: dnet.PortMap{dnet.MustParsePort("81/tcp"): nil},
				PierPublishRemove: dnet.PortMap{dnet.MustParsePort("80/tcp"): nil}})
			return err
		}, func(c *cell, told error) error {
			return c.opened(told == nil)
		}},
		{"remove", running, func(c *cell) error { return c.api.Containers().Remove(ctx, c.id, true, true) }, func(c *cell, told error) error {
			s, err := c.state()
			if errkind.Is(err, errkind.NotFound) {
				return nil
			}
			if err != nil || told == nil {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return c.ended(told, 137)
		}},
		{"commit", running, func(c *cell) error {
			_, err := c.api.Files().Commit(ctx, c.id, client.CommitOptions{Reference: "made:" + c.name, Pause: true})
			return err
		}, func(c *cell, told error) error {
			if _, err := c.api.Images().Raw(ctx, "made:"+c.name); told == nil && err != nil {
				return err
			} else if err == nil {
				if _, err := c.api.Images().Remove(ctx, "made:"+c.name, false, false); err != nil {
					return err
				}
			}
			s, err := c.state()
			if err != nil || s.Status != container.StateRunning {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return c.works()
		}},
		{"checkpoint", func(c *cell) { running(c); c.folder = c.t.TempDir() }, func(c *cell) error {
			err := c.api.Checkpoints().Create(ctx, c.id, checkpoint.CreateRequest{CheckpointID: "one", CheckpointDir: c.folder, Exit: true})
			if err != nil && strings.Contains(err.Error(), "Cannot checkpoint container ") { // CRIU is not there, or does not work here
				return nil
			}
			return err
		}, func(c *cell, told error) error {
			s, err := c.state()
			if err != nil {
				return err
			}
			whole, err := c.checkpoints(ctx)
			switch {
			case err != nil:
				return err
			case s.Running && !s.Paused:
				return c.works()
			case !whole || s.Running:
				return fmt.Errorf("it is %+v, its checkpoint is there: %v", s, whole)
			}
			return c.ended(told, 137)
		}},
		{"start from a checkpoint", func(c *cell) {
			running(c)
			c.folder = c.t.TempDir()
			err := c.api.Checkpoints().Create(ctx, c.id, checkpoint.CreateRequest{CheckpointID: "one", CheckpointDir: c.folder, Exit: true})
			if c.able = err == nil; !c.able { // no CRIU, or one that does not work here: it is refused
				c.handMade()
				c.must(c.api.Containers().Kill(ctx, c.id, "KILL"))
			}
		}, func(c *cell) error {
			err := c.api.Checkpoints().Start(ctx, c.id, c.folder, "one")
			if err != nil && !c.able && strings.Contains(err.Error(), "start from the checkpoint: ") {
				return nil
			}
			return err
		}, func(c *cell, told error) error {
			s, err := c.state()
			if err == nil && s.Running && !s.Paused {
				return c.works()
			}
			if err != nil || told == nil && c.able || s.Status != container.StateExited {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return nil
		}},
		{"removal of a checkpoint", func(c *cell) {
			running(c)
			c.folder = c.t.TempDir()
			c.handMade()
		}, func(c *cell) error { return c.api.Checkpoints().Remove(ctx, c.id, c.folder, "one") }, func(c *cell, told error) error {
			if whole, err := c.checkpoints(ctx); err != nil || whole && told == nil {
				return fmt.Errorf("it is there: %v, %v", whole, err)
			}
			return c.works()
		}},
		{"exit", running, func(c *cell) error { return c.end(c.forgotten) }, func(c *cell, told error) error {
			return c.ended(nil, 9)
		}},
		{"exit of --rm", func(c *cell) {
			c.create(func(h *container.HostConfig) { h.AutoRemove = true })
			c.must(c.api.Containers().Start(ctx, c.id))
			c.ready()
		}, func(c *cell) error { return c.end(c.forgotten) }, func(c *cell, told error) error {
			if s, err := c.state(); !errkind.Is(err, errkind.NotFound) {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return nil
		}},
		{"restart policy", func(c *cell) {
			c.create(func(h *container.HostConfig) { h.RestartPolicy.Name = container.RestartPolicyAlways })
			c.must(c.api.Containers().Start(ctx, c.id))
			c.ready()
		}, func(c *cell) error { return c.end(c.again) }, func(c *cell, told error) error {
			if err := c.again(); err != nil {
				return err
			}
			return c.works()
		}},
		{"build", func(*cell) {}, func(c *cell) error { return c.build(ctx) }, func(c *cell, told error) error {
			if told != nil {
				return nil
			}
			if c.image == "" { // this is asked until it is so
				c.image = "built:" + c.name
				if err := c.tryCreate(nil); err != nil {
					return err
				}
				if err := c.api.Containers().Start(ctx, c.id); err != nil {
					return err
				}
			}
			if err := c.works(); err != nil {
				return err
			}
			if err := c.exec("cat /ran", c.name+"\n", 0); err != nil {
				return err
			}
			if err := c.api.Containers().Remove(ctx, c.id, true, true); err != nil {
				return err
			}
			_, err := c.api.Images().Remove(ctx, c.image, true, false)
			return err
		}},
		{"restart", running, func(c *cell) error { return c.api.Containers().Restart(ctx, c.id, "", nil) }, func(c *cell, told error) error {
			s, err := c.state()
			switch {
			case err != nil || told == nil && (!s.Running || s.Pid == c.pid):
				return fmt.Errorf("it is %+v, %v", s, err)
			case !s.Running:
				if err := c.ended(nil, 9); err != nil {
					return err
				}
				if err := c.api.Containers().Start(ctx, c.id); err != nil {
					return err
				}
			}
			return c.works()
		}},
		{"pause", running, func(c *cell) error { return c.api.Containers().Pause(ctx, c.id, true) }, func(c *cell, told error) error {
			s, err := c.state()
			if err != nil || !s.Running || told == nil && !s.Paused {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return c.moves(s.Paused)
		}},
		{"unpause", func(c *cell) {
			running(c)
			c.must(c.api.Containers().Pause(ctx, c.id, true))
		}, func(c *cell) error { return c.api.Containers().Pause(ctx, c.id, false) }, func(c *cell, told error) error {
			s, err := c.state()
			if err != nil || !s.Running || told == nil && s.Paused {
				return fmt.Errorf("it is %+v, %v", s, err)
			}
			return c.moves(s.Paused)
		}},
		{"remove of a paused one", func(c *cell) {
			running(c)
			c.must(c.api.Containers().Pause(ctx, c.id, true))
		}, func(c *cell) error { return c.api.Containers().Remove(ctx, c.id, true, true) }, func(c *cell, told error) error {
			s, err := c.state()
			switch {
			case errkind.Is(err, errkind.NotFound):
				return nil
			case err != nil || told == nil:
				return fmt.Errorf("it is %+v, %v", s, err)
			case s.Paused:
				return c.moves(true)
			}
			return c.ended(told, 137)
		}},
		{"network connect", func(c *cell) {
			running(c)
			c.side()
		}, func(c *cell) error {
			return c.api.Networks().Connect(ctx, "side", dnet.ConnectRequest{Container: c.id})
		}, func(c *cell, told error) error {
			return c.wired(told == nil, true)
		}},
		{"network disconnect", func(c *cell) {
			running(c)
			c.side()
			c.must(c.api.Networks().Connect(ctx, "side", dnet.ConnectRequest{Container: c.id}))
		}, func(c *cell) error {
			return c.api.Networks().Disconnect(ctx, "side", dnet.DisconnectRequest{Container: c.id})
		}, func(c *cell, told error) error {
			return c.wired(told == nil, false)
		}},
		{"health check", func(c *cell) {
			c.sick = true
			running(c)
			c.Eventually(c.name+" to be well", func() error { return c.well(ctx, time.Time{}) })
			var err error
			c.probed, err = c.probe(ctx)
			c.must(err)
		}, func(c *cell) error { // some probes, and nothing else: how often pierd is asked meanwhile is up to the scheduler
			begun := func() int {
				text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/probes", c.pid))
				return len(text)
			}
			before := begun()
			return soon(func() error {
				if begun() < before+3 && unix.Kill(c.Pid(), 0) == nil { // nobody else makes them
					return errors.New("no probes are made")
				}
				return nil
			})
		}, func(c *cell, told error) error {
			if err := c.well(ctx, c.probed); err != nil {
				return err
			}
			return c.works()
		}},
	}
}

// ranScript is the script of an exec that leaves a trace of each time that it is run.
const ranScript = "echo ran >>/ran; echo done; exit 3"

// ranOnce wants it to have run once, or, where it failed, not more than once.
func ranOnce(c *cell, told error) error {
	times, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/ran", c.pid))
	if n := strings.Count(string(times), "ran\n"); told == nil && n != 1 || n > 1 {
		return fmt.Errorf("it ran %d times, %v", n, err)
	}
	return c.works()
}

// handMade makes a folder that is a checkpoint until the runtime looks into it.
func (c *cell) handMade() {
	c.t.Helper()
	c.must(os.Mkdir(c.folder+"/one", 0o700))
	c.must(os.WriteFile(c.folder+"/one/pier-container.json", []byte(`{"Version":1}`), 0o600))
}

// checkpoints reports whether the cell's checkpoint is there, and wants nothing half made or half removed.
func (c *cell) checkpoints(ctx context.Context) (whole bool, err error) {
	list, err := c.api.Checkpoints().List(ctx, c.id, c.folder)
	if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(c.folder)
	if err != nil || len(entries) != len(list) {
		return false, fmt.Errorf("%d checkpoints in a folder with %v, %w", len(list), entries, err)
	}
	if _, err := os.Lstat(c.Dir + "/data/containers/" + c.id + "/checkpoint.pending"); err == nil {
		return false, errors.New("the note of what is half done is there")
	}
	return len(list) > 0, nil
}

// build makes an image with one step that no build before has made.
func (c *cell) build(ctx context.Context) error {
	var context bytes.Buffer
	w := tar.NewWriter(&context)
	file := "FROM busybox\nRUN echo " + c.name + " >>/ran\n"
	c.must(w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(file))}))
	_, err := io.WriteString(w, file)
	c.must(errors.Join(err, w.Close()))
	progress, err := c.api.Images().Build(ctx, &context, url.Values{"t": {"built:" + c.name}}, nil)
	if err != nil {
		return err
	}
	defer progress.Close()
	text, err := io.ReadAll(progress)
	if err == nil && (strings.Contains(string(text), `"errorDetail"`) || !strings.Contains(string(text), "Successfully tagged")) {
		err = fmt.Errorf("the build ended with %s", text)
	}
	return err
}

// moves wants a running container to stand still or not, as pierd says, and uses it when it moves.
func (c *cell) moves(paused bool) error {
	if paused {
		if err := c.api.Containers().Pause(context.Background(), c.id, false); err != nil {
			return err
		}
	}
	return c.works()
}

// sideBridge is the bridge of a daemon's second network.
func sideBridge(daemon string) string { return daemon + "s" }

// side makes the daemon's second network, once.
func (c *cell) side() {
	c.t.Helper()
	_, err := c.api.Networks().Create(context.Background(), dnet.CreateRequest{Name: "side",
		Options: map[string]string{"com.docker.network.bridge.name": sideBridge(c.Name)}})
	if !errkind.Is(err, errkind.Conflict) {
		c.must(err)
	}
}

// wired compares the networks of a container's record with its interfaces. It is on the second one if want says so, or, where
// that is not sure, perhaps.
func (c *cell) wired(sure, want bool) error {
	in, err := c.api.Containers().Inspect(context.Background(), c.id)
	if err != nil {
		return err
	}
	on := in.NetworkSettings.Networks
	if second := on["side"] != nil; on["bridge"] == nil || sure && second != want {
		return fmt.Errorf("it is on %v", on)
	}
	var have strings.Builder
	for _, name := range []string{"bridge", "side"} {
		if e := on[name]; e != nil {
			fmt.Fprintf(&have, "inet %s\n", e.IPAddress)
		}
	}
	if err := c.exec("ip -o -4 addr | grep -v ' lo ' | grep -o 'inet [0-9.]*'", have.String(), 0); err != nil {
		return err
	}
	return c.works()
}

// opened compares the published port of a container's record, 81 if that is sure, else 80 or 81, with the kernel's rules.
func (c *cell) opened(sure bool) error {
	in, err := c.api.Containers().Inspect(context.Background(), c.id)
	if err != nil {
		return err
	}
	var have []string
	for port, bindings := range in.NetworkSettings.Ports {
		if _, asked := in.HostConfig.PortBindings[port]; asked != (len(bindings) > 0) {
			return fmt.Errorf("its ports are %v, and %v are asked for", in.NetworkSettings.Ports, in.HostConfig.PortBindings)
		}
		for _, b := range bindings {
			if b.HostIP.Is4() {
				have = append(have, fmt.Sprintf("tcp . %s : %s . %d", b.HostPort, in.NetworkSettings.Networks["bridge"].IPAddress, port.Num()))
			}
		}
	}
	if len(have) != 1 || sure && !strings.HasSuffix(have[0], " . 81") {
		return fmt.Errorf("its ports are %q", have)
	}
	rules, err := exec.Command("nft", "list", "map", "inet", "pier-"+c.Name, "any4").CombinedOutput()
	if err != nil || strings.Count(string(rules), " : ") != 2 || !strings.Contains(string(rules), have[0]) { // one is in the type
		return fmt.Errorf("its port is %q, the rules are %s, %v", have[0], rules, err)
	}
	return c.works()
}

// probe is when the last probe of the container began.
func (c *cell) probe(ctx context.Context) (time.Time, error) {
	in, err := c.api.Containers().Inspect(ctx, c.id)
	if err != nil || in.State.Health == nil || len(in.State.Health.Log) == 0 {
		return time.Time{}, fmt.Errorf("no probe was made, %w", err)
	}
	return in.State.Health.Log[len(in.State.Health.Log)-1].Start, nil
}

// well wants the container to be healthy by a probe after that one. One that was cut off counts neither way.
func (c *cell) well(ctx context.Context, after time.Time) error {
	in, err := c.api.Containers().Inspect(ctx, c.id)
	if err != nil || in.State.Health == nil {
		return fmt.Errorf("it has no health, %w", err)
	}
	h := in.State.Health
	if h.Status == container.Unhealthy || h.FailingStreak > 0 {
		c.t.Errorf("%s: it is %+v", c.name, *h)
	}
	if last, err := c.probe(ctx); err != nil || h.Status != container.Healthy || !last.After(after) {
		return fmt.Errorf("it is %s by the probe of %v, want one after %v, %w", h.Status, last, after, err)
	}
	return nil
}
