package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/daemon/build"
	"pier/daemon/engine"
	"pier/daemon/engine/custody"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/network"
	"pier/daemon/server"
	"pier/daemon/store/journal"
	"pier/daemon/store/record"
	"pier/daemon/volume"
	"pier/kernel/cgroup"
	"pier/kernel/memory"
	"pier/kernel/pidfd"
	"pier/kernel/probe"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// eventsKept is how many events are in memory; the journal on disk goes further back.
const eventsKept = 1024

// idleAfter is how long no request comes before pierd gives memory back.
const idleAfter = 5 * time.Second

// hearing is how long those who have connected before an upgrade may take to say what they want.
const hearing = time.Second

// supervisorGrace is how long the supervisor may take to answer that it ends.
const supervisorGrace = 5 * time.Second

// Daemon is a running pierd. Use Open.
type Daemon struct {
	config Config
	log    *slog.Logger

	volatile, durable *record.DB
	journal           *journal.Journal
	networks          *network.Networks
	custodian         *custody.Custodian
	engine            *engine.Engine
	builder           *build.Builder
	server            *server.Server

	mu      sync.Mutex // guards what follows
	sockets []socket   // while Serve is under way
	staying bool       // the next program in this process takes over: the pid file stays
}

// Open validates the configuration, locks both roots and opens all rooms; it takes up the containers that a former
// pierd left running. It listens nowhere yet. On an error everything is closed again; containers run on.
func Open(ctx context.Context, c Config, log *slog.Logger) (_ *Daemon, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := probe.Require("Pier", probe.Oldest()); err != nil {
		return nil, err
	}
	d := &Daemon{config: c, log: log}
	defer func() {
		if err != nil {
			d.close(false)
		}
	}()
	if err := d.openRecords(); err != nil {
		return nil, err
	}
	return d, d.openRooms(ctx)
}

// openRecords makes the roots and opens their databases, whose locks keep a second pierd out.
func (d *Daemon) openRecords() (err error) {
	for _, dir := range []string{d.config.DataRoot, d.config.ExecRoot} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make the root folder: %w", err)
		}
		// A folder that was there before keeps its owner, but others never list it.
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("close the root folder to others: %w", err)
		}
	}
	if d.durable, err = record.Open(filepath.Join(d.config.DataRoot, "pier.db"), record.Options{}); err != nil {
		return err
	}
	d.volatile, err = record.Open(filepath.Join(d.config.ExecRoot, "volatile.db"), record.Options{Volatile: true})
	return err
}

// openRooms builds the rooms from the ground up. The supervisor starts, or is dialled, meanwhile.
func (d *Daemon) openRooms(ctx context.Context) error {
	c, root := d.config, func(name string) string { return filepath.Join(d.config.DataRoot, name) }
	binary, err := runtimeBinary(c.Runtime)
	if err != nil {
		return err
	}
	var custodyErr error
	var supervisor sync.WaitGroup
	supervisor.Go(func() {
		d.custodian, custodyErr = custody.Open(ctx, custody.Options{Root: c.ExecRoot, Binary: binary, Log: d.log})
	})
	defer supervisor.Wait()

	feed := feed.New[events.Message](eventsKept)
	if d.journal, err = journal.Open(journal.Options{Dir: root("events"), Feed: feed, Log: d.log}); err != nil {
		return err
	}
	layers, err := layer.Open(layer.Options{Root: root("layers")})
	if err != nil {
		return err
	}
	images, err := image.Open(ctx, image.Options{
		Root: root("images"), Records: d.durable, Layers: layers, Events: feed, Insecure: c.Insecure,
	})
	if err != nil {
		return err
	}
	volumes, err := volume.Open(volume.Options{Root: root("volumes"), Records: d.durable, Events: feed})
	if err != nil {
		return err
	}
	d.networks, err = network.Open(ctx, network.Options{
		Records: d.durable, Events: feed, Bridge: c.Bridge, BIP: c.BIP, MTU: c.MTU, DNS: c.DNS, Log: d.log,
	})
	if err != nil {
		return err
	}
	if supervisor.Wait(); custodyErr != nil {
		return custodyErr
	}
	d.engine, err = engine.Open(ctx, engine.Options{
		Root: root("containers"), Durable: d.durable, Volatile: d.volatile, Images: images, Layers: layers,
		Networks: d.networks, Volumes: volumes, Custody: d.custodian, Events: feed,
		CgroupParent: c.CgroupParent, CDIDirs: c.CDIDirs, Runtimes: c.Runtimes, DefaultRuntime: c.NewRuntime, Init: c.Init, LogDriver: c.LogDriver, LogOpts: c.logOptions(), Log: d.log,
	})
	if err != nil {
		return err
	}
	d.builder, err = build.Open(build.Options{
		Root: root("build"), Images: images, Layers: layers, Steps: d.engine, Records: d.durable, Log: d.log,
	})
	if err != nil {
		return err
	}
	host, err := server.DescribeHost(c.DataRoot)
	if err != nil {
		return err
	}
	host.Debug, host.Insecure, host.Labels, host.LogDriver = c.Level() <= slog.LevelDebug, c.Insecure, c.Labels, c.LogDriver
	d.server = server.New(server.Options{
		Engine: d.engine, Images: images, Layers: layers, Networks: d.networks, Volumes: volumes, Builder: d.builder,
		Events: d.journal, Log: d.log, Host: host,
	})
	return nil
}

// runtimeBinary finds pier-runtime: as configured, else beside our own executable, else on PATH.
func runtimeBinary(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), "pier-runtime"); isExecutable(path) {
			return path, nil
		}
	}
	if path, err := exec.LookPath("pier-runtime"); err == nil {
		return filepath.Abs(path)
	}
	return "", errkind.New(errkind.NotFound, "pier-runtime is neither beside pierd nor on PATH: install it there or say --runtime /path/to/pier-runtime")
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// Serve writes the pid file, listens, and answers until ctx is done or a socket fails. ready, if not nil, is called
// once clients can connect. Running requests get what grace then says to end. The daemon stays open; Close, Stop or
// Replace must follow.
func (d *Daemon) Serve(ctx context.Context, grace func() time.Duration, ready func()) error {
	sockets, err := listen(d.config, d.log)
	if err != nil {
		return err
	}
	pidfile := d.config.PidPath()
	start, err := pidfd.StartTime(os.Getpid())
	if err == nil {
		err = atomicfile.WriteVolatile(d.config.startPath(), []byte(signature(os.Getpid(), start)), 0o644)
	}
	if err == nil {
		err = atomicfile.WriteVolatile(pidfile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	}
	if err != nil {
		for _, s := range sockets {
			_ = s.Close()
		}
		return fmt.Errorf("pid file: %w", err)
	}
	d.mu.Lock()
	d.sockets = sockets
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.sockets = nil; !d.staying {
			_ = os.Remove(pidfile)
			_ = os.Remove(d.config.startPath())
		}
	}()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, len(sockets))
	var serving sync.WaitGroup
	for _, s := range sockets {
		serving.Go(func() { failed <- d.server.Serve(s) })
	}
	d.log.Info("API listens", "hosts", d.config.Sockets(), "supervisor", d.custodian.SupervisorPid())
	if ready != nil {
		ready()
	}
	serving.Go(func() { d.trimWhenIdle(ctx) })
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace())
	defer cancel()
	if d.isStaying() {
		for _, s := range sockets {
			_ = s.Close()
		}
		soon, enough := context.WithTimeout(end, hearing)
		d.server.Heard(soon)
		enough()
	}
	d.server.Shutdown(end)
	serving.Wait()
	return err
}

// ballast is memory that is counted as living and never touched, so that it takes no page. Little lives in pierd, and
// requests leave much behind: without it garbage would be collected for every few of them, and with a higher percentage
// what one large request leaves would be kept several times over.
const ballast = 8 << 20

func (d *Daemon) isStaying() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.staying
}

// trimWhenIdle gives memory back after the start, and again after every burst of requests: most of what pierd maps is
// the code of rooms that run seldom.
func (d *Daemon) trimWhenIdle(ctx context.Context) {
	unused := make([]byte, ballast)
	defer runtime.KeepAlive(unused)
	tick := time.NewTicker(idleAfter)
	defer tick.Stop()
	for served, trimmed, first := uint64(0), uint64(0), true; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := d.server.Requests()
		if now == served && (first || trimmed != now) {
			first, trimmed = false, now
			debug.FreeOSMemory()
			if err := memory.Trim(); err != nil {
				d.log.Debug("memory is not given back", "error", err)
			}
		}
		served = now
	}
}

// Close ends pierd and leaves containers running, with their supervisor; an idle one ends too.
func (d *Daemon) Close() error { return d.close(false) }

// Stop stops all containers as their stop signal and timeout say, ends the supervisor, and closes.
func (d *Daemon) Stop(ctx context.Context) error {
	return errors.Join(d.stopContainers(ctx), d.close(false))
}

// Destroy is Stop, and then removes what Pier put into the kernel: bridges, rules, cgroups. Files stay.
func (d *Daemon) Destroy(ctx context.Context) error {
	err := errors.Join(d.stopContainers(ctx), d.networks.Destroy(ctx))
	d.networks = nil // closed with its bridges
	err = errors.Join(err, d.close(false))
	return errors.Join(err, cgroup.Remove(d.config.CgroupParent))
}

// stopContainers stops everything that runs, side by side.
func (d *Daemon) stopContainers(ctx context.Context) error {
	running, err := d.engine.Containers().List(ctx, engine.ListOptions{})
	if err != nil {
		return err
	}
	errs := make([]error, len(running))
	var all sync.WaitGroup
	for i, c := range running {
		all.Go(func() {
			err := d.engine.Containers().Stop(ctx, c.ID, engine.StopOptions{})
			if err != nil && !errkind.Is(err, errkind.NotModified) && !errkind.Is(err, errkind.NotFound) {
				errs[i] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// endIdleSupervisor ends a supervisor that has nothing to supervise; one with a living container refuses and stays.
func (d *Daemon) endIdleSupervisor() error {
	ctx, cancel := context.WithTimeout(context.Background(), supervisorGrace)
	defer cancel()
	if err := d.custodian.Shutdown(ctx); err != nil && !errkind.Is(err, errkind.Conflict) {
		return fmt.Errorf("end the idle supervisor: %w", err)
	}
	return nil
}

// close closes the rooms that are open, the highest first.
func (d *Daemon) close(keepSupervisor bool) error {
	var errs []error
	if d.builder != nil {
		errs = append(errs, d.builder.Close())
	}
	if d.engine != nil {
		errs = append(errs, d.engine.Close())
	}
	if d.custodian != nil {
		if !keepSupervisor {
			errs = append(errs, d.endIdleSupervisor())
		}
		errs = append(errs, d.custodian.Close())
	}
	if d.networks != nil {
		errs = append(errs, d.networks.Close())
	}
	if d.journal != nil {
		errs = append(errs, d.journal.Close())
	}
	if d.volatile != nil {
		errs = append(errs, d.volatile.Close())
	}
	if d.durable != nil {
		errs = append(errs, d.durable.Close())
	}
	return errors.Join(errs...)
}
