package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"pier/daemon/build/internal/cache"
	"pier/daemon/build/internal/solve"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/store/record"
	"pier/lib/clock"
	"pier/lib/errkind"
)

// Steps runs the processes of RUN steps; *engine.Engine does.
type Steps interface {
	// Step runs one process to its end and returns its exit code; see engine.Engine.Step.
	Step(ctx context.Context, r engine.StepRequest) (exitCode int, err error)
}

// Options are the parts a Builder works with.
type Options struct {
	// Root is a folder of the builder's own below the data root, on the layers' file system.
	Root    string
	Images  *image.Store
	Layers  *layer.Store
	Steps   Steps
	Records *record.DB
	// MaxCache bounds the content that the cache keeps, in bytes; what was not used for longest goes first. 0: 20 GiB.
	MaxCache int64
	Clock    clock.Clock  // nil: clock.Real
	Log      *slog.Logger // nil: none
}

// Folders below Options.Root.
const (
	tempDir    = "tmp"     // spools without names, and mnt/ for what RUN steps have mounted
	runningDir = "running" // one file per build under way, to clean up after a crash
	mountsDir  = "cache"   // RUN --mount=type=cache
)

// Builder builds images. It is safe for concurrent use.
type Builder struct {
	opt    Options
	cache  *cache.Cache
	mounts *solve.CacheMounts
	solver *solve.Solver
	saving sync.WaitGroup // cache entries on their way to the disk
}

// Open prepares the build folder, removes what builds of a crashed Pier left there, and reads the cache.
func Open(opt Options) (*Builder, error) {
	if opt.Root == "" {
		return nil, errkind.New(errkind.Invalid, "open the builder: no root folder given")
	}
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	if opt.MaxCache == 0 {
		opt.MaxCache = 20 << 30
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	b := &Builder{opt: opt}
	temp := filepath.Join(opt.Root, tempDir)
	if err := solve.CleanMounts(temp); err != nil {
		return nil, fmt.Errorf("open the builder: %w", err)
	}
	if err := b.cleanUp(); err != nil {
		return nil, fmt.Errorf("open the builder: %w", err)
	}
	var err error
	if b.mounts, err = solve.OpenCacheMounts(filepath.Join(opt.Root, mountsDir)); err != nil {
		return nil, fmt.Errorf("open the builder: %w", err)
	}
	if b.cache, err = cache.Open(context.Background(), opt.Records, opt.Layers); err != nil {
		return nil, fmt.Errorf("open the builder: %w", err)
	}
	b.solver = &solve.Solver{
		Layers: opt.Layers, Steps: opt.Steps, Cache: b.cache, Mounts: b.mounts, Dir: temp, Log: opt.Log,
		HTTP: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}},
	}
	return b, nil
}

// cleanUp removes the writable layers of builds that did not come to their end.
func (b *Builder) cleanUp() error {
	dir := filepath.Join(b.opt.Root, runningDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := solve.CleanWritables(b.opt.Layers, e.Name()); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Close waits for cache entries to be saved. Running builds are ended by their contexts, before.
func (b *Builder) Close() error {
	b.saving.Wait()
	b.solver.HTTP.CloseIdleConnections()
	return nil
}

// saveLater saves the cache without anybody waiting: an entry that a crash takes costs one step of a later build.
func (b *Builder) saveLater() {
	b.saving.Go(func() {
		if err := b.cache.Save(context.Background()); err != nil {
			b.opt.Log.Warn("save the build cache", "error", err)
		}
		if b.cache.Size() <= b.opt.MaxCache {
			return
		}
		_, _, err := b.cache.Prune(context.Background(), b.opt.MaxCache)
		if err = errors.Join(err, b.opt.Layers.Collect(context.Background())); err != nil {
			b.opt.Log.Warn("shrink the build cache", "error", err)
		}
	})
}

// Request asks for one build. The zero value of every field means Docker's default.
type Request struct {
	// Context is the build context: a tar stream, plain or compressed with gzip, bzip2, xz or zstd. It is read to its end
	// before the first step runs.
	Context io.Reader
	// Remote is the `remote` parameter of POST /build. URLs are not supported and refused with Unsupported.
	Remote string
	// Dockerfile is the path inside the context; empty means "Dockerfile".
	Dockerfile string
	// Tags are the names for the result, name[:tag] each.
	Tags []string
	// Target is the stage to build; empty means the last.
	Target string
	// BuildArgs are --build-arg values. A nil value means "take it from the environment" and is dropped, as Docker does.
	BuildArgs map[string]*string
	// Labels are added to the image's own.
	Labels map[string]string
	// NoCache runs every step anew. Pull asks the registry for each base image even when it is here.
	NoCache, Pull bool
	// Platform is os/arch[/variant]; empty means the host's.
	Platform string
	// NetworkMode is the network of RUN steps: "", "default", "bridge", "host", "none".
	NetworkMode string
	// ExtraHosts are host:ip entries for the RUN steps' /etc/hosts.
	ExtraHosts []string
	// ShmSize is the size of /dev/shm in RUN steps, in bytes; 0 means 64 MiB.
	ShmSize int64
	// Memory, MemorySwap (bytes), CPUShares, CPUPeriod, CPUQuota (microseconds) and CpusetCpus, CpusetMems limit RUN steps.
	Memory, MemorySwap             int64
	CPUShares, CPUPeriod, CPUQuota int64
	CpusetCpus, CpusetMems         string
	// CgroupParent is accepted for Docker's sake; RUN steps live below the engine's own parent.
	CgroupParent string
	// Ulimits limit RUN steps.
	Ulimits []Ulimit
	// Auth answers the credentials for a registry host (X-Registry-Config); nil means none.
	Auth func(host string) (username, password, identityToken string)
	// Progress receives what happens, one call at a time, in the order in which it is to be shown. It must return soon: the
	// build waits for it. Nil drops the events.
	Progress func(Event)
}

// Ulimit is one resource limit, as in `--ulimit name=soft:hard`.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Result is a finished build.
type Result struct {
	// ImageID is the image's ID, "sha256:" and 64 hexadecimal digits.
	ImageID string
	// Tags are the normalised familiar names that now point to it, such as "web:latest".
	Tags []string
}

// Build runs one build to its end. On an error nothing of it stays except cache entries of steps that were completed.
// Errors: *StepError for a step that failed, with the kind of its cause; errkind.Invalid for a wrong Dockerfile, context or
// request; errkind.NotFound for a missing base image; errkind.Unsupported for what Pier cannot build; Canceled.
func (b *Builder) Build(ctx context.Context, req Request) (Result, error) {
	return b.build(ctx, req)
}

// CacheEntry is one entry of the build cache.
type CacheEntry struct {
	ID            string
	Name          string // the step that made it
	Size          int64  // bytes that the step added; 0 for a second key of the same result
	Created, Used time.Time
	// Chains are the chain IDs of the layers that it keeps, which images may keep too. They are not to be changed.
	Chains []digest.Digest
}

// Usage lists the build cache, last used first.
func (b *Builder) Usage() []CacheEntry {
	var list []CacheEntry
	for key, e := range b.cache.All() {
		list = append(list, CacheEntry{ID: key, Name: e.Name, Size: e.Size, Created: e.Created, Used: e.LastUse(), Chains: e.Chains})
	}
	slices.SortFunc(list, func(x, y CacheEntry) int {
		return cmp.Or(y.Used.Compare(x.Used), cmp.Compare(x.ID, y.ID))
	})
	return list
}

// PruneRequest says which cache entries go. The zero value removes what no image needs.
type PruneRequest struct {
	// All is accepted for Docker's sake; there is only one kind of cache entry.
	All bool
	// KeepBytes leaves the most recently used entries up to this many bytes; 0 keeps none.
	KeepBytes int64
}

// PruneReport is what a Prune removed.
type PruneReport struct {
	// Caches are the removed entries' IDs.
	Caches []string
	// Reclaimed is their size in bytes.
	Reclaimed int64
}

// Prune removes cache entries, cache mounts and stored contexts that no running build uses.
func (b *Builder) Prune(ctx context.Context, req PruneRequest) (PruneReport, error) {
	keys, freed, err := b.cache.Prune(ctx, req.KeepBytes)
	report := PruneReport{Caches: keys, Reclaimed: freed}
	if err == nil && req.KeepBytes == 0 {
		names, size, merr := b.mounts.Prune(ctx)
		report.Caches = append(report.Caches, names...)
		report.Reclaimed += size
		err = merr
	}
	return report, errors.Join(err, b.opt.Layers.Collect(ctx))
}
