package volume

import (
	"context"
	"os"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/volume"

	"pier/daemon/store/record"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// Options says where volumes are kept. Root and Records are required.
type Options struct {
	// Root is the folder "volumes" of the data root; it is made with mode 0711 if it is not there.
	Root string
	// Records keeps names, labels and options; the caller opens and closes it.
	Records *record.DB
	// Events gets volume create, mount, unmount and destroy; nil: nobody is told.
	Events *feed.Feed[events.Message]
	// Clock is nil for the computer's own.
	Clock clock.Clock
}

// Filter selects volumes; empty fields select all. It is what the filters of the API become.
type Filter struct {
	// Names are parts of names, of which one must occur. Drivers are whole names of drivers.
	Names, Drivers []string
	// Labels are "key" or "key=value", all of which must fit; NotLabels none of which may.
	Labels, NotLabels []string
	// Dangling, if not nil, selects volumes that nobody holds (true) or somebody holds (false).
	Dangling *bool
}

// Volumes are all volumes of one daemon. It is safe for concurrent use.
type Volumes struct{}

// Open reads the records.
func Open(o Options) (*Volumes, error) { return &Volumes{}, nil }

// Create makes a volume, or returns the one that has the name already. An empty name is an anonymous volume.
// Invalid for a bad name, Conflict where the existing one has other options or another driver.
func (v *Volumes) Create(ctx context.Context, r api.CreateRequest) (api.Volume, error) {
	return api.Volume{}, errkind.New(errkind.Unsupported, "create volume")
}

// Get returns a volume. NotFound: "get x: no such volume".
func (v *Volumes) Get(name string) (api.Volume, error) {
	return api.Volume{}, errkind.New(errkind.NotFound, "get %s: no such volume", name)
}

// List returns the volumes that f selects, ordered by name.
func (v *Volumes) List(f Filter) []api.Volume { return nil }

// Remove deletes a volume and its content. Conflict while somebody holds it, forced or not; force only makes a missing
// volume no error.
func (v *Volumes) Remove(ctx context.Context, name string, force bool) error { return nil }

// Hold adds owner's reference (a container ID). Holding twice is once.
func (v *Volumes) Hold(owner, name string) error { return nil }

// Release gives back all references of owner and returns the names that it held.
func (v *Volumes) Release(owner string) []string { return nil }

// Prune removes the volumes that f selects and nobody holds; anonymous ones only, unless all is set.
func (v *Volumes) Prune(ctx context.Context, f Filter, all bool) (api.PruneReport, error) {
	return api.PruneReport{}, nil
}

// Mount returns the path of the volume's content for owner, who holds it, and mounts it first where its options ask
// for a file system (type, device, o). Unmount is its opposite; the last one unmounts.
func (v *Volumes) Mount(ctx context.Context, owner, name string) (string, error) {
	return "", errkind.New(errkind.Unsupported, "mount volume")
}

// Unmount ends owner's use of a mounted volume.
func (v *Volumes) Unmount(owner, name string) error { return nil }

// CopyUp fills an empty volume, once, with what path holds below root (a container's root file system, as a directory
// or a detached mount), owners and modes included. A volume with content, or a path that is not a folder, is left alone.
func (v *Volumes) CopyUp(ctx context.Context, name string, root *os.File, path string) error {
	return nil
}
