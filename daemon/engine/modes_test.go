package engine

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dnet "github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

func TestSharedNamespaces(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	donor := r.create("donor", func(c *container.Config, h *container.HostConfig) {
		h.IpcMode, c.Hostname = "shareable", "donor-host"
	}, "sh", "-c", "echo shared > /dev/shm/f; echo ready; exec sleep 60")
	join := func(_ *container.Config, h *container.HostConfig) {
		h.NetworkMode, h.PidMode, h.IpcMode = "container:donor", "container:donor", "container:donor"
	}
	early := r.create("", join, "true")
	if err := r.Containers().Start(ctx, early); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("joining a container that does not run: %v", err)
	}
	r.must(r.Containers().Start(ctx, donor))
	r.ready(donor)
	r.eventually("sleep", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.inspect("donor").State.Pid))
		return string(b) == "sleep\n"
	})
	out, code := r.run(join, "sh", "-c", "cat /dev/shm/f; readlink /proc/self/ns/net; cat /proc/1/comm; hostname")
	netns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", r.inspect("donor").State.Pid))
	if want := "shared\n" + netns + "\nsleep\ndonor-host\n"; out != want || code != 0 {
		t.Errorf("%q, code %d; want %q", out, code, want)
	}
	own, _ := os.Readlink("/proc/self/ns/pid")
	out, _ = r.run(func(_ *container.Config, h *container.HostConfig) {
		h.PidMode, h.UTSMode, h.IpcMode, h.NetworkMode = "host", "host", "host", "host"
	},
		"sh", "-c", "readlink /proc/self/ns/pid; hostname")
	host, _ := os.Hostname()
	if out != own+"\n"+host+"\n" {
		t.Errorf("host namespaces: %q", out)
	}
}

// A container that is to be restarted waits for the one whose namespaces it joins, and can be stopped meanwhile.
func TestStopWhileDonorRestarts(t *testing.T) {
	r := newRig(t)
	donor := r.create("donor", nil, "sleep", "600")
	r.must(r.Containers().Start(t.Context(), donor))
	state := func(s lifecycle.State) {
		c := r.index.Get(donor)
		r.must(c.do(t.Context(), func() error { c.change(func(r *row) { r.Life.State = s }); return nil }))
	}
	side := r.create("side", func(_ *container.Config, h *container.HostConfig) {
		h.PidMode, h.RestartPolicy = "container:donor", container.RestartPolicy{Name: "always"}
	}, "sleep", "600")
	r.must(r.Containers().Start(t.Context(), side))
	state(lifecycle.Restarting)
	r.must(r.index.Get(side).do(t.Context(), func() error { return r.signal(r.index.Get(side), settings.SIGKILL, false) }))
	r.eventually("the restart is due", func() bool {
		l := r.index.Get(side).row().Life
		return l.State == lifecycle.Restarting && time.Since(l.FinishedAt) > 2*l.Backoff
	})
	within, cancel := context.WithTimeout(t.Context(), donorPatience/2)
	defer cancel()
	r.must(r.Containers().Stop(within, side, StopOptions{}))
	state(lifecycle.Running)
	if s := r.inspect(side).State; s.Running || s.Restarting {
		t.Errorf("it was stopped: %+v", s)
	}
}

// TestPublishedPort runs a server behind a published port, and then wants the same port again.
func TestPublishedPort(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r.must(l.Close())
	publish := func(c *container.Config, h *container.HostConfig) {
		h.NetworkMode = "bridge"
		p := dnet.MustParsePort("7000/tcp")
		c.ExposedPorts = dnet.PortSet{p: {}}
		h.PortBindings = dnet.PortMap{p: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: port}}}
	}
	r.create("web", publish, "sh", "-c", "while :; do echo hello | nc -l -p 7000; done")
	r.must(r.Containers().Start(ctx, "web"))
	r.eventually("an answer through the port", func() bool {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		b, _ := io.ReadAll(c)
		return string(b) == "hello\n"
	})
	list, err := r.Containers().List(ctx, ListOptions{Filters: Filters{"publish": {port}}})
	if err != nil || len(list) != 1 || len(list[0].Ports) != 1 || fmt.Sprint(list[0].Ports[0].PublicPort) != port {
		t.Errorf("list: %+v, %v", list, err)
	}
	r.create("second", publish, "true")
	if err := r.Containers().Start(ctx, "second"); err == nil || !strings.Contains(err.Error(), "port is already allocated") {
		t.Errorf("a port that is taken: %v", err)
	}
	r.must(r.Containers().Remove(ctx, "web", RemoveOptions{Force: true}))
	r.must(r.Containers().Start(ctx, "second"))
}

func TestList(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	label := func(v string) setup {
		return func(c *container.Config, _ *container.HostConfig) { c.Labels = map[string]string{"k": v} }
	}
	r.create("one", label("1"), "true")
	r.create("two", label("2"), "sleep", "60")
	r.create("three", nil, "sh", "-c", "exit 3")
	r.must(r.Containers().Start(ctx, "two"))
	_, _, err := r.finish(r.id("three"))
	r.must(err)
	for _, tt := range []struct {
		o    ListOptions
		want string
	}{
		{ListOptions{}, "two"},
		{ListOptions{All: true}, "three two one"},
		{ListOptions{Limit: 2}, "three two"},
		{ListOptions{All: true, Filters: Filters{"label": {"k"}}}, "two one"},
		{ListOptions{All: true, Filters: Filters{"label": {"k=1"}}}, "one"},
		{ListOptions{Filters: Filters{"status": {"created"}}}, "one"},
		{ListOptions{Filters: Filters{"exited": {"3"}}}, "three"},
		{ListOptions{All: true, Filters: Filters{"name": {"t"}}}, "three two"},
		{ListOptions{All: true, Filters: Filters{"name": {"^/one$"}}}, "one"},
		{ListOptions{All: true, Filters: Filters{"before": {"two"}}}, "one"},
		{ListOptions{All: true, Filters: Filters{"since": {"one"}}}, "three two"},
		{ListOptions{All: true, Filters: Filters{"ancestor": {"busybox"}, "network": {"none"}}}, "three two one"},
		{ListOptions{All: true, Filters: Filters{"ancestor": {"nosuch"}}}, ""},
		{ListOptions{All: true, Filters: Filters{"health": {"healthy"}}}, ""},
		{ListOptions{All: true, Filters: Filters{"is-task": {"true"}}}, ""},
		{ListOptions{All: true, Filters: Filters{"id": {r.id("two")[:20]}}}, "two"},
	} {
		got, err := r.Containers().List(ctx, tt.o)
		if err != nil {
			t.Errorf("%+v: %v", tt.o, err)
			continue
		}
		var names []string
		for _, s := range got {
			names = append(names, strings.TrimPrefix(s.Names[0], "/"))
		}
		if s := strings.Join(names, " "); s != tt.want {
			t.Errorf("%+v: %q, want %q", tt.o, s, tt.want)
		}
	}
	for _, bad := range []Filters{{"nosuch": {"x"}}, {"status": {"asleep"}}, {"exited": {"x"}}, {"publish": {"x"}}, {"is-task": {"maybe"}}} {
		if _, err := r.Containers().List(ctx, ListOptions{Filters: bad}); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("filter %v: %v", bad, err)
		}
	}
	report, err := r.Containers().Prune(ctx, Filters{"label!": {"k=1"}})
	if err != nil || len(report.ContainersDeleted) != 1 {
		t.Errorf("prune: %+v, %v", report, err)
	}
}

// TestIdleCost bounds what an idle container costs in the daemon, in heap and goroutines, with network and custody.
func TestIdleCost(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	const n = 40
	measure := func() (heap uint64, goroutines int) {
		time.Sleep(200 * time.Millisecond)
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	start := func(i int) {
		r.create(fmt.Sprintf("idle%d", i), func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "bridge" }, "sleep", "60")
		r.must(r.Containers().Start(ctx, fmt.Sprintf("idle%d", i)))
	}
	start(0)
	heap, goroutines := measure()
	for i := range n {
		start(i + 1)
	}
	r.eventually("an idle container costs at most 24 KiB of heap", func() bool { // once what started them is over
		heap2, goroutines2 := measure()
		each := (int64(heap2) - int64(heap)) / n
		t.Logf("%d bytes of heap and %.2f goroutines a container", each, float64(goroutines2-goroutines)/n)
		return each <= 24<<10
	})
}

// TestChurn looks for what a container leaves in the daemon: goroutines, descriptors.
func TestChurn(t *testing.T) {
	r := newRig(t)
	round := func() {
		for range 10 {
			r.run(func(_ *container.Config, h *container.HostConfig) { h.AutoRemove, h.NetworkMode = true, "bridge" }, "true")
		}
	}
	round()
	before, goroutines := quiet(t)
	for range 3 {
		round()
	}
	// Two things are kept for the next start, and how many of them depends on how many requests happened to be under way
	// at once: connections to the supervisor, at most 8 with the one there is, and network namespaces, at most 2, with the
	// second one's thread and its /proc/sys. All else is exactly as before. 30 runs would leave 30 of anything.
	kept := map[string]int{"socket": 7, "net": 2, "/proc/sys": 1}
	var after map[string]int
	var g int
	defer func() { t.Logf("before %v, %d goroutines; after %v, %d", before, goroutines, after, g) }()
	r.eventually("descriptors and goroutines are as before", func() bool {
		after, g = quiet(t)
		for kind, n := range after {
			if n > before[kind]+kept[kind] {
				return false
			}
		}
		return g <= goroutines+1
	})
}

// quiet waits until what goes on in the background is done: until no goroutine has come or gone for a while. It counts
// the open descriptors by what they are.
func quiet(t *testing.T) (fds map[string]int, goroutines int) {
	t.Helper()
	for calm := 0; calm < 25; calm++ {
		if n := runtime.NumGoroutine(); n != goroutines {
			goroutines, calm = n, 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	list, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	fds = map[string]int{}
	for _, f := range list {
		if name, err := os.Readlink(f); err == nil { // else it was that of the list itself
			kind, _, numbered := strings.Cut(name, ":[")
			if !numbered {
				kind = name
			}
			fds[kind]++
		}
	}
	return fds, goroutines
}

func counts(t *testing.T) (fds, goroutines int) {
	list, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	return len(list), runtime.NumGoroutine()
}

// TestAttachChurn attaches and leaves again and again.
func TestAttachChurn(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.create("talks", func(c *container.Config, _ *container.HostConfig) { c.OpenStdin = true }, "sh", "-c", "while :; do echo word; sleep 0.01; done")
	r.must(r.Containers().Start(ctx, "talks"))
	round := func() {
		for range 100 {
			s, err := r.Streams().Attach(ctx, "talks", AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
			r.must(err)
			_, _ = s.Write([]byte("x"))
			r.must(s.Close())
		}
	}
	round()
	fds, goroutines := counts(t)
	for range 3 {
		round()
	}
	r.eventually("descriptors and goroutines are as before", func() bool {
		f, g := counts(t)
		return f <= fds+3 && g <= goroutines+3
	})
}
