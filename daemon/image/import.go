package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Import makes an image of one layer, the tar r (compressed or not) of a root file system. Without name it is found by
// its ID only.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	var tags []string
	if o.Ref != "" {
		if _, err := canonicalTag(o.Ref); err != nil {
			return nil, err
		}
		tags = append(tags, o.Ref)
	}
	platform := HostPlatform()
	if o.Platform != nil {
		platform = *o.Platform
	}
	l, err := s.layers.Apply(ctx, "", r, "")
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	if o.Message == "" {
		o.Message = "Imported from -"
	}
	now := s.clock.Now().UTC()
	config := dockerspec.DockerOCIImage{Image: ocispec.Image{
		Created: &now, Platform: platform,
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.DiffID}},
		History: []ocispec.History{{Created: &now, Comment: o.Message}},
	}}
	if o.Config != nil {
		config.Config = *o.Config
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	i, err := s.Create(ctx, raw, []digest.Digest{l.ChainID}, tags...)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	s.publish(events.ActionImport, i.ID.String(), i, i.ID.String())
	return i, nil
}
