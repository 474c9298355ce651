package server

import (
	"net/http"

	api "github.com/moby/moby/api/types/volume"

	"pier/api/docker"
	"pier/daemon/volume"
	"pier/kernel/fsinfo"
	"pier/lib/errkind"
)

// volumeFilter turns the API's filters into the room's.
func volumeFilter(f docker.Filters) (volume.Filter, error) {
	out := volume.Filter{Names: f["name"], Drivers: f["driver"], Labels: f["label"], NotLabels: f["label!"]}
	if _, given := f["dangling"]; given {
		dangling, err := f.Bool("dangling", false)
		if err != nil {
			return out, errkind.New(errkind.Invalid, "%w", err)
		}
		out.Dangling = &dangling
	}
	return out, nil
}

// volumeList serves GET /volumes.
func (s *Server) volumeList(w http.ResponseWriter, r *request) error {
	f, err := r.filters("dangling", "driver", "label", "label!", "name")
	if err != nil {
		return err
	}
	filter, err := volumeFilter(f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.ListResponse{Volumes: list(s.o.Volumes.List(filter)), Warnings: []string{}})
}

// volumeCreate serves POST /volumes/create.
func (s *Server) volumeCreate(w http.ResponseWriter, r *request) error {
	var body api.CreateRequest
	if err := r.decode(w, &body, true); err != nil {
		return err
	}
	if body.ClusterVolumeSpec != nil {
		return notInSwarm(w, r)
	}
	v, err := s.o.Volumes.Create(r.Context(), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, v)
}

// volumeInspect serves GET /volumes/{name}.
func (s *Server) volumeInspect(w http.ResponseWriter, r *request) error {
	v, err := s.o.Volumes.Get(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

// volumeRemove serves DELETE /volumes/{name}.
func (s *Server) volumeRemove(w http.ResponseWriter, r *request) error {
	return noContent(w, s.o.Volumes.Remove(r.Context(), r.PathValue("name"), r.flag("force")))
}

// volumePrune serves POST /volumes/prune. Since 1.42 named volumes go only when the filter "all" says so.
func (s *Server) volumePrune(w http.ResponseWriter, r *request) error {
	f, err := r.filters("all", "label", "label!")
	if err != nil {
		return err
	}
	all, err := f.Bool("all", r.version.Before(42))
	if err != nil {
		return errkind.New(errkind.Invalid, "%w", err)
	}
	filter, err := volumeFilter(f)
	if err != nil {
		return err
	}
	report, err := s.o.Volumes.Prune(r.Context(), filter, all)
	if err != nil {
		return err
	}
	report.VolumesDeleted = list(report.VolumesDeleted)
	return writeJSON(w, http.StatusOK, report)
}

// volumeUsage lists the volumes with the space they take. Whether somebody holds one is all that is known of its
// users.
func (s *Server) volumeUsage() []api.Volume {
	inUse := map[string]bool{}
	for _, v := range s.o.Volumes.List(volume.Filter{Dangling: new(bool)}) {
		inUse[v.Name] = true
	}
	volumes := s.o.Volumes.List(volume.Filter{})
	for i := range volumes {
		usage := &api.UsageData{Size: -1}
		if inUse[volumes[i].Name] {
			usage.RefCount = 1
		}
		if size, err := fsinfo.Usage(volumes[i].Mountpoint); err == nil {
			usage.Size = size
		}
		volumes[i].UsageData = usage
	}
	return volumes
}
