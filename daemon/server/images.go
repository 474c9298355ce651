package server

import (
	"cmp"
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	imageapi "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/go-digest"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/daemon/image"
	"pier/lib/errkind"
)

// imageList serves GET /images/json.
func (s *Server) imageList(w http.ResponseWriter, r *request) error {
	f, err := r.filters("dangling", "label", "label!", "before", "since", "reference", "until")
	if err != nil {
		return err
	}
	ctx := r.Context()
	images, err := s.filterImages(s.o.Images.List(ctx), f)
	if err != nil {
		return err
	}
	listing := imageListing{shared: r.flag("shared-size"), unused: r.version.Before(51)}
	if !listing.unused {
		if listing.containers, err = s.o.Engine.Containers().List(ctx, engine.ListOptions{All: true}); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, legacyImageSummaries(r.version, s.summaries(ctx, images, listing)))
}

// imageListing says how much work a listing is worth.
type imageListing struct {
	containers []container.Summary // to count per image
	unused     bool                // do not count
	shared     bool                // add up the layers that other images have too
}

func (s *Server) summaries(ctx context.Context, images []image.Image, l imageListing) []imageapi.Summary {
	containers := map[string]int64{}
	for _, c := range l.containers {
		containers[c.ImageID]++
	}
	var users map[digest.Digest]int
	if l.shared {
		users = map[digest.Digest]int{}
		for _, i := range s.o.Images.List(ctx) {
			for _, chain := range i.Layers {
				users[chain]++
			}
		}
	}
	out := make([]imageapi.Summary, 0, len(images))
	for _, i := range images {
		sum := imageapi.Summary{
			ID: i.ID.String(), ParentID: i.Parent.String(), Created: i.Created.Unix(), Labels: i.Config.Config.Labels,
			RepoTags: list(i.RepoTags), RepoDigests: list(i.RepoDigests), Size: i.Size, SharedSize: -1, Containers: -1,
		}
		if !l.unused {
			sum.Containers = containers[sum.ID]
		}
		if l.shared {
			sum.SharedSize = s.sharedSize(i.Layers, users)
		}
		out = append(out, sum)
	}
	return out
}

func (s *Server) sharedSize(chains []digest.Digest, users map[digest.Digest]int) (size int64) {
	for _, chain := range chains {
		if users[chain] > 1 {
			if l, err := s.o.Layers.Get(chain); err == nil {
				size += l.Size
			}
		}
	}
	return size
}

// filterImages keeps the images that all filters let through.
func (s *Server) filterImages(images []image.Image, f docker.Filters) ([]image.Image, error) {
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%w", err)
	}
	_, askedDangling := f["dangling"]
	before, since := time.Time{}, time.Time{}
	for name, bound := range map[string]*time.Time{"before": &before, "since": &since} {
		if v := f[name]; len(v) > 0 {
			i, err := s.o.Images.Get(v[0])
			if err != nil {
				return nil, err
			}
			*bound = i.Created
		}
	}
	until, err := untilFilter(f)
	if err != nil {
		return nil, err
	}
	for _, pattern := range f["reference"] {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid filter 'reference=%s': %w", pattern, err)
		}
	}
	return slices.DeleteFunc(images, func(i image.Image) bool {
		return askedDangling && dangling != (len(i.RepoTags) == 0) ||
			!before.IsZero() && !i.Created.Before(before) ||
			!since.IsZero() && !i.Created.After(since) ||
			!until.IsZero() && !i.Created.Before(until) ||
			!labelsMatch(f, i.Config.Config.Labels) ||
			!referenceMatches(f["reference"], i)
	}), nil
}

// untilFilter is the instant of the filter "until", zero if there is none.
func untilFilter(f docker.Filters) (time.Time, error) {
	v := f["until"]
	if len(v) == 0 {
		return time.Time{}, nil
	}
	r := request{query: map[string][]string{"until": v}}
	return r.timestamp("until", time.Now())
}

// labelsMatch applies the filters label (all must be there) and label! (none may).
func labelsMatch(f docker.Filters, labels map[string]string) bool {
	has := func(want string) bool {
		key, value, exact := strings.Cut(want, "=")
		got, ok := labels[key]
		return ok && (!exact || got == value)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

// referenceMatches compares patterns such as "busybox", "*/app:1.*" with the image's names, with and without the tag.
func referenceMatches(patterns []string, i image.Image) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, name := range slices.Concat(i.RepoTags, i.RepoDigests) {
		base, _, _ := strings.Cut(stripTag(name), "@")
		for _, pattern := range patterns {
			whole, _ := path.Match(pattern, name)
			bare, _ := path.Match(pattern, base)
			if whole || bare {
				return true
			}
		}
	}
	return false
}

// imageInspect serves GET /images/{name}/json.
func (s *Server) imageInspect(w http.ResponseWriter, r *request) error {
	i, err := s.o.Images.Get(r.name)
	if err != nil {
		return err
	}
	out := imageapi.InspectResponse{
		ID: i.ID.String(), RepoTags: list(i.RepoTags), RepoDigests: list(i.RepoDigests), Author: i.Config.Author,
		Config: &i.Config.Config, Architecture: i.Config.Architecture, Variant: i.Config.Variant,
		Os: cmp.Or(i.Config.OS, "linux"), OsVersion: i.Config.OSVersion, Size: i.Size,
		RootFS:      imageapi.RootFS{Type: cmp.Or(i.Config.RootFS.Type, "layers")},
		GraphDriver: &storage.DriverData{Name: "overlay2", Data: image.Folders(s.o.Images, i)},
	}
	if !i.Created.IsZero() {
		out.Created = i.Created.UTC().Format(time.RFC3339Nano)
	}
	for _, d := range i.Config.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, d.String())
	}
	if n := len(i.Config.History); n > 0 {
		out.Comment = i.Config.History[n-1].Comment
	}
	return writeJSON(w, http.StatusOK, legacyImage(r.version, out, i.Parent.String()))
}

// imageHistory serves GET /images/{name}/history.
func (s *Server) imageHistory(w http.ResponseWriter, r *request) error {
	history, err := s.o.Images.History(r.name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(history))
}

// imageTag serves POST /images/{name}/tag.
func (s *Server) imageTag(w http.ResponseWriter, r *request) error {
	if r.arg("repo") == "" {
		return errkind.New(errkind.Invalid, "invalid reference format: the repo argument is missing")
	}
	if err := s.o.Images.Tag(r.Context(), r.name, joinTag(r.arg("repo"), r.arg("tag"))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// joinTag puts the two arguments repo and tag together; the tag may also be a digest.
func joinTag(repo, tag string) string {
	switch {
	case tag == "":
		return repo
	case strings.HasPrefix(tag, "sha256:"):
		return repo + "@" + tag
	}
	return repo + ":" + tag
}

// imageDelete serves DELETE /images/{name}.
func (s *Server) imageDelete(w http.ResponseWriter, r *request) error {
	removed, err := s.o.Images.Remove(r.Context(), r.name, image.RemoveOptions{Force: r.flag("force"), NoPrune: r.flag("noprune")})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list(removed))
}

// imagePrune serves POST /images/prune.
func (s *Server) imagePrune(w http.ResponseWriter, r *request) error {
	f, err := r.filters("dangling", "label", "label!", "until")
	if err != nil {
		return err
	}
	dangling, err := f.Bool("dangling", true)
	if err != nil {
		return errkind.New(errkind.Invalid, "%w", err)
	}
	until, err := untilFilter(f)
	if err != nil {
		return err
	}
	keep := func(i *image.Image) bool {
		return !labelsMatch(f, i.Config.Config.Labels) || !until.IsZero() && !i.Created.Before(until)
	}
	removed, reclaimed, err := s.o.Images.Prune(r.Context(), !dangling, keep)
	if err != nil {
		return err
	}
	s.sayPruned(events.ImageEventType, uint64(max(reclaimed, 0)))
	return writeJSON(w, http.StatusOK, imageapi.PruneReport{ImagesDeleted: list(removed), SpaceReclaimed: uint64(max(reclaimed, 0))})
}
