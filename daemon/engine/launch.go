package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/links"
	"pier/daemon/engine/internal/netfiles"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/secrets"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image/layer"
	"pier/daemon/network"
	"pier/kernel/quota"
	"pier/lib/errkind"
)

// launch starts the container's process. On an error nothing of the attempt stays but what release gives back.
func (e *Engine) launch(c *ctr) (*shim.Task, error) {
	r := c.row()
	ctx := context.WithoutCancel(e.ctx)
	join, err := e.namespaces(r)
	if err != nil {
		return nil, err
	}
	linked, err := links.At(r.Name, r.Host, book{e})
	if err != nil {
		return nil, err
	}
	box, files, err := e.ground(ctx, c, r, linked.Hosts)
	if box != nil && box.Netns != nil {
		defer box.Netns.Close()
	}
	if err != nil {
		return nil, err
	}
	r = c.change(func(r *row) { r.Settings, r.Ports = box.Settings, box.Ports })
	if err := c.from.Check(r.ID, r.Name, r.Settings); err != nil {
		return nil, err
	}
	mounts, err := e.mounts.Mount(ctx, r.ID, r.Mounts, c.root, !r.Life.Ran)
	if err != nil {
		return nil, err
	}
	shm, err := e.shm(r)
	if err != nil {
		return nil, err
	}
	s, err := process.Container(process.Input{
		ID: r.ID, Config: linked.Config(r.Config), Host: r.Host, Mounts: mounts, Files: files, Args: settings.Command(r.Config),
		Cgroup: e.cgroup(r), Join: join, Root: c.root, Shm: shm,
	})
	if err != nil {
		return nil, err
	}
	if err := secrets.Provide(e.dir(r.ID), r.Secrets, s); err != nil {
		return nil, err
	}
	if err := process.InjectDevices(s, r.Host.DeviceRequests, e.o.CDIDirs); err != nil {
		return nil, err
	}
	bundle, err := process.Bundle(filepath.Join(e.dir(r.ID), "bundle"), s)
	if err != nil {
		return nil, err
	}
	other, filter, err := e.guard(r, s)
	if err != nil {
		return nil, err
	}
	log, err := e.logged(r).Target()
	if err != nil {
		return nil, err
	}
	if err := c.joined(); err != nil {
		return nil, err
	}
	return c.from.Start(ctx, e.o.Custody, &shim.Start{
		ID: r.ID, Spec: s, HasRootfs: true, HasNetns: box.Netns != nil, Log: log,
		Init: r.Host.Init != nil && *r.Host.Init, Bundle: bundle, Runtime: other,
		Launch: shim.Launch{
			Seccomp: filter.Program, SeccompFlags: filter.Flags,
			Stdio:  shim.Stdio{Terminal: r.Config.Tty, OpenStdin: r.Config.OpenStdin, StdinOnce: r.Config.StdinOnce},
			Height: uint16(min(r.Host.ConsoleSize[0], 1<<16-1)), Width: uint16(min(r.Host.ConsoleSize[1], 1<<16-1)),
		},
	}, c.root, box.Netns)
}

// ground makes what the container stands on: its network with the files that speak of it, and at the same time the root file
// system, c.root. Together they are most of a start. hosts are further lines of /etc/hosts. On an error too the caller
// closes the namespace in box, and release the root.
func (e *Engine) ground(ctx context.Context, c *ctr, r *row, hosts []string) (box *network.Sandbox, files map[string]string, err error) {
	type mounted struct {
		root *os.File
		err  error
	}
	rootc := make(chan mounted, 1)
	go func() {
		root, err := e.mountRoot(r, r.Host.ReadonlyRootfs)
		rootc <- mounted{root, err}
	}()
	o := r.JoinOptions()
	o.Earlier = c.from.Addresses()
	if len(hosts) > 0 {
		o.ExtraHosts = slices.Concat(o.ExtraHosts, hosts)
	}
	if box, err = e.o.Networks.Join(ctx, o); err == nil {
		files, err = e.writeFiles(r, box)
	}
	m := <-rootc
	c.root = m.root
	if err == nil {
		err = m.err
	}
	return box, files, err
}

// guard adds the system call filter: compiled for our own runtime, as the profile for another.
func (e *Engine) guard(r *row, s *specs.Spec) (other *shim.Runtime, filter process.Seccomp, err error) {
	if found, ok := e.o.Runtimes[r.Host.Runtime]; ok {
		s.Linux.Seccomp, err = process.Profile(r.Host, s.Process.Capabilities.Bounding)
		return &found, filter, err
	}
	if !settings.OwnRuntime(r.Host.Runtime) { // it may have been chosen for what keeps the container in
		return nil, filter, errkind.New(errkind.Invalid, "unknown or invalid runtime name: %s: it was registered when the container was made; "+
			"register it again (pierd --add-runtime), or create the container anew", r.Host.Runtime)
	}
	filter, err = process.Filter(&e.filters, r.Host, s.Process.Capabilities.Bounding, e.mounts.Sized(r.Mounts))
	return nil, filter, err
}

// mountRoot mounts the container's own file system, one that is full by its --storage-opt size too.
func (e *Engine) mountRoot(r *row, orReadOnly bool) (root *os.File, err error) {
	w, err := e.o.Layers.Writable(r.ID)
	if err != nil {
		return nil, err
	}
	size, _ := settings.StorageSize(r.Host.StorageOpt) // checked before
	err = quota.Eased(w.Work, size, func() (err error) {
		root, err = e.o.Layers.Mount(r.Chain, &w, layer.MountOptions{Volatile: r.Host.AutoRemove, MountPoints: true, OrReadOnly: orReadOnly})
		return err
	})
	if err != nil && root != nil {
		_ = root.Close()
		return nil, err
	}
	return root, err
}

// cgroup is the path of the container's cgroup. A parent given by the user is one below the hierarchies, never outside.
func (e *Engine) cgroup(r *row) string {
	parent := e.o.CgroupParent
	if p := r.Host.CgroupParent; p != "" {
		parent = p
	}
	return filepath.Join("/", parent, r.ID)
}

// namespaces finds the processes whose namespaces the container joins.
func (e *Engine) namespaces(r *row) (map[specs.LinuxNamespaceType]string, error) {
	return process.Namespaces(r.Host, func(ref string) (process.Donor, error) {
		c, err := e.index.Find(ref)
		if err != nil {
			return process.Donor{}, err
		}
		d := c.row()
		return process.Donor{Pid: d.Pid, Alive: d.Life.State.Alive(), State: d.Life.State.String(), Host: d.Host}, nil
	})
}

// writeFiles writes the files that every container has of its own, and returns where each is to be bound. A container in
// another's network uses that one's.
func (e *Engine) writeFiles(r *row, box *network.Sandbox) (map[string]string, error) {
	if r.Host.NetworkMode.IsContainer() {
		other, err := e.index.Find(r.Host.NetworkMode.ConnectedContainer())
		if err != nil {
			return nil, err
		}
		return e.netfiles(other.id).Binds(), nil
	}
	if err := e.netfiles(r.ID).Write(r.Config.Hostname, box.Hosts, box.ResolvConf); err != nil {
		return nil, errkind.New(errkind.Internal, "container %s: %w", r.ID, err)
	}
	return e.netfiles(r.ID).Binds(), nil
}

func (e *Engine) netfiles(id string) netfiles.Dir { return netfiles.Dir(e.dir(id)) }

// shm returns the folder of a shareable /dev/shm, of this container or of the one whose IPC namespace it joins; "" where
// the container has its own inside. A mount cannot be taken out of another mount namespace, so what is to be shared is
// mounted on the host.
func (e *Engine) shm(r *row) (string, error) {
	switch {
	case r.Host.IpcMode.IsContainer():
		other, err := e.index.Find(r.Host.IpcMode.Container())
		if err != nil {
			return "", err
		}
		if other.row().Host.IpcMode.IsHost() {
			return "/dev/shm", nil
		}
		return e.shmPath(other.id), nil
	case r.Host.IpcMode.IsShareable():
		return e.shmPath(r.ID), process.MountShm(e.shmPath(r.ID), r.Host.ShmSize)
	}
	return "", nil
}

func (e *Engine) shmPath(id string) string { return filepath.Join(e.dir(id), "shm") }
