package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/storage"

	"pier/api/docker"
	"pier/daemon/engine/internal/checkpoint"
	"pier/daemon/engine/internal/links"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image/layer"
	"pier/daemon/logging"
)

// Inspection is what is told of a container: what the published API has a place for, and the rest.
type Inspection struct {
	container.InspectResponse
	Secrets []docker.Secret
}

// Inspect describes one container. It never waits for it. size also measures its file system, which takes a while. What
// it returns shares nothing that changes.
func (cs *Containers) Inspect(ctx context.Context, ref string, size bool) (Inspection, error) {
	e := cs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return Inspection{}, err
	}
	r := c.row()
	said := c.describe(r)
	command := settings.Command(r.Config)
	files := e.netfiles(r.ID)
	if r.Host.NetworkMode.IsContainer() {
		files = e.netfiles(r.Host.NetworkMode.ConnectedContainer())
	}
	out := container.InspectResponse{
		ID: r.ID, Created: r.Created.Format(time.RFC3339Nano), Path: command[0], Args: command[1:], State: said.State(),
		Image: r.Image.String(), Name: "/" + r.Name, RestartCount: r.Life.Restarts, Driver: "overlay2", Platform: r.Platform,
		ResolvConfPath: files.ResolvConf(), HostnamePath: files.Hostname(),
		HostsPath: files.Hosts(), ExecIDs: e.execs.Running(r.ID), HostConfig: links.Shown(r.Name, r.Host, book{e}), Config: r.Config,
		Mounts: said.Points(), NetworkSettings: said.Network(),
		GraphDriver: e.graphDriver(r),
	}
	if r.Host.LogConfig.Type != logging.None {
		out.LogPath = e.logPath(r.ID)
	}
	if why := e.o.Custody.LogTrouble(r.ID); why != "" && out.State.Running {
		out.State.Error = "output is not logged, and is lost: " + why
	}
	if size {
		rw := e.sizeRw(r)
		all := rw + e.imageSize(r)
		out.SizeRw, out.SizeRootFs = &rw, &all
	}
	return Inspection{out, r.Secrets}, nil
}

func (e *Engine) graphDriver(r *row) *storage.DriverData {
	d := &storage.DriverData{Name: "overlay2"}
	if w, err := e.o.Layers.Writable(r.ID); err == nil {
		d.Data = layer.Folders(e.o.Layers, r.Chain, &w, layer.MountOptions{MountPoints: true})
	}
	if d.Data != nil && r.Life.State.Alive() && r.Pid > 0 { // no other place shows it: the mount has no path on the host
		d.Data["MergedDir"] = fmt.Sprintf("/proc/%d/root", r.Pid)
	}
	return d
}

// sizeRw is what goes with the container: what it has written, and its checkpoints.
func (e *Engine) sizeRw(r *row) (n int64) {
	w, err := e.o.Layers.Writable(r.ID)
	if err != nil {
		return 0
	}
	for _, dir := range []string{w.Upper, checkpoint.Folder(e.dir(r.ID))} {
		if size, err := settings.TreeSize(dir); err == nil {
			n += size
		}
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
