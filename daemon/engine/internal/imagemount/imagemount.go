// Package imagemount keeps mounts of images (--mount type=image): they show the files of another image, read-only. Each is
// an overlay of its own, which lies in the container's folder while it is in use: images/<place in the list of mounts>.
//
// Start reading at Mounts.Mount.
package imagemount

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moby/moby/api/types/mount"

	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// Mounts are the image mounts of all containers. It has no state of its own.
type Mounts struct {
	Images *image.Store
	Layers *layer.Store
	Root   string // of the containers' folders
}

func (s Mounts) path(id string, place int) string {
	return filepath.Join(s.Root, id, "images", strconv.Itoa(place))
}

// Take finds the image of a mount and holds it for the container. Invalid where there is none: to clients "not found"
// means the container's own image, which they then pull.
func (s Mounts) Take(id string, m *settings.Mount) error {
	img, err := s.Images.Get(m.Source)
	if err != nil {
		return errkind.New(errkind.Invalid, "invalid mount config for type \"image\": %w: pull it first", err)
	}
	m.Image, m.Chain = img.ID, img.Chain
	return s.Hold(id, *m)
}

// Hold keeps the image of a mount, and its layers should it be removed by force. Other mounts are none of its business.
func (s Mounts) Hold(id string, m settings.Mount) error {
	if m.Type != mount.TypeImage {
		return nil
	}
	if err := s.Images.Hold(id, m.Image); err != nil {
		return err
	}
	return s.Layers.Hold(id, m.Chain)
}

// Mount mounts the image that is at a place in the container's list of mounts, and returns where.
func (s Mounts) Mount(id string, place int, m settings.Mount) (string, error) {
	tree, err := s.Layers.Mount(m.Chain, nil, layer.MountOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer tree.Close()
	at := s.path(id, place)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", errkind.New(errkind.Internal, "container %s: %w", id, err)
	}
	if err := process.Attach(tree, at); err != nil {
		return "", err
	}
	return at, process.HasSubpath(at, m.Subpath)
}

// Unmount undoes Mount for all of a container's mounts; those that are gone are no error.
func (s Mounts) Unmount(id string, mounts []settings.Mount) error {
	var errs []error
	for i, m := range mounts {
		if m.Type == mount.TypeImage {
			errs = append(errs, process.Unmount(s.path(id, i)))
		}
	}
	return errors.Join(errs...)
}

// Sweep undoes what a crash left of a container without a record.
func (s Mounts) Sweep(id string) error {
	left, err := filepath.Glob(filepath.Join(s.Root, id, "images", "*"))
	errs := []error{err}
	for _, at := range left {
		errs = append(errs, process.Unmount(at))
	}
	return errors.Join(errs...)
}
