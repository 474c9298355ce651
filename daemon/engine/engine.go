package engine

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/events"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/checkpoint"
	"pier/daemon/engine/internal/execs"
	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/index"
	"pier/daemon/engine/internal/meter"
	"pier/daemon/engine/internal/mounts"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/step"
	"pier/daemon/engine/internal/strays"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/logging"
	"pier/daemon/network"
	"pier/daemon/store/record"
	"pier/daemon/volume"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// Options are the rooms that the engine joins, and where it keeps its own files. All rooms are required; they are the
// caller's to close, after the engine.
type Options struct {
	// Root is the folder "containers" of the data root, made with mode 0710 where missing.
	Root string
	// Durable holds the containers that survive a power cut, Volatile those with --rm, which a reboot makes meaningless.
	Durable, Volatile *record.DB

	Images   *image.Store
	Layers   *layer.Store
	Networks *network.Networks
	Volumes  *volume.Volumes
	Custody  *custody.Custodian

	Events *feed.Feed[events.Message] // nil: nobody is told
	Clock  clock.Clock                // nil: clock.Real
	// CgroupParent is where the containers' cgroups are made, "" for "/pier".
	CgroupParent string
	// Runtimes are other OCI runtimes by name. DefaultRuntime is the one for containers that choose none, "" for our own;
	// Init gives an init to those that say nothing about it.
	Runtimes       map[string]shim.Runtime
	DefaultRuntime string
	Init           bool
	// CDIDirs hold the descriptions of devices (Container Device Interface), later ones before earlier ones; nil for
	// /etc/cdi and /var/run/cdi.
	CDIDirs []string
	// LogDriver and LogOpts are for containers that say nothing of their log, "" for json-file.
	LogDriver string
	LogOpts   map[string]string
	Log       *slog.Logger // nil: none
}

// DefaultCDIDirs are where descriptions of devices are looked for.
func DefaultCDIDirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// Engine is the room's door. Its parts are reached by Containers, Streams and Execs. Safe for concurrent use.
type Engine struct {
	o     Options
	host  settings.Host
	index *index.Index[*ctr]

	durable, volatile *record.Table[row]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	bg     sync.WaitGroup // all goroutines that outlive a call

	execs execs.Table[*ctr]
	steps *step.Steps
	// filters keeps compiled seccomp programs: nearly all containers share one.
	filters process.Filters
	meter   *meter.Meter
	mounts  mounts.Mounts
	shipper *logging.Shipper
	prober  *health.Prober
	strays  strays.Strays

	checkpoints *checkpoint.Store
}

// Open reads the records, compares them with the processes that custody found, and brings both together: what runs is
// taken up, what ended meanwhile is recorded, restart policies are applied, and what half-made or half-removed
// containers left is swept away. It calls Networks.Adopt and Settle, so nobody may have joined a network before.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Events == nil {
		o.Events = feed.New[events.Message](1)
	}
	if o.CgroupParent == "" {
		o.CgroupParent = "/pier"
	}
	if o.CDIDirs == nil {
		o.CDIDirs = DefaultCDIDirs()
	}
	if err := os.MkdirAll(o.Root, 0o710); err != nil {
		return nil, errkind.New(errkind.Internal, "open containers: %w", err)
	}
	host := process.Host()
	host.Runtimes, host.Runtime, host.Init = slices.Collect(maps.Keys(o.Runtimes)), o.DefaultRuntime, o.Init
	host.LogDriver, host.LogOpts = o.LogDriver, o.LogOpts
	e := &Engine{
		o:        o,
		host:     host,
		index:    index.New[*ctr](),
		durable:  record.NewTable[row](o.Durable, "containers"),
		volatile: record.NewTable[row](o.Volatile, "containers"),

		checkpoints: checkpoint.New(),
	}
	e.shipper = logging.NewShipper(o.Log)
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.strays = strays.Strays{Custody: o.Custody, Log: o.Log, Life: e.ctx}
	e.meter = meter.New(measured{e})
	e.prober = health.New(health.Options{Clock: o.Clock, Custody: o.Custody, Filters: &e.filters, Life: e.ctx})
	e.mounts = mounts.Mounts{Images: o.Images, Layers: o.Layers, Volumes: o.Volumes, Root: o.Root}
	e.steps = step.New(step.Options{Root: o.Root, CgroupParent: o.CgroupParent, Host: e.host, Networks: o.Networks, Custody: o.Custody,
		Filters: &e.filters, Life: e.ctx})
	exits := o.Custody.Exits()
	if err := e.reconcile(ctx); err != nil {
		e.cancel()
		e.shipper.Close()
		return nil, err
	}
	e.bg.Go(func() { e.followExits(exits) })
	e.bg.Go(e.lookAgain)
	return e, nil
}

// Runtimes are the other runtimes that containers may choose, by name.
func (e *Engine) Runtimes() map[string]shim.Runtime { return e.o.Runtimes }

// DefaultRuntime is the one for containers that choose none, "" for our own.
func (e *Engine) DefaultRuntime() string { return e.o.DefaultRuntime }

// CDIDirs are where descriptions of devices are looked for.
func (e *Engine) CDIDirs() []string { return e.o.CDIDirs }

// Containers returns the containers.
func (e *Engine) Containers() *Containers { return &Containers{e} }

// Streams returns the containers' streams.
func (e *Engine) Streams() *Streams { return &Streams{e} }

// Execs returns the execs.
func (e *Engine) Execs() *Execs { return &Execs{e} }

// Step runs one step of a build and returns its exit code: the same process path as a container's, without record, name
// or log. When ctx ends the process is killed. Whatever the outcome, everything the step had is gone when Step returns,
// but for what it wrote to its root and mounts. A process that could not start is an error of kind Invalid.
func (e *Engine) Step(ctx context.Context, r StepRequest) (exitCode int, err error) {
	return e.steps.Run(ctx, r)
}

// Files returns the containers' files.
func (e *Engine) Files() *Files { return &Files{e} }

// Close ends what the engine does in the background and waits for it. Containers run on.
func (e *Engine) Close() error {
	e.cancel()
	for _, c := range e.index.All() {
		done := make(chan struct{})
		c.work.Post(func() {
			defer close(done)
			if c.restart != nil {
				c.restart.Stop()
			}
			c.health.Stop()
			if c.root != nil {
				_ = c.root.Close()
				c.root = nil
			}
		})
		<-done
		c.streams.Close(true)
		c.files.Wait(0)
		c.released.Wait()
	}
	e.bg.Wait()
	e.shipper.Close()
	return nil
}

// dir is the folder of a container's own files.
func (e *Engine) dir(id string) string { return filepath.Join(e.o.Root, id) }

func (e *Engine) logPath(id string) string { return filepath.Join(e.dir(id), id+"-json.log") }

// table is where a container's record rests.
func (e *Engine) table(r *row) *record.Table[row] {
	if r.Host.AutoRemove {
		return e.volatile
	}
	return e.durable
}

func (e *Engine) save(r *row) error {
	return e.table(r).Put(context.WithoutCancel(e.ctx), r.ID, *r)
}

// identify returns the identifier that ref means.
func (e *Engine) identify(ref string) (string, error) {
	c, err := e.index.Find(ref)
	if err != nil {
		return "", err
	}
	return c.id, nil
}
