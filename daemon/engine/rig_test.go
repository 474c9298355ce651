package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/runtimetest"
	"pier/daemon/engine/internal/streams"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/network"
	"pier/daemon/store/record"
	"pier/daemon/volume"
	"pier/lib/feed"
	"pier/lib/id"
)

var runtimeBinary string // pier-runtime, built once

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(runtimetest.Main(m, &runtimeBinary))
}

// rig is a whole engine on real rooms, in folders, bridge and cgroups of its own.
type rig struct {
	t      testing.TB
	dir    string
	bridge string
	cgroup string
	events *feed.Feed[events.Message]

	*Engine
	durable, volatile *record.DB
	layers            *layer.Store
	networks          *network.Networks
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("containers need root")
	}
	short := id.New()[:6]
	r := &rig{t: t, dir: t.TempDir(), bridge: "pt" + short, cgroup: "/pier-test-" + short}
	r.open()
	t.Cleanup(r.destroy)
	r.image("busybox", nil)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// open opens all rooms on what is on disk, as a daemon that starts.
func (r *rig) open() {
	r.t.Helper()
	ctx := context.Background()
	var log *slog.Logger
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	} else {
		log = slog.New(slog.DiscardHandler)
	}
	data, run := filepath.Join(r.dir, "data"), filepath.Join(r.dir, "run")
	for _, d := range []string{data, run} {
		r.must(os.MkdirAll(d, 0o711))
	}
	var err error
	r.events = feed.New[events.Message](4096)
	r.durable, err = record.Open(filepath.Join(data, "pier.db"), record.Options{})
	r.must(err)
	r.volatile, err = record.Open(filepath.Join(run, "volatile.db"), record.Options{Volatile: true})
	r.must(err)
	r.layers, err = layer.Open(layer.Options{Root: filepath.Join(data, "layers")})
	r.must(err)
	images, err := image.Open(ctx, image.Options{Root: filepath.Join(data, "images"), Records: r.durable, Layers: r.layers})
	r.must(err)
	r.networks, err = network.Open(ctx, network.Options{Records: r.durable, Bridge: r.bridge, Log: log})
	r.must(err)
	volumes, err := volume.Open(volume.Options{Root: filepath.Join(data, "volumes"), Records: r.durable})
	r.must(err)
	keeper, err := custody.Open(ctx, custody.Options{Root: run, Binary: runtimeBinary, Log: log})
	r.must(err)
	r.Engine, err = Open(ctx, Options{Root: filepath.Join(data, "containers"), Durable: r.durable, Volatile: r.volatile, Images: images,
		Layers: r.layers, Networks: r.networks, Volumes: volumes, Custody: keeper, Events: r.events, CgroupParent: r.cgroup, Log: log})
	r.must(err)
}

// close closes all rooms and leaves containers and the supervisor running.
func (r *rig) close() {
	r.t.Helper()
	r.must(r.Engine.Close())
	r.must(r.o.Custody.Close())
	r.must(r.networks.Close())
	r.must(r.layers.Close())
	r.must(r.durable.Close())
	r.must(r.volatile.Close())
}

// destroy removes everything and looks at what is left: nothing may be.
func (r *rig) destroy() {
	ctx := context.Background()
	for _, c := range r.index.All() {
		if err := r.Containers().Remove(ctx, c.id, RemoveOptions{Force: true, Volumes: true}); err != nil {
			r.t.Errorf("remove %s: %v", c.id, err)
		}
	}
	r.must(r.Engine.Close())
	tasks, err := r.o.Custody.Tasks(ctx)
	if err != nil || len(tasks) != 0 {
		r.t.Errorf("tasks are left: %v, %v", tasks, err)
	}
	if err := r.o.Custody.Shutdown(ctx); err != nil {
		r.t.Errorf("shutdown: %v", err)
	}
	_ = r.o.Custody.Close()
	if err := r.networks.Destroy(ctx); err != nil {
		r.t.Errorf("networks: %v", err)
	}
	r.must(r.layers.Close())
	for _, d := range []string{"data/containers", "run/tasks"} {
		if entries, _ := os.ReadDir(filepath.Join(r.dir, d)); len(entries) != 0 {
			r.t.Errorf("%s holds %v", d, entries)
		}
	}
	if left, _ := r.layers.Writables(); len(left) != 0 {
		r.t.Errorf("writable layers are left: %v", left)
	}
	r.must(r.durable.Close())
	r.must(r.volatile.Close())
	r.noTraces()
}

// noTraces looks for mounts and cgroups of the rig's.
func (r *rig) noTraces() {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), r.dir) {
		r.t.Errorf("mounts of %s are left", r.dir)
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + r.cgroup)
	for _, d := range append(dirs, "/sys/fs/cgroup"+r.cgroup) {
		if below, _ := filepath.Glob(filepath.Join(d, "*", "tasks")); len(below) > 0 {
			r.t.Errorf("cgroups are left: %v", below)
		}
		_ = os.Remove(d)
	}
}

// image makes an image called name with busybox in it.
func (r *rig) image(name string, change func(c *dockerspec.DockerOCIImageConfig)) {
	r.t.Helper()
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		r.t.Fatal("these tests need a static busybox (Debian's busybox-static)")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		r.must(w.WriteHeader(&h))
		_, err := io.WriteString(w, content)
		r.must(err)
	}
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "root", "data"} {
		add(tar.Header{Name: d + "/", Typeflag: tar.TypeDir}, "")
	}
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, "")
	add(tar.Header{Name: "bin/busybox"}, string(box))
	for _, l := range []string{"sh", "true", "false", "cat", "echo", "sleep", "ls", "id", "env", "hostname", "kill", "ps", "stat", "mkdir", "wc", "dd", "grep", "ip", "touch", "mount", "ulimit", "yes", "head", "seq", "stty", "readlink", "chmod", "nc", "wget", "test", "usleep"} {
		add(tar.Header{Name: "bin/" + l, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, "")
	}
	add(tar.Header{Name: "bin/notexec", Mode: 0o644}, "#!/bin/sh\n")
	add(tar.Header{Name: "bin/garbage"}, "\x7fELFgarbage")
	add(tar.Header{Name: "data/seed"}, "from the image\n")
	add(tar.Header{Name: "etc/passwd", Mode: 0o644}, "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
	add(tar.Header{Name: "etc/group", Mode: 0o644}, "root:x:0:\napp:x:1001:\nextra:x:2000:app\n")
	r.must(w.Close())
	config := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}}
	if change != nil {
		change(&config)
	}
	_, err = r.o.Images.Import(context.Background(), &b, image.ImportOptions{Ref: name, Config: &config})
	r.must(err)
}

type setup func(c *container.Config, h *container.HostConfig)

// create makes a container of busybox.
func (r *rig) create(name string, f setup, cmd ...string) string {
	r.t.Helper()
	c, h := &container.Config{Image: "busybox", Cmd: cmd}, &container.HostConfig{NetworkMode: "none"}
	if f != nil {
		f(c, h)
	}
	res, err := r.Containers().Create(context.Background(), CreateRequest{Name: name, Config: c, HostConfig: h})
	r.must(err)
	return res.ID
}

// run creates and starts a container, waits for its end and returns its output and exit code.
func (r *rig) run(f setup, cmd ...string) (out string, code int) {
	r.t.Helper()
	cid := r.create("", f, cmd...)
	out, code, err := r.finish(cid)
	r.must(err)
	return out, code
}

func (r *rig) finish(cid string) (string, int, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	row := r.index.Get(cid).row()
	s, err := r.Streams().Attach(ctx, cid, AttachOptions{Stream: true, Stdout: true, Stderr: true})
	r.must(err)
	defer s.Close()
	cond := container.WaitConditionNextExit
	if row.Host.AutoRemove {
		cond = container.WaitConditionRemoved
	}
	w, err := r.Containers().Wait(ctx, cid, cond)
	r.must(err)
	if err := r.Containers().Start(ctx, cid); err != nil {
		return "", 0, err
	}
	out := r.read(s)
	res, ok := <-w
	if !ok {
		r.t.Fatalf("container %s did not end in time; its output: %s", cid, out)
	}
	return out, res.ExitCode, nil
}

// read returns all output that comes of a stream.
func (r *rig) read(s *Stream) string {
	r.t.Helper()
	var b bytes.Buffer
	var err error
	if s.Terminal {
		_, err = io.Copy(&b, s)
	} else {
		err = streams.Split(s, &b, &b)
	}
	r.must(err)
	return b.String()
}

// eventually waits for something that happens in the background.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	buf := make([]byte, 1<<16)
	r.t.Fatalf("%s did not happen\n%s", what, buf[:runtime.Stack(buf, true)])
}

func (r *rig) inspect(ref string) container.InspectResponse {
	r.t.Helper()
	i, err := r.Containers().Inspect(context.Background(), ref, false)
	r.must(err)
	return i.InspectResponse
}

// ready waits until the container has printed "ready".
func (r *rig) ready(cid string) {
	r.t.Helper()
	r.eventually("ready", func() bool {
		b, _ := os.ReadFile(r.logPath(cid))
		return bytes.Contains(b, []byte("ready"))
	})
}

// id is the identifier of the container called name.
func (r *rig) id(name string) string {
	r.t.Helper()
	id, err := r.identify(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}
