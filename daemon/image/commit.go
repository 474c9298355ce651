package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/image/layer"
)

// CommitOptions describe the image that Commit makes.
type CommitOptions struct {
	Parent    digest.Digest // the image that the container was made from
	Config    dockerspec.DockerOCIImageConfig
	Ref       string // name to give it, "" for none
	Author    string
	Comment   string
	CreatedBy string // the command whose work the layer is
}

// Commit makes an image of its parent's layers and one more, the copy of a container's changes, which is used up also on
// an error. Without changes there is no further layer.
func (s *Store) Commit(ctx context.Context, changes *layer.Copy, o CommitOptions) (*Image, error) {
	defer changes.Drop()
	names, err := canonicalTags(tagsOf(o.Ref))
	if err != nil {
		return nil, err
	}
	parent, err := s.Get(o.Parent.String())
	if err != nil {
		return nil, err
	}
	now := s.clock.Now().UTC()
	config, layers := parent.Config, slices.Clone(parent.Layers)
	if !changes.Empty {
		l, err := changes.Commit(ctx, parent.Chain)
		if err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
		layers = append(layers, l.ChainID)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	config.Config, config.Author, config.Created, config.RootFS.Type = o.Config, o.Author, &now, "layers"
	config.History = append(config.History, ocispec.History{
		Created: &now, Author: o.Author, CreatedBy: o.CreatedBy, Comment: o.Comment, EmptyLayer: changes.Empty,
	})
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return s.create(ctx, raw, layers, parent.ID, names)
}

func tagsOf(ref string) []string {
	if ref == "" {
		return nil
	}
	return []string{ref}
}
