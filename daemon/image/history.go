package image

import (
	"slices"

	"github.com/moby/moby/api/types/image"

	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// Folders says where the files of image i are, as layer.Folders does; nil for an image without layers.
func Folders(s *Store, i *Image) map[string]string {
	return layer.Folders(s.layers, i.Chain, nil, layer.MountOptions{})
}

// History tells how the image came to be, newest step first, in the form of GET /images/{name}/history: only the
// newest has an ID, the others "<missing>".
func (s *Store) History(ref string) ([]image.HistoryResponseItem, error) {
	i, err := s.Get(ref)
	if err != nil {
		return nil, err
	}
	var items []image.HistoryResponseItem
	layers := i.Layers
	for _, h := range i.Config.History {
		item := image.HistoryResponseItem{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if len(layers) == 0 {
				return nil, errkind.New(errkind.Invalid, "image %s: its history names more layers than there are", ref)
			}
			l, err := s.layers.Get(layers[0])
			if err != nil {
				return nil, err
			}
			item.Size, layers = l.Size, layers[1:]
		}
		items = append(items, item)
	}
	slices.Reverse(items)
	if len(items) > 0 {
		items[0].ID, items[0].Tags = i.ID.String(), i.RepoTags
	}
	return items, nil
}
