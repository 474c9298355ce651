package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"

	"pier/daemon/engine"
	"pier/lib/errkind"
)

// The values of the argument "type" of GET /system/df.
var usageTypes = [...]system.DiskUsageObject{system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject}

// diskUsage serves GET /system/df. Only what is asked for is measured: containers and volumes mean reading file trees.
func (s *Server) diskUsage(w http.ResponseWriter, r *request) error {
	wanted := map[system.DiskUsageObject]bool{}
	for _, t := range r.query["type"] {
		if !slices.Contains(usageTypes[:], system.DiskUsageObject(t)) {
			return errkind.New(errkind.Invalid, "unknown object type: %s", t)
		}
		wanted[system.DiskUsageObject(t)] = true
	}
	want := func(t system.DiskUsageObject) bool { return len(wanted) == 0 || wanted[t] }
	ctx := r.Context()
	containers, err := s.o.Engine.Containers().List(ctx, engine.ListOptions{All: true, Size: want(system.ContainerObject)})
	if err != nil {
		return err
	}
	var u system.DiskUsage
	if want(system.ImageObject) {
		u.ImageUsage = s.imageUsage(ctx, containers)
	}
	if want(system.ContainerObject) {
		u.ContainerUsage = containerUsage(containers)
	}
	if want(system.VolumeObject) {
		u.VolumeUsage = s.volumesUsage()
	}
	if want(system.BuildCacheObject) {
		u.BuildCacheUsage = s.buildCacheUsage(ctx)
	}
	return writeJSON(w, http.StatusOK, legacyDiskUsage(r.version, u, r.flag("verbose")))
}

// imageUsage adds up what layers take up on the disk. One counts once, however many images stand on it; it can be reclaimed if no container's
// image does.
func (s *Server) imageUsage(ctx context.Context, containers []container.Summary) *image.DiskUsage {
	all := s.o.Images.List(ctx)
	images := s.summaries(ctx, all, imageListing{containers: containers, shared: true})
	u := &image.DiskUsage{TotalCount: int64(len(images)), Items: images}
	layers, needed := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for i, image := range images {
		if image.Containers > 0 {
			u.ActiveCount++
		}
		for _, chain := range all[i].Layers {
			layers[chain] = true
			needed[chain] = needed[chain] || image.Containers > 0
		}
	}
	for chain := range layers {
		l, err := s.o.Layers.Get(chain)
		if err != nil {
			continue
		}
		size, err := l.Usage()
		if err != nil {
			size = l.Size // it has just been removed, or is damaged
		}
		u.TotalSize += size
		if !needed[chain] {
			u.Reclaimable += size
		}
	}
	return u
}

func containerUsage(containers []container.Summary) *container.DiskUsage {
	u := &container.DiskUsage{TotalCount: int64(len(containers)), Items: containers}
	for _, c := range containers {
		u.TotalSize += c.SizeRw
		if c.State == container.StateRunning || c.State == container.StatePaused {
			u.ActiveCount++
		} else {
			u.Reclaimable += c.SizeRw
		}
	}
	return u
}

func (s *Server) volumesUsage() *volume.DiskUsage {
	volumes := s.volumeUsage()
	u := &volume.DiskUsage{TotalCount: int64(len(volumes)), Items: volumes}
	for _, v := range volumes {
		if v.UsageData == nil {
			continue
		}
		u.TotalSize += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += v.UsageData.Size
		}
	}
	return u
}
