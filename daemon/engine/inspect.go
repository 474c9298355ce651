package engine

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
)

// Inspect describes one container. It never waits for it. size also measures its file system, which takes a while. What
// it returns shares nothing that changes.
func (cs *Containers) Inspect(ctx context.Context, ref string, size bool) (container.InspectResponse, error) {
	e := cs.e
	c, err := e.index.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r := c.row()
	command := settings.Command(r.Config)
	files := e.dir(r.ID)
	if r.Host.NetworkMode.IsContainer() {
		files = e.dir(r.Host.NetworkMode.ConnectedContainer())
	}
	out := container.InspectResponse{
		ID: r.ID, Created: r.Created.Format(time.RFC3339Nano), Path: command[0], Args: command[1:], State: e.state(c, r),
		Image: r.Image.String(), Name: "/" + r.Name, RestartCount: r.Life.Restarts, Driver: "overlay2", Platform: r.Platform,
		ResolvConfPath: filepath.Join(files, "resolv.conf"), HostnamePath: filepath.Join(files, "hostname"),
		HostsPath: filepath.Join(files, "hosts"), ExecIDs: c.runningExecs(), HostConfig: r.Host, Config: r.Config,
		Mounts: points(r), NetworkSettings: networkSettings(r),
		GraphDriver: e.graphDriver(r),
	}
	if r.Host.LogConfig.Type != settings.LogNone {
		out.LogPath = e.logPath(r.ID)
	}
	if size {
		rw := e.sizeRw(r)
		all := rw + e.imageSize(r)
		out.SizeRw, out.SizeRootFs = &rw, &all
	}
	return out, nil
}

func (e *Engine) state(c *ctr, r *row) *container.State {
	l := r.Life
	s := &container.State{
		Status: container.ContainerState(l.State.String()), Running: l.State.Alive() || l.State == lifecycle.Restarting,
		Paused: l.State == lifecycle.Paused, Restarting: l.State == lifecycle.Restarting, Dead: l.State == lifecycle.Dead,
		OOMKilled: l.OOM, ExitCode: l.ExitCode, Error: l.Error,
		StartedAt: l.StartedAt.Format(time.RFC3339Nano), FinishedAt: l.FinishedAt.Format(time.RFC3339Nano),
		Health: c.health.Load(),
	}
	if l.State.Alive() {
		s.Pid = r.Pid
	}
	return s
}

func (c *ctr) runningExecs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, x := range c.execs {
		x.mu.Lock()
		if x.running {
			ids = append(ids, id)
		}
		x.mu.Unlock()
	}
	slices.Sort(ids)
	return ids
}

func points(r *row) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(r.Mounts))
	for _, m := range r.Mounts {
		if m.Type == "tmpfs" && r.Host.Tmpfs[m.Destination] != "" || isTmpfs(r, m.Destination) {
			continue // Docker shows those of --tmpfs in HostConfig alone
		}
		out = append(out, m.Point())
	}
	return out
}

func isTmpfs(r *row, dest string) bool {
	_, ok := r.Host.Tmpfs[dest]
	return ok
}

func networkSettings(r *row) *container.NetworkSettings {
	s := &container.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	for name, ep := range r.networkNames() {
		if !r.Life.State.Alive() { // addresses are those of a run
			ep = asked(ep)
		}
		s.Networks[name] = ep
	}
	if r.Life.State.Alive() {
		s.SandboxID = r.ID
		maps.Copy(s.Ports, r.Ports)
		if !r.Host.NetworkMode.IsHost() {
			for p := range r.Config.ExposedPorts {
				if _, published := s.Ports[p]; !published {
					s.Ports[p] = nil
				}
			}
		}
	}
	return s
}

// asked is what remains of an endpoint's settings while nothing runs.
func asked(ep *network.EndpointSettings) *network.EndpointSettings {
	return &network.EndpointSettings{IPAMConfig: ep.IPAMConfig, Links: ep.Links, Aliases: ep.Aliases, DriverOpts: ep.DriverOpts,
		GwPriority: ep.GwPriority, NetworkID: ep.NetworkID, DNSNames: ep.DNSNames}
}

func (e *Engine) graphDriver(r *row) *storage.DriverData {
	d := &storage.DriverData{Name: "overlay2", Data: map[string]string{}}
	if w, err := e.o.Layers.Writable(r.ID); err == nil {
		d.Data["UpperDir"], d.Data["WorkDir"] = w.Upper, w.Work
	}
	return d
}

func (e *Engine) sizeRw(r *row) int64 {
	w, err := e.o.Layers.Writable(r.ID)
	if err != nil {
		return 0
	}
	n, err := settings.TreeSize(w.Upper)
	if err != nil {
		return 0
	}
	return n
}

func (e *Engine) imageSize(r *row) int64 {
	img, err := e.o.Images.Get(r.Image.String())
	if err != nil {
		return 0
	}
	return img.Size
}
