package image

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
	"pier/lib/id"
)

// removal is one call of Remove or Prune. It needs Store.change.
type removal struct {
	s       *Store
	o       RemoveOptions
	removed []image.DeleteResponse
	freed   int64
}

// Remove takes away a name, and with its last name the image, and with that the layers that nobody else needs: the rules
// are those of Docker Engine (DELETE /images/{name}). Given by ID or a beginning of it, an image goes with all its names
// if they are of one repository, or by force. Conflict, in Docker's words, where a container uses the image; a running
// one cannot be forced. What was done is returned in the order in which it was, also with an error.
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]image.DeleteResponse, error) {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.RLock()
	imageID, name, err := s.resolve(ref)
	var names []string
	user, used := "", false
	if err == nil {
		names = s.namesOf(imageID)
		user, used = s.anyUser(imageID)
	}
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	r := &removal{s: s, o: o}
	if name != "" {
		if used && !o.Force && oneRepository(names) {
			return nil, errkind.New(errkind.Conflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
				ref, user, id.Short(imageID.String()))
		}
		left, err := r.untag(ctx, imageID, name)
		if err != nil || left > 0 {
			return r.removed, err
		}
	} else if oneRepository(names) {
		if err := s.conflict(imageID, o.Force, false); err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := r.drop(ctx, imageID, name); err != nil {
				return r.removed, err
			}
		}
	}
	err = r.delete(ctx, imageID, o.Force, name != "")
	return r.removed, err
}

// oneRepository reports whether the names are at most one tag, with any digests of the same repository.
func oneRepository(names []string) bool {
	if tagCount(names) > 1 {
		return false
	}
	for _, name := range names {
		if repository(name) != repository(names[0]) {
			return false
		}
	}
	return true
}

func tagCount(names []string) int {
	n := 0
	for _, name := range names {
		if !isDigestName(name) {
			n++
		}
	}
	return n
}

// untag drops one name. With the last tag of a repository its digests go, too. It returns how many names are left.
func (r *removal) untag(ctx context.Context, imageID digest.Digest, name string) (int, error) {
	if err := r.drop(ctx, imageID, name); err != nil {
		return 0, err
	}
	left := r.s.currentNames(imageID)
	if isDigestName(name) {
		return len(left), nil
	}
	same := func(n string) bool { return repository(n) == repository(name) }
	if slices.ContainsFunc(left, func(n string) bool { return same(n) && !isDigestName(n) }) {
		return len(left), nil
	}
	for _, n := range left {
		if same(n) {
			if err := r.drop(ctx, imageID, n); err != nil {
				return 0, err
			}
		}
	}
	return len(r.s.currentNames(imageID)), nil
}

func (r *removal) drop(ctx context.Context, imageID digest.Digest, name string) error {
	if err := r.s.dropName(ctx, name); err != nil {
		return err
	}
	r.removed = append(r.removed, image.DeleteResponse{Untagged: familiar(name)})
	if i := r.s.snapshotOrNil(imageID); i != nil {
		r.s.publish(events.ActionUnTag, imageID.String(), i, imageID.String())
	}
	return nil
}

func (s *Store) currentNames(imageID digest.Digest) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.namesOf(imageID)
}

func (s *Store) snapshotOrNil(imageID digest.Digest) *Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.images[imageID] == nil {
		return nil
	}
	return s.named(imageID)
}

// conflict says what forbids the removal of the image. names: also more than one name does.
func (s *Store) conflict(imageID digest.Digest, force, names bool) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	refuse := func(how, why string) error {
		return errkind.New(errkind.Conflict, "conflict: unable to delete %s (%s) - %s", id.Short(imageID.String()), how, why)
	}
	for _, i := range s.images {
		if i.Parent == imageID {
			return refuse("cannot be forced", "image has dependent child images")
		}
	}
	if owner, ok := s.user(imageID, true); ok {
		return refuse("cannot be forced", "image is being used by running container "+owner)
	}
	if force {
		return nil
	}
	if names && len(s.namesOf(imageID)) > 1 {
		return refuse("must be forced", "image is referenced in multiple repositories")
	}
	if owner, ok := s.user(imageID, false); ok {
		return refuse("must be forced", "image is being used by stopped container "+owner)
	}
	return nil
}

// delete removes the image and then the parents that were kept for it alone; quietly, where one may not go.
func (r *removal) delete(ctx context.Context, imageID digest.Digest, force, quiet bool) error {
	s := r.s
	if err := s.conflict(imageID, force, true); err != nil {
		if quiet {
			return nil
		}
		return err
	}
	i := s.snapshotOrNil(imageID)
	if quiet && (i == nil || len(i.RepoTags)+len(i.RepoDigests) > 0) {
		return nil
	}
	for _, name := range s.currentNames(imageID) {
		if err := r.drop(ctx, imageID, name); err != nil {
			return err
		}
	}
	// The record first: what it named may be missing then, but is never named and missing.
	if err := s.imageRows.Delete(ctx, imageID.String()); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.images, imageID)
	s.mu.Unlock()
	s.publish(events.ActionDelete, imageID.String(), i, imageID.String())
	r.removed = append(r.removed, image.DeleteResponse{Deleted: imageID.String()})
	if err := r.collect(ctx, i); err != nil {
		return err
	}
	if r.o.NoPrune || i.Parent == "" {
		return nil
	}
	return r.delete(ctx, i.Parent, false, true)
}

// collect gives the image's layers up and notes which of them are gone, top first.
func (r *removal) collect(ctx context.Context, i *Image) error {
	sizes := map[digest.Digest]int64{}
	for _, chain := range i.Layers {
		if l, err := r.s.layers.Get(chain); err == nil {
			sizes[chain] = l.Size
		}
	}
	r.s.layers.Release(holdName(i.ID))
	if err := r.s.layers.Collect(ctx); err != nil {
		return err
	}
	for _, chain := range slices.Backward(i.Layers) {
		if _, err := r.s.layers.Get(chain); err != nil {
			r.removed = append(r.removed, image.DeleteResponse{Deleted: chain.String()})
			r.freed += sizes[chain]
		}
	}
	return nil
}

// Prune removes the images that have no tag, or with all every image, unless somebody holds them or keep (nil: none)
// says so. It returns what it removed and the bytes of the layers that went.
func (s *Store) Prune(ctx context.Context, all bool, keep func(*Image) bool) ([]image.DeleteResponse, int64, error) {
	s.change.Lock()
	defer s.change.Unlock()
	r := &removal{s: s}
	for _, i := range s.List(ctx) {
		if err := ctx.Err(); err != nil {
			return r.removed, r.freed, err
		}
		if len(i.RepoTags) > 0 && !all || keep != nil && keep(&i) {
			continue
		}
		s.mu.RLock()
		_, used := s.anyUser(i.ID)
		s.mu.RUnlock()
		if used || s.conflict(i.ID, true, false) != nil {
			continue
		}
		if err := r.delete(ctx, i.ID, true, false); err != nil {
			return r.removed, r.freed, err
		}
	}
	return r.removed, r.freed, nil
}
