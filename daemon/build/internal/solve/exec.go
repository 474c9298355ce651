package solve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/build/internal/graph"
	"pier/daemon/engine"
	"pier/daemon/image/layer"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Limits bound the processes of exec operations; zero values do not bound.
type Limits = container.Resources

// ExitError is a process that ended with a code that the operation does not accept.
type ExitError struct {
	Args []string
	Code int
	Tail []string // its last output, at most tailLines lines
}

// Error tells the code.
func (e *ExitError) Error() string {
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Args, " "), e.Code)
}

// execTries is how often a process is run whose supervisor dies over it.
const execTries = 3

// exec runs a process and commits what it left in the mounts that have an output. What a process does follows from its
// inputs: one that is lost is run again, from the same ones.
func (r *run) exec(ctx context.Context, v *graph.Vertex, inputs []Result) ([]Result, error) {
	for tries := 1; ; tries++ {
		results, err := r.execOnce(ctx, v, inputs)
		if !engine.IsStepLost(err) || tries == execTries || ctx.Err() != nil {
			return results, err
		}
		r.job.Notify(Update{Kind: Log, Vertex: v, Stream: 2, Data: []byte("the supervisor died over this step; it is run again\n")})
	}
}

func (r *run) execOnce(ctx context.Context, v *graph.Vertex, inputs []Result) ([]Result, error) {
	op := v.Op.GetExec()
	x := &execRun{run: r, inputs: inputs, outputs: map[int64]*scratch{}, caches: map[*pb.Mount]*os.File{}}
	defer x.close()
	req, err := x.prepare(ctx, v, op)
	if err != nil {
		return nil, err
	}
	tail := &tailWriter{}
	req.Stdout = r.output(v, 1, tail)
	req.Stderr = r.output(v, 2, tail)
	r.job.Notify(Update{Kind: Running, Vertex: v, ID: id.Short(req.ID)})
	code, err := r.s.Steps.Step(ctx, req)
	if err != nil {
		return nil, err
	}
	accepted := op.Meta.ValidExitCodes
	if len(accepted) == 0 {
		accepted = []int32{0}
	}
	if !slices.Contains(accepted, int32(code)) {
		return nil, &ExitError{Args: op.Meta.Args, Code: code, Tail: tail.lines()}
	}
	return x.commit(ctx)
}

// output is where one stream of a process goes.
func (r *run) output(v *graph.Vertex, stream int, tail *tailWriter) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		tail.write(p)
		r.job.Notify(Update{Kind: Log, Vertex: v, Stream: stream, Data: p})
		return len(p), nil
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// execRun is one exec operation under way: what is mounted for it.
type execRun struct {
	run     *run
	inputs  []Result
	root    *scratch // nil for a read-only root
	rootDir *fsroot.Root
	outputs map[int64]*scratch
	caches  map[*pb.Mount]*os.File
	temps   []*scratch
	closers []func()
	stubs   []string // mount points that are not in the root file system by themselves, outermost first
}

func (x *execRun) close() {
	for i := len(x.closers) - 1; i >= 0; i-- {
		x.closers[i]()
	}
	x.closers = nil
	for _, s := range x.temps {
		s.drop()
	}
}

// prepare makes the root file system and all mounts.
func (x *execRun) prepare(ctx context.Context, v *graph.Vertex, op *pb.ExecOp) (engine.StepRequest, error) {
	job := x.run.job
	req := engine.StepRequest{
		ID: id.New(), Args: op.Meta.Args, Env: withProxy(op.Meta.Env, op.Meta.ProxyEnv), Cwd: op.Meta.Cwd, User: op.Meta.User,
		Hostname: op.Meta.Hostname, ShmSize: job.Step.ShmSize, Resources: job.Step.Limits, Network: job.Step.Network,
	}
	switch op.Network {
	case pb.NetMode_NONE:
		req.Network = "none"
	case pb.NetMode_HOST:
		if !job.Step.AllowHost {
			return req, errkind.New(errkind.Forbidden, "RUN --network=host is not allowed; build with --network=host to allow it")
		}
		req.Network = "host"
	}
	for _, h := range op.Meta.ExtraHosts {
		req.ExtraHosts = append(req.ExtraHosts, h.Host+":"+h.IP)
	}
	for _, u := range op.Meta.Ulimit {
		req.Resources.Ulimits = append(slices.Clip(req.Resources.Ulimits), &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	if len(op.Secretenv) > 0 {
		for _, s := range op.Secretenv {
			if !s.Optional {
				return req, errNoSecrets("secret " + s.ID)
			}
		}
	}
	if err := x.acquireCaches(ctx, op.Mounts); err != nil {
		return req, err
	}
	mounts := slices.Clone(op.Mounts)
	// The root first, then outer mount points before inner ones.
	slices.SortStableFunc(mounts, func(a, b *pb.Mount) int { return strings.Compare(path.Clean(a.Dest), path.Clean(b.Dest)) })
	for _, m := range mounts {
		if path.Clean(m.Dest) == "/" {
			if err := x.mountRoot(ctx, m, &req); err != nil {
				return req, err
			}
			continue
		}
		spec, err := x.mount(ctx, m)
		if err != nil {
			return req, err
		}
		if spec != nil {
			req.Mounts = append(req.Mounts, *spec)
		}
	}
	x.noteStubs(mounts)
	return req, nil
}

func errNoSecrets(what string) error {
	return errkind.New(errkind.Unsupported, "RUN needs %s, which the classic build request cannot carry; use a build argument for what is not secret", what)
}

// withProxy adds the proxy settings of the request, in both spellings, where the step's own environment has none.
func withProxy(env []string, p *pb.ProxyEnv) []string {
	if p == nil {
		return env
	}
	env = slices.Clip(env)
	for _, kv := range [][2]string{{"HTTP_PROXY", p.HttpProxy}, {"HTTPS_PROXY", p.HttpsProxy}, {"FTP_PROXY", p.FtpProxy}, {"NO_PROXY", p.NoProxy}, {"ALL_PROXY", p.AllProxy}} {
		if kv[1] == "" {
			continue
		}
		for _, name := range []string{kv[0], strings.ToLower(kv[0])} {
			if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
				env = append(env, name+"="+kv[1])
			}
		}
	}
	return env
}

func (x *execRun) mountRoot(ctx context.Context, m *pb.Mount, req *engine.StepRequest) error {
	if path.Clean("/"+m.Selector) != "/" {
		return errkind.New(errkind.Unsupported, "the build definition runs in a part of a file system, which is not supported")
	}
	s, err := x.writable(ctx, m)
	if err != nil {
		return err
	}
	x.root, x.rootDir = s, s.root
	req.Rootfs, req.ReadOnly = s.mount, m.Readonly
	return nil
}

// input returns the result that a mount shows.
func (x *execRun) input(m *pb.Mount) Result {
	if m.Input < 0 {
		return Result{}
	}
	return x.inputs[m.Input]
}

// writable mounts an input so that it can be changed; the changes are kept where the mount has an output.
func (x *execRun) writable(ctx context.Context, m *pb.Mount) (*scratch, error) {
	chain, err := x.run.realize(ctx, x.input(m))
	if err != nil {
		return nil, err
	}
	s, err := x.run.begin(chain)
	if err != nil {
		return nil, err
	}
	x.temps = append(x.temps, s)
	if m.Output >= 0 {
		x.outputs[m.Output] = s
	}
	return s, nil
}

// mount makes one mount besides the root; nil for an optional secret that is not there.
func (x *execRun) mount(ctx context.Context, m *pb.Mount) (*specs.Mount, error) {
	switch m.MountType {
	case pb.MountType_BIND:
		return x.bind(ctx, m)
	case pb.MountType_CACHE:
		return x.attach(x.caches[m], m.Selector, m.Dest, m.Readonly)
	case pb.MountType_TMPFS:
		o := []string{"nosuid", "nodev", "mode=1777"}
		if size := m.GetTmpfsOpt().GetSize(); size > 0 {
			o = append(o, fmt.Sprintf("size=%d", size))
		}
		return &specs.Mount{Destination: m.Dest, Type: "tmpfs", Source: "tmpfs", Options: o}, nil
	case pb.MountType_SECRET:
		if m.SecretOpt.Optional {
			return nil, nil
		}
		return nil, errNoSecrets("secret " + m.SecretOpt.ID)
	case pb.MountType_SSH:
		if m.SSHOpt.Optional {
			return nil, nil
		}
		return nil, errNoSecrets("ssh agent " + m.SSHOpt.ID)
	}
	return nil, errkind.New(errkind.Invalid, "unknown kind of mount %d", m.MountType)
}

func (x *execRun) bind(ctx context.Context, m *pb.Mount) (*specs.Mount, error) {
	var dir *os.File
	if m.Readonly && m.Output < 0 {
		chain, err := x.run.realize(ctx, x.input(m))
		if err != nil {
			return nil, err
		}
		if dir, err = x.run.s.Layers.Mount(chain, nil, layer.MountOptions{ReadOnly: true}); err != nil {
			return nil, err
		}
		x.closers = append(x.closers, func() { _ = dir.Close() })
	} else {
		s, err := x.writable(ctx, m)
		if err != nil {
			return nil, err
		}
		dir = s.mount
	}
	return x.attach(dir, m.Selector, m.Dest, m.Readonly)
}

// acquireCaches takes the step's cache directories, each once however often it is mounted, in the order of their names: two
// steps that want the same two cannot wait for each other.
func (x *execRun) acquireCaches(ctx context.Context, mounts []*pb.Mount) error {
	type want struct {
		from    Result
		sharing pb.CacheSharingOpt
		mounts  []*pb.Mount
	}
	wanted := map[string]*want{}
	for _, m := range mounts {
		if m.MountType != pb.MountType_CACHE {
			continue
		}
		begin, err := x.run.realize(ctx, x.input(m))
		if err != nil {
			return err
		}
		name := cacheName(m.CacheOpt.ID, begin)
		w := wanted[name]
		if w == nil {
			w = &want{from: Result{Chain: begin}, sharing: m.CacheOpt.Sharing}
			wanted[name] = w
		}
		if m.CacheOpt.Sharing != pb.CacheSharingOpt_SHARED {
			w.sharing = m.CacheOpt.Sharing
		}
		w.mounts = append(w.mounts, m)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		w := wanted[name]
		dir, release, err := x.run.s.Mounts.acquire(ctx, x.run, name, w.from, w.sharing)
		if err != nil {
			return err
		}
		x.closers = append(x.closers, release)
		for _, m := range w.mounts {
			x.caches[m] = dir
		}
	}
	return nil
}

// runtimeMounts are the mount points that the runtime makes where they are missing.
var runtimeMounts = [...]string{
	"/proc", "/sys/fs/cgroup", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console",
	"/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
}

// noteStubs remembers which mount points, and which of their parents, do not exist in the root file system.
func (x *execRun) noteStubs(mounts []*pb.Mount) {
	points := slices.Clone(runtimeMounts[:])
	for _, m := range mounts {
		points = append(points, path.Clean(m.Dest))
	}
	for _, p := range points {
		for ; p != "/"; p = path.Dir(p) {
			if _, err := x.rootDir.Lstat(p); err == nil {
				break
			}
			x.stubs = append(x.stubs, p)
		}
	}
	slices.Sort(x.stubs)
	x.stubs = slices.Compact(x.stubs)
}

// removeStubs takes away the mount points that are still as empty as they were made. What is removed is a directory entry
// below a pinned parent in the root file system; nothing is followed.
func (x *execRun) removeStubs() {
	for _, p := range slices.Backward(x.stubs) {
		fi, err := x.rootDir.Lstat(p)
		if err != nil || !fi.IsDir() && (!fi.Mode().IsRegular() || fi.Size() > 0) {
			continue
		}
		_ = x.rootDir.Remove(p) // fails for a directory that the step has filled, as it should
	}
}

// commit makes results of the mounts with an output.
func (x *execRun) commit(ctx context.Context) ([]Result, error) {
	x.removeStubs()
	for i := len(x.closers) - 1; i >= 0; i-- {
		x.closers[i]()
	}
	x.closers = nil
	var results []Result
	for output, s := range x.outputs {
		chain, err := s.commit(ctx)
		if err != nil {
			return nil, err
		}
		for len(results) <= int(output) {
			results = append(results, Result{})
		}
		results[output] = Result{Chain: chain}
	}
	return results, nil
}

const (
	tailLines = 20
	tailBytes = 64 << 10
)

// tailWriter keeps the end of a process's output.
type tailWriter struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tailWriter) write(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
}

func (t *tailWriter) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimRight(t.buf, "\r\n")
	if len(text) == 0 {
		return nil
	}
	lines := strings.Split(string(text), "\n")
	return lines[max(0, len(lines)-tailLines):]
}
