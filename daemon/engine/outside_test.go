package engine

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"

	"pier/lib/errkind"
)

// outside makes and starts a container that is checked by test often.
func (r *rig) outside(name string, test []string, f setup, cmd ...string) string {
	r.t.Helper()
	id := r.create(name, func(c *container.Config, h *container.HostConfig) {
		c.Healthcheck = &container.HealthConfig{Test: test, Interval: 30 * time.Millisecond, Retries: 2}
		if f != nil {
			f(c, h)
		}
	}, cmd...)
	r.must(r.Containers().Start(context.Background(), id))
	return id
}

func (r *rig) isHealth(name string, want container.HealthStatus) {
	r.t.Helper()
	r.eventually(name+" "+string(want), func() bool {
		h := r.inspect(name).State.Health // not there before a daemon that starts has come to it
		return h != nil && h.Status == want
	})
}

// said waits until the newest result of a health check is code and begins with output.
func (r *rig) said(name string, code int, output string) {
	r.t.Helper()
	var last container.HealthcheckResult
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if log := r.inspect(name).State.Health.Log; len(log) > 0 {
			if last = *log[len(log)-1]; last.ExitCode == code && strings.HasPrefix(last.Output, output) {
				return
			}
		}
	}
	r.t.Fatalf("the health log of %s ends with %+v; want %d, %q", name, last, code, output)
}

// shell runs a command in a running container, to its end.
func (r *rig) shell(name, command string) {
	r.t.Helper()
	ctx := context.Background()
	x, err := r.Execs().Create(ctx, name, container.ExecCreateRequest{Cmd: []string{"sh", "-c", command}})
	r.must(err)
	_, err = r.Execs().Start(ctx, x.ID, ExecStartOptions{Detach: true})
	r.must(err)
	r.eventually(command, func() bool {
		i, err := r.Execs().Inspect(ctx, x.ID)
		return err != nil || !i.Running
	})
}

const web = "echo fine > /tmp/well; exec busybox httpd -f -p 8080 -h /tmp"

// TestOutsideHealth checks containers without running anything in them.
func TestOutsideHealth(t *testing.T) {
	r := newRig(t)
	r.outside("web", []string{"HTTP", "http://:8080/well"}, nil, "sh", "-c", web)
	r.isHealth("web", container.Healthy)
	r.said("web", 0, "GET http://:8080/well: 200 OK\nfine\n")
	r.shell("web", "rm /tmp/well")
	r.isHealth("web", container.Unhealthy)
	r.said("web", 1, "GET http://:8080/well: 404 Not Found\n")
	r.shell("web", "echo again > /tmp/well")
	r.isHealth("web", container.Healthy)

	// A daemon that starts knows it, and goes on.
	r.close()
	r.open()
	if h := r.inspect("web").State.Health; h == nil || h.Status != container.Healthy || len(h.Log) == 0 {
		t.Errorf("health after the daemon's restart: %+v", h)
	}
	r.shell("web", "rm /tmp/well")
	r.isHealth("web", container.Unhealthy)

	// One that was paused is not asked, and is asked again.
	r.must(r.Containers().Pause(context.Background(), "web"))
	r.must(r.Containers().Unpause(context.Background(), "web"))
	r.shell("web", "echo again > /tmp/well")
	r.isHealth("web", container.Healthy)

	// The networks of others.
	r.outside("beside", []string{"TCP", ":8080"}, func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "container:web" }, "sleep", "600")
	r.said("beside", 0, "TCP :8080: connected")
	r.outside("alone", []string{"TCP", ":8080"}, nil, "sleep", "600")
	r.isHealth("alone", container.Unhealthy)
	r.said("alone", 1, "TCP :8080: connection refused")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	defer l.Close()
	port := ":" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	r.outside("host", []string{"TCP", port}, func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "host" }, "sleep", "600")
	r.said("host", 0, "TCP "+port+": connected")
	r.outside("bridged", []string{"TCP", port}, func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "bridge" }, "sleep", "600")
	r.said("bridged", 1, "TCP "+port+": connection refused")
	gateway := r.inspect("bridged").NetworkSettings.Networks["bridge"].Gateway.String() + port
	r.outside("reaching", []string{"TCP", gateway}, func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "bridge" }, "sleep", "600")
	r.said("reaching", 1, "TCP "+gateway+": "+gateway[:strings.LastIndexByte(gateway, ':')]+" is no address of the container")
}

// TestOutsideFile restarts a container whose file is missing.
func TestOutsideFile(t *testing.T) {
	r := newRig(t)
	r.outside("ready", []string{"FILE", "/tmp/ready"}, func(c *container.Config, h *container.HostConfig) {
		c.Healthcheck.StartPeriod, c.Healthcheck.StartInterval = 5*time.Minute, c.Healthcheck.Interval // the shell may take its time
		h.RestartPolicy.Name = "on-unhealthy"
	}, "sh", "-c", "trap exit TERM; ln -s nothing /tmp/ready; touch /tmp/nothing; while :; do usleep 10000; done")
	r.isHealth("ready", container.Healthy)
	r.said("ready", 0, "FILE /tmp/ready: found")
	r.shell("ready", "rm /tmp/nothing")
	r.eventually("the restart", func() bool {
		i := r.inspect("ready")
		return i.RestartCount == 1 && i.State.Running && i.State.Health.Status == container.Healthy
	})
	// Links of the container's lead nowhere else.
	r.outside("linked", []string{"FILE", "/tmp/out"}, nil, "sh", "-c", "busybox ln -s /proc/1/root"+r.dir+" /tmp/out; exec sleep 600")
	r.isHealth("linked", container.Unhealthy)
}

// TestOutsideImage takes a check from an image, which may name ports only.
func TestOutsideImage(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string][]string{"ports": {"HTTP", "http://localhost:8080/well"}, "elsewhere": {"TCP", "172.17.0.1:22"}} {
		r.image(name, func(c *dockerspec.DockerOCIImageConfig) {
			c.Healthcheck = &dockerspec.HealthcheckConfig{Test: test, Interval: 30 * time.Millisecond}
		})
	}
	r.outside("well", nil, func(c *container.Config, _ *container.HostConfig) { c.Image = "ports" }, "sh", "-c", web)
	r.isHealth("well", container.Healthy)
	req := CreateRequest{Name: "not", Config: &container.Config{Image: "elsewhere"}}
	if _, err := r.Containers().Create(context.Background(), req); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "an image may name ports only") {
		t.Errorf("a check elsewhere of an image: %v", err)
	}
	req.Config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	_, err := r.Containers().Create(context.Background(), req)
	r.must(err)
}
