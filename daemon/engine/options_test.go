package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/process"
	"pier/lib/errkind"
)

// TestInit: the init is the first process, hands on signals and exit codes, reaps, and is seen nowhere.
func TestInit(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	with := func(_ *container.Config, h *container.HostConfig) {
		yes := true
		h.Init = &yes
	}
	out, code := r.run(with, "sh", "-c", "cat /proc/1/comm; echo $$; (sleep 0.01 &); exit 7")
	if out != "docker-init\n2\n" || code != 7 {
		t.Errorf("%q, exit code %d", out, code)
	}
	if _, _, err := r.finish(r.create("", with, "nosuch")); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("a missing command: %v", err)
	}
	if _, _, err := r.finish(r.create("", with, "/bin/notexec")); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a file that is not executable: %v", err)
	}
	if out, code := r.run(with, "/bin/garbage"); code != 126 || !strings.Contains(out, "cannot execute") {
		t.Errorf("garbage: %q, exit code %d", out, code)
	}
	cid := r.create("deaf", with, "sh", "-c", "(while :; do sleep 0.01; done) & echo ready; exec sleep 1000")
	r.must(r.Containers().Start(ctx, cid))
	r.ready(cid)
	var report StopReport
	r.must(r.Containers().Stop(ctx, cid, StopOptions{Report: &report}))
	if s := r.inspect(cid).State; report.Unheard != "" || s.ExitCode != 143 {
		t.Errorf("sleep below an init dies of SIGTERM: exit code %d, unheard %q", s.ExitCode, report.Unheard)
	}
	out, _ = r.run(func(c *container.Config, h *container.HostConfig) {
		with(c, h)
		c.Tty = true
	}, "sh", "-c", "ps -o pid,pgid,tty | grep -v PID")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); f[0] == "2" && f[1] != "2" {
			t.Errorf("the command is in the init's process group: %q", out)
		}
	}
}

// on is the address that a container has on a network, "" for none.
func (r *rig) on(cid, net string) string {
	if ep := r.inspect(cid).NetworkSettings.Networks[net]; ep != nil && ep.IPAddress.IsValid() {
		return ep.IPAddress.String()
	}
	return ""
}

// exec runs a command in a container and returns its output.
func (r *rig) exec(cid string, cmd ...string) string {
	r.t.Helper()
	row := r.index.Get(cid).row()
	probe := process.Probe{Command: cmd}
	ask, err := probe.Ask(&r.filters, process.ExecInput{Pid: row.Pid, StartTime: row.StartTime, Config: row.Config, Host: row.Host, Want: container.ExecCreateRequest{Cmd: cmd}})
	r.must(err)
	ask.ID, ask.Timeout, ask.Limit = cid, time.Minute, 1<<16
	var out string
	custody.Probes(context.Background(), r.o.Custody, []shim.Probe{ask}, func(_ int, ended *shim.Probed, err error) {
		r.must(err)
		out = string(ended.Output)
	})
	return out
}

// TestChangingNetworks connects and disconnects a container that runs, across a restart of the daemon and its own.
func TestChangingNetworks(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	for _, n := range []string{"one", "two"} {
		_, err := r.networks.Create(ctx, network.CreateRequest{Name: n})
		r.must(err)
		t.Cleanup(func() { _ = r.networks.Remove(ctx, n) })
	}
	peer := r.create("peer", func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "two" }, "sleep", "1000")
	cid := r.create("moves", func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "one" }, "sleep", "1000")
	for _, c := range []string{peer, cid} {
		r.must(r.Containers().Start(ctx, c))
	}
	e := r.Endpoints()
	r.must(e.Connect(ctx, "moves", "two", &network.EndpointSettings{Aliases: []string{"also"}}))
	address := r.on(cid, "two")
	if out := r.exec(cid, "ip", "-o", "-4", "addr"); address == "" || !strings.Contains(out, "eth1    inet "+address+"/") {
		t.Fatalf("%s is not in %q", address, out)
	}
	if hosts := r.exec(cid, "cat", "/etc/hosts"); !strings.Contains(hosts, address+"\t") {
		t.Errorf("/etc/hosts: %q", hosts)
	}
	if out := r.exec(peer, "busybox", "ping", "-c", "1", "also"); !strings.Contains(out, address) {
		t.Errorf("the alias: %q", out)
	}
	if err := e.Connect(ctx, cid, "two", nil); !errkind.Is(err, errkind.Forbidden) {
		t.Errorf("twice: %v", err)
	}
	if err := e.Connect(ctx, cid, "host", nil); !errkind.Is(err, errkind.Forbidden) {
		t.Errorf("the host's network: %v", err)
	}

	r.close()
	r.open()
	e = r.Endpoints()
	r.must(e.Disconnect(ctx, cid, "one", false))
	if out := r.exec(cid, "ip", "-o", "-4", "addr"); strings.Contains(out, "eth0") || !strings.Contains(out, address) {
		t.Errorf("after leaving: %q", out)
	}
	if route := r.exec(cid, "ip", "route"); !strings.Contains(route, "default via") || !strings.Contains(route, "eth1") {
		t.Errorf("the way out: %q", route)
	}
	if err := e.Disconnect(ctx, cid, "one", false); !errkind.Is(err, errkind.Forbidden) {
		t.Errorf("not connected: %v", err)
	}
	r.must(e.Disconnect(ctx, cid, "one", true))
	r.must(r.Containers().Restart(ctx, cid, StopOptions{Signal: "KILL"}))
	if r.on(cid, "one") != "" || r.on(cid, "two") == "" {
		t.Errorf("after a restart: %+v", r.inspect(cid).NetworkSettings.Networks)
	}
	r.must(e.Disconnect(ctx, cid, "two", false))
	r.must(r.Containers().Kill(ctx, cid, ""))
	r.must(r.Containers().Start(ctx, cid))
	if out := r.exec(cid, "ls", "/sys/class/net"); out != "lo\n" {
		t.Errorf("on no network: %q", out)
	}
	for _, c := range []string{peer, cid} {
		r.must(r.Containers().Kill(ctx, c, ""))
	}
}

// TestLinks: legacy links on the default bridge, renewed when the other container has another address.
func TestLinks(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	bridge := func(links ...string) setup {
		return func(c *container.Config, h *container.HostConfig) {
			h.NetworkMode, h.Links = "bridge", links
		}
	}
	db := r.create("db", func(c *container.Config, h *container.HostConfig) {
		h.NetworkMode = "bridge"
		c.Env = []string{"PASS=x"}
		c.ExposedPorts = network.PortSet{network.MustParsePort("5432/tcp"): {}}
	}, "sleep", "1000")
	if _, _, err := r.finish(r.create("early", bridge("db"), "env")); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a link to a container that does not run: %v", err)
	}
	r.must(r.Containers().Start(ctx, db))
	address := r.on(db, "bridge")
	out, _ := r.run(bridge("db:my-db"), "env")
	for _, want := range []string{"MY_DB_PORT=tcp://" + address + ":5432", "MY_DB_PORT_5432_TCP_ADDR=" + address, "MY_DB_ENV_PASS=x"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %s in %q", want, out)
		}
	}
	web := r.create("web", bridge("db:store"), "sleep", "1000")
	r.must(r.Containers().Start(ctx, web))
	if links := r.inspect(web).HostConfig.Links; !slices.Equal(links, []string{"/db:/web/store"}) {
		t.Errorf("inspect: %q", links)
	}
	r.must(r.Containers().Restart(ctx, db, StopOptions{Signal: "KILL"}))
	r.eventually("the new address", func() bool {
		hosts := r.exec(web, "cat", "/etc/hosts")
		return strings.Contains(hosts, r.on(db, "bridge")+"\tstore\n") && strings.Count(hosts, "\tstore\n") == 1
	})
	r.must(r.Containers().Remove(ctx, "web/store", RemoveOptions{Link: true}))
	if links := r.inspect(web).HostConfig.Links; len(links) != 0 {
		t.Errorf("after its removal: %q", links)
	}
	for _, bad := range []string{"", "nosuch:x", "db:a:b", "db:a b"} {
		_, err := r.Containers().Create(ctx, CreateRequest{Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{Links: []string{bad}}})
		if !errkind.Is(err, errkind.Invalid) {
			t.Errorf("link %q: %v", bad, err)
		}
	}
}

// TestDescribedDevices injects what a CDI description says: a node, a mount, a variable, a hook before the root changes.
func TestDescribedDevices(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook.sh")
	r.must(os.WriteFile(hook, []byte("#!/bin/sh\nbundle=$(sed -E 's/.*\"bundle\":\"([^\"]*)\".*/\\1/')\necho hooked >$bundle/rootfs/hooked\n"), 0o700))
	r.must(os.WriteFile(filepath.Join(dir, "v.yaml"), fmt.Appendf(nil, `
cdiVersion: "0.6.0"
kind: vendor.com/class
devices:
- name: one
  containerEdits:
    env: [ONE=yes]
    deviceNodes: [{path: /dev/one, hostPath: /dev/full}]
    mounts: [{hostPath: %s, containerPath: /opt/hook, options: [ro, bind]}]
    hooks: [{hookName: createContainer, path: %s}]
`, hook, hook), 0o600))
	r.must(os.WriteFile(filepath.Join(dir, "g.json"), []byte(`{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
		{"name": "all", "containerEdits": {"env": ["GPU=all"]}}, {"name": "0", "containerEdits": {"env": ["GPU=0"]}}]}`), 0o600))
	r.o.CDIDirs = []string{dir}
	asks := func(q container.DeviceRequest) setup {
		return func(_ *container.Config, h *container.HostConfig) { h.DeviceRequests = []container.DeviceRequest{q} }
	}
	out, code := r.run(asks(container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"vendor.com/class=one"}}),
		"sh", "-c", "echo $ONE; stat -c %t:%T /dev/one; test -f /opt/hook && cat /hooked; head -c 1 /dev/one | wc -c")
	if out != "yes\n1:7\nhooked\n1\n" || code != 0 {
		t.Errorf("%q, exit code %d", out, code)
	}
	gpu := [][]string{{"gpu"}}
	for want, q := range map[string]container.DeviceRequest{"all": {Count: -1, Capabilities: gpu}, "0": {Count: 1, Driver: "nvidia", Capabilities: gpu}} {
		if out, _ := r.run(asks(q), "sh", "-c", "echo $GPU"); out != want+"\n" {
			t.Errorf("%+v: %q", q, out)
		}
	}
	for _, q := range []container.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"vendor.com/class=two"}}, {Driver: "cdi"},
		{Driver: "amd", Count: 1, Capabilities: gpu}, {Count: 1, Capabilities: [][]string{{"tpu"}}}, {Count: 1, DeviceIDs: []string{"0"}, Capabilities: gpu},
		{Count: 1 << 62, Capabilities: gpu}} {
		cid := r.create("", asks(q), "true")
		if err := r.Containers().Start(ctx, cid); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	broken := filepath.Join(dir, "g.json")
	r.must(os.WriteFile(broken, []byte("{"), 0o600))
	err := r.Containers().Start(ctx, r.create("", asks(container.DeviceRequest{Count: -1, Capabilities: gpu}), "true"))
	for _, want := range []string{"could not select device driver", "nvidia.com/gpu or amd.com/gpu", "in " + dir, broken + " cannot be read"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a broken description: %v: want %q", err, want)
		}
	}
}

// TestOtherRuntime runs containers by runc through the same supervisor.
func TestOtherRuntime(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal("this test needs runc (Debian's runc)")
	}
	r := newRig(t)
	ctx := context.Background()
	script, environment := filepath.Join(r.dir, "runtime"), filepath.Join(r.dir, "environment")
	r.must(os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\ncat /proc/$$/environ >>%s\nexec %s \"$@\"\n", environment, runc), 0o755))
	r.o.Runtimes = map[string]shim.Runtime{"other": {Name: "other", Path: script}, "gone": {Name: "gone", Path: "/nosuch/runtime"}}
	r.host.Runtimes = []string{"other", "gone"}
	other := func(c *container.Config, h *container.HostConfig) { h.Runtime, h.NetworkMode = "other", "bridge" }
	out, code := r.run(other, "sh", "-c", "cat /proc/self/oom_score_adj; grep Seccomp: /proc/self/status; ls /sys/class/net; exit 7")
	if out != "0\nSeccomp:\t2\neth0\nlo\n" || code != 7 {
		t.Errorf("%q, exit code %d", out, code)
	}
	if text, err := os.ReadFile(environment); err != nil || strings.Trim(strings.ReplaceAll(string(text), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ""), "\x00") != "" {
		t.Errorf("the runtime inherits %q, %v", text, err)
	}
	if out, _ := r.run(func(c *container.Config, h *container.HostConfig) {
		other(c, h)
		c.Tty = true
	}, "sh", "-c", "test -t 1 && echo terminal"); out != "terminal\r\n" {
		t.Errorf("with a terminal: %q", out)
	}
	for _, cmd := range []string{"nosuch", "/bin/notexec"} {
		if _, _, err := r.finish(r.create("", other, cmd)); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", cmd, err)
		}
	}
	cid := r.create("lives", other, "sleep", "1000")
	r.must(r.Containers().Start(ctx, cid))
	if out := r.exec(cid, "cat", "/proc/1/comm"); out != "sleep\n" {
		t.Errorf("exec: %q", out)
	}
	r.must(r.Containers().Pause(ctx, cid))
	r.must(r.Containers().Unpause(ctx, cid))
	r.close()
	r.open()
	if s := r.inspect(cid).State; !s.Running {
		t.Errorf("after a restart of the daemon: %+v", s)
	}
	r.must(r.Containers().Kill(ctx, cid, ""))
	if s := r.inspect(cid).State; s.ExitCode != 137 {
		t.Errorf("killed: %+v", s)
	}
	r.o.Runtimes = map[string]shim.Runtime{"gone": {Name: "gone", Path: "/nosuch/runtime"}}
	r.host.Runtimes = []string{"gone"}
	gone := r.create("", func(_ *container.Config, h *container.HostConfig) { h.Runtime = "gone" }, "true")
	if err := r.Containers().Start(ctx, gone); err == nil || !strings.Contains(err.Error(), "/nosuch/runtime") {
		t.Errorf("a runtime that is not installed: %v", err)
	}
	if _, err := r.Containers().Create(ctx, CreateRequest{Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{Runtime: "unknown"}}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("a runtime that is not registered: %v", err)
	}
	r.close()
	r.o.Runtimes = nil
	r.open()
	if err := r.Containers().Start(ctx, cid); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("a runtime that is registered no more: %v", err)
	}
}

// TestImageMount shows another image's files, in a container that runs and in one that does not, across a restart.
func TestImageMount(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	at := func(source, sub string) setup {
		return func(_ *container.Config, h *container.HostConfig) {
			m := mount.Mount{Type: mount.TypeImage, Source: source, Target: "/img"}
			if sub != "" {
				m.ImageOptions = &mount.ImageOptions{Subpath: sub}
			}
			h.Mounts = []mount.Mount{m}
		}
	}
	if out, _ := r.run(at("busybox", ""), "sh", "-c", "cat /img/data/seed; touch /img/x"); !strings.Contains(out, "from the image\n") || !strings.Contains(out, "Read-only") {
		t.Errorf("%q", out)
	}
	if out, _ := r.run(at("busybox", "data"), "ls", "/img"); out != "seed\n" {
		t.Errorf("a part of it: %q", out)
	}
	cid := r.create("keeps", at("busybox", ""), "sleep", "1000")
	if s, err := r.Files().Stat(ctx, cid, "/img/data/seed"); err != nil || s.Size != int64(len("from the image\n")) {
		t.Errorf("before its start: %+v, %v", s, err)
	}
	r.must(r.Containers().Start(ctx, cid))
	r.close()
	r.open()
	if out := r.exec(cid, "cat", "/img/data/seed"); out != "from the image\n" {
		t.Errorf("after a restart of the daemon: %q", out)
	}
	r.must(r.Containers().Kill(ctx, cid, ""))
	r.noMounts()
	if _, err := r.Containers().Create(ctx, CreateRequest{Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{
		Mounts: []mount.Mount{{Type: mount.TypeImage, Source: "nosuch", Target: "/img"}}}}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("an image that is not here: %v", err)
	}
}

// noMounts waits until nothing is mounted in the containers' folders.
func (r *rig) noMounts() {
	r.t.Helper()
	r.eventually("unmounting", func() bool {
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		return !strings.Contains(string(mounts), filepath.Join(r.dir, "data/containers"))
	})
}
