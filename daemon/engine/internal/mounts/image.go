package mounts

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

func (s Mounts) folder(id string) string { return filepath.Join(s.Root, id) }

// imagePath is where the image is mounted that is at a place in the container's list: a mount of an image (--mount
// type=image) shows its files, read-only, by an overlay of its own.
func (s Mounts) imagePath(id string, place int) string {
	return filepath.Join(s.folder(id), "images", strconv.Itoa(place))
}

// takeImage finds the image of a mount and holds it for the container. Invalid where there is none: to clients "not found"
// means the container's own image, which they then pull.
func (s Mounts) takeImage(id string, m *settings.Mount) error {
	img, err := s.Images.Get(m.Source)
	if err != nil {
		return errkind.New(errkind.Invalid, "invalid mount config for type \"image\": %w: pull it first", err)
	}
	m.Image, m.Chain = img.ID, img.Chain
	return s.holdImage(id, *m)
}

// holdImage keeps the image of a mount, and its layers should it be removed by force.
func (s Mounts) holdImage(id string, m settings.Mount) error {
	if err := s.Images.Hold(id, m.Image); err != nil {
		return err
	}
	return s.Layers.Hold(id, m.Chain)
}

// mountImage mounts the image that is at a place in the container's list of mounts, and returns where.
func (s Mounts) mountImage(id string, place int, m settings.Mount) (string, error) {
	tree, err := s.Layers.Mount(m.Chain, nil, layer.MountOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer tree.Close()
	at := s.imagePath(id, place)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", errkind.New(errkind.Internal, "container %s: %w", id, err)
	}
	if err := process.Attach(tree, at); err != nil {
		return "", err
	}
	return at, process.HasSubpath(at, m.Subpath)
}

// Sweep unmounts the images that a crash left mounted for a container that does not run.
func (s Mounts) Sweep(id string) error {
	left, err := filepath.Glob(filepath.Join(s.folder(id), "images", "*"))
	errs := []error{err}
	for _, at := range left {
		errs = append(errs, process.Unmount(at))
	}
	return errors.Join(errs...)
}
