// Package mounts keeps what a container's mounts take of other rooms: volumes and images. They are held while the
// container has a record, and mounted while it runs or somebody looks at its files.
//
//	Take                     create: anonymous volumes are noted in the container's folder, then all are made and held
//	Hold                     the daemon starts: held once more, for references live in memory
//	Mount, Adopt -> Unmount  a start, or a container that runs when the daemon starts -> its end
//	Release                  remove: given back, anonymous volumes removed
//	Sweep, Abandon           what a crash left of a container without a record
//
// Start reading at Mounts.
package mounts

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/moby/moby/api/types/mount"
	volumes "github.com/moby/moby/api/types/volume"

	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/daemon/volume"
	"pier/lib/errkind"
)

// Mounts are the mounts of all containers. It has no state of its own: safe for concurrent use by different containers.
// Every id is a container's, every list that of its record.
type Mounts struct {
	Images  *image.Store
	Layers  *layer.Store
	Volumes *volume.Volumes
	Root    string // of the containers' folders
}

// Take makes the volumes of a container that is being created, where they do not exist, and holds them and the images
// of its mounts; it fills in what the list does not say yet. Of an attempt that fails, undo, which is never nil, removes
// the volumes that were made. The references are the caller's to give back.
func (s Mounts) Take(ctx context.Context, id string, list []settings.Mount) (undo func(), err error) {
	var made []string
	undo = func() {
		for _, name := range made {
			_ = s.Volumes.Remove(context.WithoutCancel(ctx), name, true)
		}
	}
	if err := claim(s.folder(id), list); err != nil {
		return undo, errkind.New(errkind.Internal, "container %s: %w", id, err)
	}
	for i := range list {
		m := &list[i]
		switch {
		case m.Type == mount.TypeImage:
			err = s.takeImage(id, m)
		case m.Type != mount.TypeVolume:
		case m.Source != "": // another container's, by volumes-from
			err = s.Volumes.Hold(id, m.Name)
		default:
			_, unknown := s.Volumes.Get(m.Name)
			var v volumes.Volume
			v, err = s.Volumes.Create(ctx, volumes.CreateRequest{Name: m.Name, Driver: m.Driver, DriverOpts: m.VolumeOptions,
				Labels: volume.Labels(m.VolumeLabels, m.Anonymous)})
			if err != nil {
				return undo, err
			}
			if unknown != nil {
				made = append(made, v.Name)
			}
			m.Name, m.Source, m.Driver = v.Name, v.Mountpoint, v.Driver
			err = s.Volumes.Hold(id, v.Name)
		}
		if err != nil {
			return undo, err
		}
	}
	return undo, nil
}

// Hold takes the references of a container that exists already. It does what it can; the error has all that is gone.
func (s Mounts) Hold(id string, list []settings.Mount) error {
	var errs []error
	for _, m := range list {
		switch {
		case m.Type == mount.TypeImage:
			errs = append(errs, s.holdImage(id, m))
		case m.Name != "":
			errs = append(errs, s.Volumes.Hold(id, m.Name))
		}
	}
	return errors.Join(errs...)
}

// Mount makes every mount's source ready and returns the list with sources filled in. Where fill is set, a volume that
// is empty gets what root, the container's own, holds in its place. Unmount undoes it, after an error too.
func (s Mounts) Mount(ctx context.Context, id string, list []settings.Mount, root *os.File, fill bool) ([]settings.Mount, error) {
	ready := slices.Clone(list)
	for i := range ready {
		m := &ready[i]
		var err error
		switch m.Type {
		case mount.TypeVolume:
			if fill && !m.NoCopy {
				if err := s.Volumes.CopyUp(ctx, m.Name, root, m.Destination); err != nil {
					return nil, err
				}
			}
			if m.Source, err = s.Volumes.Mount(ctx, id, m.Name, point(m)); err == nil {
				err = process.HasSubpath(m.Source, m.Subpath)
			}
		case mount.TypeImage:
			m.Source, err = s.mountImage(id, i, *m)
		case mount.TypeBind:
			err = process.BindSource(*m)
		}
		if err != nil {
			return nil, err
		}
	}
	return ready, nil
}

func point(m *settings.Mount) volume.Point {
	return volume.Point{Destination: m.Destination, RW: m.RW, Propagation: string(m.Propagation)}
}

// Adopt counts the volumes of a container that runs as mounted; what is mounted in it is there. It does what it can.
func (s Mounts) Adopt(ctx context.Context, id string, list []settings.Mount) error {
	var errs []error
	for _, m := range list {
		if m.Name != "" {
			_, err := s.Volumes.Mount(ctx, id, m.Name, point(&m))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Unmount undoes Mount and Adopt. What is not mounted is no error.
func (s Mounts) Unmount(id string, list []settings.Mount) error {
	var errs []error
	for i, m := range list {
		switch {
		case m.Type == mount.TypeImage:
			errs = append(errs, process.Unmount(s.imagePath(id, i)))
		case m.Name != "":
			errs = append(errs, s.Volumes.Unmount(id, m.Name))
		}
	}
	return errors.Join(errs...)
}

// Sized reports whether a volume among the mounts has a size that it must not outgrow.
func (s Mounts) Sized(list []settings.Mount) bool {
	return slices.ContainsFunc(list, func(m settings.Mount) bool { return m.Name != "" && s.Volumes.Sized(m.Name) })
}

// Release gives the volumes of a container back and, with anonymous, removes those that were made for it and that nobody
// else uses. From now on they may outlive the container's folder.
func (s Mounts) Release(ctx context.Context, id string, list []settings.Mount, anonymous bool) error {
	if len(list) == 0 {
		return nil
	}
	var errs []error
	s.Volumes.Release(id)
	for _, m := range list {
		if !anonymous || !m.Anonymous || m.Name == "" {
			continue
		}
		if err := s.Volumes.Remove(context.WithoutCancel(ctx), m.Name, true); !errkind.Is(err, errkind.Conflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, unclaim(s.folder(id)))...)
}

// Abandon removes the volumes of a container that has no record, for it was never made.
func (s Mounts) Abandon(ctx context.Context, id string) error {
	var errs []error
	for _, name := range claimed(s.folder(id)) {
		if err := s.Volumes.Remove(ctx, name, true); !errkind.Is(err, errkind.NotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
