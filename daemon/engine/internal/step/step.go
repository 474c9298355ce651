package step

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
	dnet "github.com/moby/moby/api/types/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/netfiles"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/streams"
	"pier/daemon/network"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Request is one RUN step of a build: a process in a root file system of the caller's, without record, log or name.
type Request struct {
	ID     string   // names the step's cgroup and network endpoint; one path component; "" for a fresh identifier
	Rootfs *os.File // detached mount; borrowed
	Args   []string
	Env    []string // complete; no image is consulted. PATH is added where missing
	Cwd    string   // "" for "/"; created in Rootfs where missing
	User   string   // user[:group], looked up in Rootfs
	Mounts []specs.Mount
	// Network is "bridge" (also ""), "host" or "none".
	Network    string
	Hostname   string   // "" for the short identifier
	ExtraHosts []string // "name:address"
	ShmSize    int64    // bytes; 0: 64 MiB
	Stdout     io.Writer
	Stderr     io.Writer // nil: Stdout
	Privileged bool
	ReadOnly   bool // root file system
	Resources  container.Resources
}

// Options are what the steps share with containers. All are required, and the engine's to close.
type Options struct {
	// Root is the folder "containers" of the data root.
	Root         string
	CgroupParent string
	Host         settings.Host
	Networks     *network.Networks
	Custody      *custody.Custodian
	Filters      *process.Filters
	// Life ends with the engine.
	Life context.Context
}

// Steps are the build steps that run. Safe for concurrent use.
type Steps struct {
	o       Options
	running *table
}

// New returns the steps: none.
func New(o Options) *Steps { return &Steps{o: o, running: newTable()} }

// Exited tells of an exit that belongs to no container. Those of steps that do not run are ignored.
func (s *Steps) Exited(x shim.Exit) { s.running.exited(x) }

// Has reports whether a step of this identifier runs.
func (s *Steps) Has(id string) bool { return s.running.has(id) }

// Sweep removes the folder name of the containers' folder where a step of an earlier daemon left it, and reports
// whether it was one of a step.
func (s *Steps) Sweep(name string) bool {
	id, ours := strings.CutPrefix(name, prefix)
	if ours {
		_ = os.RemoveAll(s.dir(id))
	}
	return ours
}

// Run runs one step of a build and returns its exit code: the same process path as a container's, without record, name
// or log. When ctx ends the process is killed. Whatever the outcome, everything the step had is gone when Run returns,
// but for what it wrote to its root and mounts. A process that could not start is an error of kind Invalid.
func (s *Steps) Run(ctx context.Context, r Request) (exitCode int, err error) {
	if r.ID == "" {
		r.ID = id.New()
	}
	if len(r.Args) == 0 || r.Rootfs == nil {
		return 0, errkind.New(errkind.Invalid, "build step %s: a command and a root file system are needed", r.ID)
	}
	config := &container.Config{Hostname: r.Hostname, User: r.User, WorkingDir: r.Cwd, Env: r.Env, Cmd: r.Args}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(r.Network), ShmSize: r.ShmSize, Privileged: r.Privileged, ReadonlyRootfs: r.ReadOnly,
		ExtraHosts: r.ExtraHosts, Resources: r.Resources,
	}
	short := (id.Short(r.ID) + "000000000000")[:12]
	if _, err := settings.Complete(config, host, short, s.o.Host); err != nil {
		return 0, err
	}
	box, err := s.o.Networks.Join(ctx, network.JoinOptions{ContainerID: r.ID, Name: "build-" + short, Hostname: config.Hostname,
		Mode: r.Network, Sysctls: process.NetworkSysctls(host), ExtraHosts: r.ExtraHosts, Endpoints: map[string]*dnet.EndpointSettings{}})
	if err != nil {
		return 0, err
	}
	defer s.o.Networks.Leave(r.ID)
	if box.Netns != nil {
		defer box.Netns.Close()
	}
	files, err := s.files(r.ID, config.Hostname, box)
	defer os.RemoveAll(s.dir(r.ID))
	if err != nil {
		return 0, err
	}
	start, err := s.start(r, config, host, files, box.Netns != nil)
	if err != nil {
		return 0, err
	}
	return s.run(ctx, r, start, box.Netns)
}

func (s *Steps) dir(id string) string { return filepath.Join(s.o.Root, prefix+id) }

// prefix marks the folders of build steps among those of containers; what a crash leaves of them is swept at Open.
const prefix = "step-"

func (s *Steps) files(id, hostname string, box *network.Sandbox) (map[string]string, error) {
	dir := s.dir(id)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return nil, errkind.New(errkind.Internal, "build step %s: %w", id, err)
	}
	own := netfiles.Dir(dir)
	if err := own.Write(hostname, box.Hosts, box.ResolvConf); err != nil {
		return nil, errkind.New(errkind.Internal, "build step %s: %w", id, err)
	}
	return own.Binds(), nil
}

func (s *Steps) start(r Request, config *container.Config, host *container.HostConfig, files map[string]string, netns bool) (*shim.Start, error) {
	spec, err := process.Container(process.Input{ID: r.ID, Config: config, Host: host, Files: files, Args: r.Args,
		Cgroup: filepath.Join("/", s.o.CgroupParent, r.ID), Join: map[specs.LinuxNamespaceType]string{}, Root: r.Rootfs})
	if err != nil {
		return nil, err
	}
	spec.Mounts = append(spec.Mounts, r.Mounts...)
	filter, err := process.Filter(s.o.Filters, host, spec.Process.Capabilities.Bounding, false)
	if err != nil {
		return nil, err
	}
	return &shim.Start{ID: r.ID, Spec: spec, Launch: shim.Launch{Seccomp: filter.Program, SeccompFlags: filter.Flags}, HasRootfs: true, HasNetns: netns}, nil
}

// IsLost reports whether a step failed because the supervisor died over it: it may not have run, or nobody knows how it
// ended. What it wrote to its root is worth nothing; in another root it can be run again.
func IsLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

type lostError struct{ id string }

func (e *lostError) Error() string {
	return "build step " + e.id + ": the supervisor died over it, and what it did is lost: build again"
}
func (e *lostError) Unwrap() error { return errkind.New(errkind.Unavailable, "%s", e.Error()) }

func (s *Steps) run(ctx context.Context, r Request, start *shim.Start, netns *os.File) (int, error) {
	task := shim.TaskRef{ID: r.ID}
	background := context.WithoutCancel(ctx)
	exits := s.running.add(r.ID)
	defer s.running.remove(r.ID)
	live, err := s.o.Custody.Attach(s.o.Life, shim.Attach{TaskRef: task, Stdout: true, Stderr: true})
	if err != nil {
		return 0, err
	}
	defer live.Close()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if _, err := s.o.Custody.Start(background, start, r.Rootfs, netns); custody.IsCutOff(err) {
		return 0, &lostError{r.ID}
	} else if err != nil {
		_, err := process.StartError(&container.Config{User: r.User, WorkingDir: r.Cwd, Env: r.Env, Cmd: r.Args}, r.Rootfs, nil, err)
		return 0, err
	}
	defer func() { _ = s.o.Custody.Delete(background, task) }()
	copied := make(chan error, 1)
	go func() {
		stderr := r.Stderr
		if stderr == nil {
			stderr = r.Stdout
		}
		copied <- streams.Split(live, r.Stdout, stderr)
	}()
	x, err := wait(ctx, exits)
	if err != nil {
		_ = s.o.Custody.Signal(background, shim.Signal{TaskRef: task, Signal: settings.SIGKILL, All: true})
		if _, late := wait(s.o.Life, exits); late != nil {
			err = errors.Join(err, late)
		}
	}
	cerr := <-copied
	switch {
	case err != nil:
		return 0, err
	case cerr != nil:
		return 0, errkind.New(errkind.Internal, "build step %s: its output broke off: %w", r.ID, cerr)
	case x.Unknown:
		return 0, &lostError{r.ID}
	}
	return x.Code, nil
}
