package image

import (
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
	"pier/lib/id"
)

// canonicalTags turns names as users write them ("busybox") into canonical form ("docker.io/library/busybox:latest").
func canonicalTags(tags []string) ([]string, error) {
	var names []string
	for _, tag := range tags {
		name, err := canonicalTag(tag)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func canonicalTag(tag string) (string, error) {
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return "", errkind.New(errkind.Invalid, "%q is not a name for an image: %w", tag, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", errkind.New(errkind.Invalid, "refusing to create a tag with a digest reference")
	}
	if named.Name() == "docker.io/library/sha256" {
		return "", errkind.New(errkind.Invalid, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	return reference.TagNameOnly(named).String(), nil
}

// familiar is the short form that users see.
func familiar(canonical string) string {
	named, err := reference.ParseNormalizedNamed(canonical)
	if err != nil {
		return canonical
	}
	return reference.FamiliarString(named)
}

// repository cuts tag or digest off a canonical name.
func repository(canonical string) string {
	if repo, _, ok := strings.Cut(canonical, "@"); ok {
		return repo
	}
	return canonical[:strings.LastIndexByte(canonical, ':')]
}

func isDigestName(canonical string) bool { return strings.Contains(canonical, "@") }

// Get finds an image by name[:tag], name@digest, ID, or a beginning of its ID that no other image shares. NotFound with
// Docker's words where there is none, Invalid where ref cannot be a name.
func (s *Store) Get(ref string) (*Image, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	imageID, _, err := s.resolve(ref)
	if err != nil {
		return nil, err
	}
	return s.named(imageID), nil
}

// resolve finds what ref stands for, and the canonical name by which it was found ("" for an ID). It needs s.mu.
func (s *Store) resolve(ref string) (digest.Digest, string, error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return "", "", errkind.New(errkind.Invalid, "%w", err)
	}
	named, ok := parsed.(reference.Named)
	if !ok { // sha256:..., or 64 digits alone
		d := digest.Digest(parsed.String())
		if s.images[d] == nil {
			return "", "", errNoImage(ref)
		}
		return d, "", nil
	}
	canonical := reference.TagNameOnly(named).String()
	if digested, ok := named.(reference.Canonical); ok { // a tag beside the digest does not count
		canonical = named.Name() + "@" + digested.Digest().String()
		if imageID, ok := s.names[canonical]; ok {
			return imageID, canonical, nil
		}
		if s.images[digested.Digest()] != nil {
			for name, imageID := range s.names {
				if imageID == digested.Digest() && repository(name) == named.Name() {
					return imageID, "", nil
				}
			}
		}
	}
	if imageID, ok := s.names[canonical]; ok {
		return imageID, canonical, nil
	}
	if imageID, ok := s.prefixed(ref); ok {
		return imageID, "", nil
	}
	return "", "", errNoImage(reference.FamiliarString(reference.TagNameOnly(named)))
}

// prefixed finds the one image whose ID begins with ref. It needs s.mu.
func (s *Store) prefixed(ref string) (digest.Digest, bool) {
	ref = strings.TrimPrefix(ref, "sha256:")
	if !id.Valid(ref) {
		return "", false
	}
	var found digest.Digest
	for d := range s.images {
		if strings.HasPrefix(d.Encoded(), ref) {
			if found != "" {
				return "", false
			}
			found = d
		}
	}
	return found, found != ""
}

// named returns a copy of the image with its present names. It needs s.mu.
func (s *Store) named(imageID digest.Digest) *Image {
	i := s.images[imageID].clone()
	for _, name := range s.namesOf(imageID) {
		if isDigestName(name) {
			i.RepoDigests = append(i.RepoDigests, familiar(name))
		} else {
			i.RepoTags = append(i.RepoTags, familiar(name))
		}
	}
	return i
}

// namesOf returns the canonical names of the image, sorted. It needs s.mu.
func (s *Store) namesOf(imageID digest.Digest) []string {
	var names []string
	for name, d := range s.names {
		if d == imageID {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// snapshot is named with the lock.
func (s *Store) snapshot(imageID digest.Digest) *Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.named(imageID)
}

// Tag gives the image found by ref one more name, taken from another image that has it. The name needs no tag; it may not
// have a digest.
func (s *Store) Tag(ctx context.Context, ref, name string) error {
	canonical, err := canonicalTag(name)
	if err != nil {
		return err
	}
	s.change.Lock()
	defer s.change.Unlock()
	i, err := s.Get(ref)
	if err != nil {
		return err
	}
	if _, err := s.keep(ctx, i, []string{canonical}); err != nil {
		return err
	}
	s.publish(events.ActionTag, i.ID.String(), i, familiar(canonical))
	return nil
}

// List returns all images, newest first.
func (s *Store) List(ctx context.Context) []Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	byImage := map[digest.Digest]*Image{}
	all := make([]*Image, 0, len(s.images))
	for d, i := range s.images {
		c := i.clone()
		byImage[d] = c
		all = append(all, c)
	}
	for name, d := range s.names {
		if i := byImage[d]; isDigestName(name) {
			i.RepoDigests = append(i.RepoDigests, familiar(name))
		} else {
			i.RepoTags = append(i.RepoTags, familiar(name))
		}
	}
	out := make([]Image, 0, len(all))
	for _, i := range all {
		slices.Sort(i.RepoTags)
		slices.Sort(i.RepoDigests)
		out = append(out, *i)
	}
	sort.Slice(out, func(a, b int) bool {
		if !out[a].Created.Equal(out[b].Created) {
			return out[a].Created.After(out[b].Created)
		}
		return out[a].ID < out[b].ID
	})
	return out
}

// tagsOf returns all names of the repository that ref names without a tag or digest, or none. It needs s.mu.
func (s *Store) tagsOf(ref string) []string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || !reference.IsNameOnly(named) {
		return nil
	}
	var names []string
	for name := range s.names {
		if repository(name) == named.Name() && !isDigestName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unique removes repetitions and keeps the order.
func unique(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
