package image

import (
	"context"

	"pier/daemon/registry"
	"pier/lib/errkind"
)

// Pull fetches an image from its registry.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions, progress func(registry.Progress)) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "pull")
}
