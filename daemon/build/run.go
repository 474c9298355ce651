package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/solve"
	"pier/daemon/build/internal/tree"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
	"pier/lib/id"
)

// job is one Build under way.
type job struct {
	b          *Builder
	req        Request
	id         string
	holder     string // owner of the holds on images
	platform   *ocispec.Platform
	tags       []string
	dockerfile string // its path in the context
	text       []byte
	resolver   *resolver
	report     *report
}

func (b *Builder) build(ctx context.Context, req Request) (res Result, err error) {
	j := &job{b: b, req: req, id: id.New()[:24], report: newReport(req.Progress)}
	j.holder = "build/" + j.id
	j.resolver = newResolver(j)
	defer func() {
		if p := recover(); p != nil {
			b.opt.Log.Error("panic in a build", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("build: internal failure: %v", p)
		}
	}()
	if err := j.check(); err != nil {
		return Result{}, err
	}
	marker := filepath.Join(b.opt.Root, runningDir, j.id)
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return Result{}, err
	}
	defer os.Remove(marker)
	defer b.opt.Images.Release(j.holder)
	return j.run(ctx)
}

// check refuses what is wrong in the request itself, before anything is read.
func (j *job) check() error {
	req := &j.req
	if req.Remote != "" {
		return errkind.New(errkind.Unsupported, "building from the URL %q is not supported; clone or download it and build from the folder", req.Remote)
	}
	if req.Context == nil {
		return errkind.New(errkind.Invalid, "the request has no build context")
	}
	for _, t := range req.Tags {
		named, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			return errkind.New(errkind.Invalid, "invalid tag %q: %w", t, err)
		}
		if _, ok := named.(reference.Canonical); ok {
			return errkind.New(errkind.Invalid, "invalid tag %q: the build tag cannot contain a digest", t)
		}
		j.tags = append(j.tags, reference.FamiliarString(reference.TagNameOnly(named)))
	}
	switch req.NetworkMode {
	case "", "default", "bridge", "host", "none":
	default:
		return errkind.New(errkind.Unsupported, "network mode %q is not supported for builds; use bridge, host or none", req.NetworkMode)
	}
	if req.ShmSize < 0 || req.Memory < 0 || req.CPUShares < 0 || req.CPUPeriod < 0 || req.CPUQuota < 0 {
		return errkind.New(errkind.Invalid, "a size or limit of the build is negative")
	}
	var err error
	j.platform, err = parsePlatform(req.Platform)
	return err
}

func (j *job) run(ctx context.Context) (Result, error) {
	spool := tree.NewSpool(j.b.solver.Dir)
	defer spool.Close()
	t := tree.NewMemory(spool)
	plain, err := layer.DecompressGiven(j.req.Context)
	if err != nil {
		return Result{}, err
	}
	err = t.ReadTar(ctx, plain)
	drain(plain, err != nil)
	_ = plain.Close()
	drain(j.req.Context, err != nil)
	if err != nil {
		return Result{}, err
	}
	t.Seal()
	if j.text, j.dockerfile, err = readDockerfile(ctx, t, j.req.Dockerfile); err != nil {
		return Result{}, err
	}
	c, err := j.convert(ctx, j.text)
	if err != nil {
		return Result{}, err
	}
	g, err := graph.Parse(c.definition)
	if err != nil {
		return Result{}, err
	}
	if err := j.checkPlatform(g); err != nil {
		return Result{}, err
	}
	j.report.begin(c.steps, g)
	sol, err := j.b.solver.Solve(ctx, &solve.Job{
		ID: j.id, Graph: g, Context: t, Images: j.resolver.images, NoCache: j.req.NoCache,
		Step: j.stepDefaults(), Notify: j.report.update,
	})
	if err != nil {
		j.b.saveLater()
		return Result{}, j.explain(err)
	}
	defer sol.Release()
	defer j.b.saveLater()
	return j.finish(ctx, c, sol)
}

// drain reads what follows an archive's end, so that a connection is left in a state that its owner can go on with. After
// a failure it does not wait for the rest of a large context.
func drain(r io.Reader, failed bool) {
	limit := int64(1 << 30)
	if failed {
		limit = 1 << 20
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r, limit))
}

func (j *job) finish(ctx context.Context, c conversion, sol *solve.Solution) (Result, error) {
	config, chains, err := j.imageConfig(c, sol)
	if err != nil {
		return Result{}, err
	}
	img, err := j.b.opt.Images.Create(ctx, config, chains, j.tags...)
	if err != nil {
		return Result{}, err
	}
	return Result{ImageID: img.ID.String(), Tags: j.tags}, nil
}

func (j *job) stepDefaults() solve.StepDefaults {
	req := &j.req
	d := solve.StepDefaults{Network: req.NetworkMode, ShmSize: req.ShmSize, AllowHost: req.NetworkMode == "host"}
	if d.Network == "" || d.Network == "default" {
		d.Network = "bridge"
	}
	d.Limits = container.Resources{
		Memory: req.Memory, MemorySwap: req.MemorySwap, CPUShares: req.CPUShares, CPUPeriod: req.CPUPeriod, CPUQuota: req.CPUQuota,
		CpusetCpus: req.CpusetCpus, CpusetMems: req.CpusetMems,
	}
	return d
}

// checkPlatform refuses RUN steps that this machine cannot execute, before any step is run.
func (j *job) checkPlatform(g *graph.Graph) error {
	for _, v := range g.Vertices {
		exec := v.Op.GetExec()
		if exec == nil {
			continue
		}
		for _, arch := range []string{v.Op.GetPlatform().GetArchitecture(), j.rootArch(v)} {
			if arch != "" && !runnable(arch) {
				return errkind.New(errkind.Unsupported, "RUN steps for linux/%s cannot be executed on this linux/%s machine; only builds without RUN are possible for another platform", arch, runtime.GOARCH)
			}
		}
	}
	return nil
}

func runnable(arch string) bool {
	return arch == runtime.GOARCH || runtime.GOARCH == "amd64" && arch == "386"
}

// rootArch finds the architecture of the base image below a RUN step's root file system; "" for none.
func (j *job) rootArch(v *graph.Vertex) string {
	for {
		next := int64(-1)
		switch op := v.Op.Op.(type) {
		case *pb.Op_Source:
			_, ref, _ := strings.Cut(op.Source.Identifier, "://")
			if img := j.resolver.images[ref]; img != nil {
				return img.Config.Architecture
			}
		case *pb.Op_Exec:
			for _, m := range op.Exec.Mounts {
				if path.Clean(m.Dest) == "/" {
					next = m.Input
				}
			}
		case *pb.Op_File:
			next = op.File.Actions[0].Input
		case *pb.Op_Merge:
			next = op.Merge.Inputs[0].Input
		}
		if next < 0 || int(next) >= len(v.Inputs) {
			return ""
		}
		v = v.Inputs[next].Vertex
	}
}

// explain puts the solver's errors into words of the Dockerfile, and ends the report.
func (j *job) explain(err error) error {
	var at *solve.VertexError
	if !errors.As(err, &at) {
		return err
	}
	n, s := j.report.stepOf(at.Vertex)
	var exit *solve.ExitError
	var missing *solve.MissingSourceError
	failure := &StepError{Step: n, Total: len(j.report.steps), Dockerfile: j.dockerfile, Line: s.line, Excerpt: excerpt(j.text, s.line, s.end)}
	switch {
	case errors.As(err, &exit):
		failure.ExitCode, failure.Tail = exit.Code, exit.Tail
		err = fmt.Errorf("The command '%s' returned a non-zero code: %d", strings.Join(exit.Args, " "), exit.Code) //nolint:staticcheck // Docker's sentence
	case errors.As(err, &missing):
		verb := "COPY"
		if strings.HasPrefix(strings.ToUpper(s.text), "ADD") {
			verb = "ADD"
		}
		where := "%s failed: stat %s: file does not exist"
		if missing.Context {
			where = "%s failed: file not found in build context or excluded by .dockerignore: stat %s: file does not exist"
		}
		err = errkind.New(errkind.Invalid, where, verb, missing.Path)
	default:
		err = at.Err
	}
	j.report.failed(at.Vertex, err)
	if n == 0 { // nothing that the Dockerfile says
		return err
	}
	failure.Err = err
	return failure
}

// excerpt shows the lines of an instruction, marked, and their neighbours.
func excerpt(text []byte, line, end int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	end = min(max(line, end), len(lines))
	var s strings.Builder
	s.WriteString("--------------------\n")
	for n := max(1, line-2); n <= min(len(lines), end+2); n++ {
		mark := "   "
		if n >= line && n <= end {
			mark = ">>>"
		}
		fmt.Fprintf(&s, "%4d | %s %s\n", n, mark, strings.TrimRight(lines[n-1], "\r"))
	}
	s.WriteString("--------------------\n")
	return s.String()
}
