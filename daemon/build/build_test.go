package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"pier/daemon/build"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/store/record"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
)

// world is a builder on scratch folders with a base image "base:latest" that holds busybox.
type world struct {
	t       testing.TB
	dir     string
	db      *record.DB
	layers  *layer.Store
	images  *image.Store
	builder *build.Builder
	steps   *chroot
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they mount overlays")
	}
	w := &world{t: t, dir: t.TempDir(), steps: &chroot{}}
	w.open()
	w.importBase("base:latest", nil)
	t.Cleanup(func() {
		w.close()
		w.checkClean()
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.db, err = record.Open(filepath.Join(w.dir, "pier.db"), record.Options{})
	w.must(err)
	w.layers, err = layer.Open(layer.Options{Root: filepath.Join(w.dir, "layers")})
	w.must(err)
	w.images, err = image.Open(context.Background(), image.Options{Root: filepath.Join(w.dir, "images"), Records: w.db, Layers: w.layers})
	w.must(err)
	w.builder, err = build.Open(build.Options{
		Root: filepath.Join(w.dir, "build"), Images: w.images, Layers: w.layers, Steps: w.steps, Records: w.db,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	w.must(err)
}

func (w *world) close() {
	w.must(w.builder.Close())
	w.must(w.layers.Close())
	w.must(w.db.Close())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// checkClean looks for mounts, running marks and writable layers that are left.
func (w *world) checkClean() {
	w.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	w.must(err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, w.dir) {
			w.t.Errorf("mount left: %s", line)
		}
	}
	for _, dir := range []string{"build/tmp/mnt", "build/running", "layers/writable", "layers/containers"} {
		entries, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil && !os.IsNotExist(err) {
			w.t.Error(err)
		}
		for _, e := range entries {
			w.t.Errorf("left in %s: %s", dir, e.Name())
		}
	}
}

// importBase makes an image with busybox and a few users.
func (w *world) importBase(name string, config *dockerspec.DockerOCIImageConfig) {
	w.t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	w.must(err)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	dirs := []string{"bin", "etc", "tmp", "root", "home", "home/app"}
	for _, d := range dirs {
		w.must(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755, ModTime: time.Unix(1e9, 0)}))
	}
	add := func(name, content string, mode int64) {
		w.must(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(1e9, 0)}))
		_, err := io.WriteString(tw, content)
		w.must(err)
	}
	add("bin/busybox", string(busybox), 0o755)
	add("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n", 0o644)
	add("etc/group", "root:x:0:\napp:x:1001:\nstaff:x:50:\n", 0o644)
	for _, applet := range strings.Fields("sh cat echo ls mkdir rm true false sleep touch stat test env id pwd ln cp find grep head mount dd seq printf readlink chmod sha256sum wc date sort kill") {
		w.must(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}))
	}
	w.must(tw.Close())
	if config == nil {
		config = &dockerspec.DockerOCIImageConfig{}
		config.Env = []string{"PATH=/bin"}
		config.Cmd = []string{"sh"}
	}
	_, err = w.images.Import(context.Background(), &buf, image.ImportOptions{Ref: name, Config: config})
	w.must(err)
}

// chroot runs steps by chroot(8): enough to see what a build does with files, mounts and codes.
type chroot struct {
	mu      sync.Mutex
	ran     []string // commands, in the order in which they began
	request []engine.StepRequest
}

func (c *chroot) Step(ctx context.Context, r engine.StepRequest) (code int, err error) {
	c.mu.Lock()
	c.ran = append(c.ran, r.Args[len(r.Args)-1])
	c.request = append(c.request, r)
	c.mu.Unlock()
	dir, err := os.MkdirTemp("", "pier-step-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir)
	inRoot := fsroot.FromFile(r.Rootfs)
	root, err := mount.OpenTreeAt(r.Rootfs, "", true)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	attached := []string{}
	defer func() {
		for _, p := range slices.Backward(attached) {
			err = firstOf(err, mount.Unmount(p, true))
		}
	}()
	attach := func(f *os.File, path string) error {
		defer f.Close()
		if err := mount.Attach(f, path); err != nil {
			return err
		}
		attached = append(attached, path)
		return nil
	}
	if err := attach(root, dir); err != nil {
		return 0, err
	}
	for _, m := range r.Mounts {
		place, err := c.point(inRoot, m.Source, m.Destination)
		if err != nil {
			return 0, err
		}
		place = filepath.Join(dir, place)
		var f *os.File
		if m.Type == "tmpfs" {
			f, err = mount.Filesystem("tmpfs", nil, 0)
		} else if f, err = mount.OpenTree(m.Source, false); err == nil && slices.Contains(m.Options, "ro") {
			err = mount.SetAttr(f, false, mount.ReadOnly, 0)
		}
		if err != nil {
			return 0, err
		}
		if err := attach(f, place); err != nil {
			return 0, err
		}
	}
	if err := inRoot.MkdirAll(r.Cwd, 0o755, 0, 0); err != nil {
		return 0, err
	}
	args := append([]string{"chroot", dir, "/bin/busybox", "env", "-i"}, r.Env...)
	args = append(args, "/bin/sh", "-c", `cd "$0" && exec "$@"`, r.Cwd)
	cmd := exec.CommandContext(ctx, "/bin/busybox", append(args, r.Args...)...)
	cmd.Stdout, cmd.Stderr = r.Stdout, r.Stderr
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// point makes a mount point, inside the root whatever links are there.
func (c *chroot) point(root *fsroot.Root, source, place string) (string, error) {
	fi, err := os.Stat(source)
	if err == nil && !fi.IsDir() {
		if err := root.MkdirAll(filepath.Dir(place), 0o755, 0, 0); err != nil {
			return "", err
		}
		f, err := root.OpenFile(place, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return "", err
		}
		return place, f.Close()
	}
	if err := root.MkdirAll(place, 0o755, 0, 0); err != nil {
		return "", err
	}
	return root.Resolve(place)
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// take returns the commands run since the last call.
func (c *chroot) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran := c.ran
	c.ran = nil
	slices.Sort(ran)
	return ran
}

// files is a context: name -> content. A name that ends with "/" is a directory, a content that begins with "-> " a link.
type files map[string]string

func contextTar(t testing.TB, f files) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	names := make([]string, 0, len(f))
	for n := range f {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o644, Size: int64(len(f[n])), ModTime: time.Unix(1.5e9, 0)}
		if strings.HasSuffix(n, "/") {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		} else if target, ok := strings.CutPrefix(f[n], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		} else if strings.HasPrefix(f[n], "#!") && n != "Dockerfile" {
			h.Mode = 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(tw, f[n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// text renders events as the classic builder does.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (x *text) event(e build.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e.Kind {
	case build.StepStarted:
		fmt.Fprintf(&x.b, "Step %d/%d : %s\n", e.Step, e.Total, e.Name)
	case build.StepCached:
		x.b.WriteString(" ---> Using cache\n")
	case build.StepLog:
		x.b.Write(e.Data)
	case build.StepFailed:
		fmt.Fprintf(&x.b, "failed: %s\n", e.Err)
	}
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// build runs one build of the files; change may adapt the request.
func (w *world) build(f files, change func(*build.Request)) (build.Result, string, error) {
	w.t.Helper()
	out := new(text)
	req := build.Request{Context: contextTar(w.t, f), Progress: out.event}
	if change != nil {
		change(&req)
	}
	res, err := w.builder.Build(context.Background(), req)
	return res, out.String(), err
}

// mustBuild builds and returns the image.
func (w *world) mustBuild(f files, change func(*build.Request)) (*image.Image, string) {
	w.t.Helper()
	res, out, err := w.build(f, change)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	img, err := w.images.Get(res.ImageID)
	w.must(err)
	return img, out
}

// read returns a file of an image; sh runs a command in it instead.
func (w *world) sh(img *image.Image, script string) string {
	w.t.Helper()
	wr, err := w.layers.NewWritable("look")
	w.must(err)
	defer w.layers.RemoveWritable("look")
	m, err := w.layers.Mount(img.Chain, &wr, layer.MountOptions{Volatile: true})
	w.must(err)
	defer m.Close()
	var out bytes.Buffer
	code, err := (&chroot{}).Step(context.Background(), engine.StepRequest{
		Rootfs: m, Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/", Stdout: &out, Stderr: &out,
	})
	w.must(err)
	if code != 0 {
		w.t.Fatalf("%s: code %d: %s", script, code, out.String())
	}
	return out.String()
}

func TestFirst(t *testing.T) {
	w := newWorld(t)
	f := files{
		"Dockerfile": "FROM base\nENV A=1\nWORKDIR /app\nCOPY hello.txt dir ./\nRUN cat hello.txt && echo hi > made\nCMD [\"sh\"]\n",
		"hello.txt":  "hello\n", "dir/": "", "dir/x": "x\n",
	}
	img, out := w.mustBuild(f, func(r *build.Request) { r.Tags = []string{"web"} })
	t.Log(out)
	if got := w.sh(img, "cd app; find . | sort; cat made"); got != ".\n./hello.txt\n./made\n./x\nhi\n" {
		t.Error(got)
	}
	again, out := w.mustBuild(f, nil)
	t.Log(out)
	if again.ID != img.ID {
		t.Errorf("cached build made %s, not %s", again.ID, img.ID)
	}
}

func asStep(err error, step **build.StepError) bool { return errors.As(err, step) }
