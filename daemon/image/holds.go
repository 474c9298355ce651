package image

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"pier/lib/id"
)

// holder is somebody who uses images.
type holder struct {
	images  map[digest.Digest]bool
	running bool
}

// Hold keeps the image and its layers for owner, a container's ID, until Release: Remove then refuses with Docker's
// words. Holds live in memory; take them again after Open. NotFound where there is no such image.
func (s *Store) Hold(owner string, imageID digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.images[imageID]
	if i == nil {
		return errNoImage(imageID.String())
	}
	if err := s.layers.Hold(holdName(imageID)+" for "+owner, i.Chain); err != nil {
		return err
	}
	if s.holders[owner] == nil {
		s.holders[owner] = &holder{images: map[digest.Digest]bool{}}
	}
	s.holders[owner].images[imageID] = true
	return nil
}

// Running says whether the container owner runs: images of running containers cannot be removed even by force. A new
// holder does not run.
func (s *Store) Running(owner string, running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.holders[owner]; h != nil {
		h.running = running
	}
}

// Release ends all holds of owner.
func (s *Store) Release(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holders[owner]
	if h == nil {
		return
	}
	for imageID := range h.images {
		s.layers.Release(holdName(imageID) + " for " + owner)
	}
	delete(s.holders, owner)
}

// user finds a holder of the image, the same one each time. It needs s.mu.
func (s *Store) user(imageID digest.Digest, running bool) (string, bool) {
	for _, owner := range slices.Sorted(maps.Keys(s.holders)) {
		if h := s.holders[owner]; h.images[imageID] && h.running == running {
			return id.Short(owner), true
		}
	}
	return "", false
}

// anyUser finds a holder of either kind. It needs s.mu.
func (s *Store) anyUser(imageID digest.Digest) (string, bool) {
	if owner, ok := s.user(imageID, true); ok {
		return owner, true
	}
	return s.user(imageID, false)
}
