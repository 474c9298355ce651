package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/volume"

	"pier/api/docker"
	"pier/daemon/store/record"
	"pier/kernel/fsinfo"
	"pier/kernel/fsroot"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/feed"
	"pier/lib/id"
)

// anonymousLabel marks volumes that nobody named, as Docker's clients expect it.
const anonymousLabel = "com.docker.volume.anonymous"

// The folders inside Options.Root.
const (
	dataDir    = "_data"
	gonePrefix = ".gone-"
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

// row is a volume on disk.
type row struct {
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	Options map[string]string `json:"options,omitempty"`
	// Filled: content was copied from an image; it never is again, even if a container has removed it all since.
	Filled bool `json:"filled,omitempty"`
}

// plain reports whether the content lies in the volume's own folder, where nothing is mounted.
func (r row) plain() bool {
	for key := range r.Options {
		if key != sizeOption {
			return false
		}
	}
	return true
}

// volume is one volume at work.
type volume struct {
	name string
	work sync.Mutex // see the package's comment

	// Guarded by Volumes.mu.
	row
	holders map[string]bool
	mounts  map[string]bool // owners that use it
	gone    bool
}

// Volumes are all volumes of one daemon. It is safe for concurrent use.
type Volumes struct {
	root    string
	records *record.Table[row]
	feed    *feed.Feed[events.Message]
	clock   clock.Clock

	mu   sync.Mutex
	byID map[string]*volume
}

// Open reads the records, finishes removals that a crash interrupted, and takes in folders without a record.
func Open(o Options) (*Volumes, error) {
	v := &Volumes{root: o.Root, records: record.NewTable[row](o.Records, "volumes"), feed: o.Events, clock: o.Clock, byID: map[string]*volume{}}
	if v.clock == nil {
		v.clock = clock.Real{}
	}
	if err := v.load(); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return v, nil
}

func (v *Volumes) load() error {
	if err := os.MkdirAll(v.root, 0o711); err != nil {
		return err
	}
	rows, err := v.records.All()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(v.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), gonePrefix):
			if err := v.destroy(e.Name()); err != nil {
				return err
			}
		case e.IsDir() && checkName(e.Name()) == nil:
			if fi, err := os.Lstat(v.path(e.Name())); err != nil || !fi.IsDir() {
				_ = os.Remove(filepath.Join(v.root, e.Name())) // empty: a crash came before the content's folder
				continue
			}
			r, ok := rows[e.Name()]
			if !ok {
				r.Created = v.clock.Now().UTC()
			}
			v.byID[e.Name()] = newVolume(e.Name(), r)
			delete(rows, e.Name())
		}
	}
	for name := range rows {
		if err := v.records.Delete(context.Background(), name); err != nil {
			return err
		}
	}
	return nil
}

func newVolume(name string, r row) *volume {
	return &volume{name: name, row: r, holders: map[string]bool{}, mounts: map[string]bool{}}
}

// path is the folder of a volume's content.
func (v *Volumes) path(name string) string { return filepath.Join(v.root, name, dataDir) }

func checkName(name string) error {
	switch {
	case len(name) == 1:
		return errkind.New(errkind.Invalid, "create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	case len(name) > 255 || !docker.IsName(name):
		return errkind.New(errkind.Invalid, "create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, name)
	}
	return nil
}

// Labels returns labels as Create wants them for a volume that nobody named, or that somebody did.
func Labels(labels map[string]string, anonymous bool) map[string]string {
	if !anonymous {
		return labels
	}
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[anonymousLabel] = ""
	return labels
}

// Create makes a volume, or returns the one that has the name already, whatever its labels and options. An empty name
// is an anonymous volume. Invalid for a bad name or bad options, NotFound for another driver than local.
func (v *Volumes) Create(ctx context.Context, r api.CreateRequest) (api.Volume, error) {
	if r.Driver != "" && r.Driver != "local" {
		return api.Volume{}, errkind.New(errkind.NotFound, "create %s: error looking up volume plugin %s: plugin %q not found: use the driver local", r.Name, r.Driver, r.Driver)
	}
	if r.ClusterVolumeSpec != nil {
		return api.Volume{}, errkind.New(errkind.Unsupported, "create %s: cluster volumes are not supported", r.Name)
	}
	n := row{Labels: maps.Clone(r.Labels), Options: maps.Clone(r.DriverOpts), Created: v.clock.Now().UTC()}
	if r.Name == "" {
		r.Name = id.New()
		n.Labels = Labels(n.Labels, true)
	}
	if err := checkName(r.Name); err != nil {
		return api.Volume{}, err
	}
	if err := checkOptions(r.Name, n.Options); err != nil {
		return api.Volume{}, err
	}
	for {
		v.mu.Lock()
		one := v.byID[r.Name]
		fresh := one == nil
		if fresh {
			one = newVolume(r.Name, n)
			one.work.Lock()
			v.byID[r.Name] = one
		}
		v.mu.Unlock()
		if !fresh { // wait for whoever makes or removes it
			one.work.Lock()
			v.mu.Lock()
			gone, seen := one.gone, v.show(one)
			v.mu.Unlock()
			one.work.Unlock()
			if gone {
				continue
			}
			return seen, nil
		}
		err := v.make(ctx, one)
		v.mu.Lock()
		if err != nil {
			one.gone = true
			delete(v.byID, r.Name)
		}
		seen := v.show(one)
		v.mu.Unlock()
		one.work.Unlock()
		if err != nil {
			return api.Volume{}, fmt.Errorf("create %s: %w", r.Name, err)
		}
		v.tell(one.name, events.ActionCreate)
		return seen, nil
	}
}

// make puts a new volume on the disk: the folder, then the record.
func (v *Volumes) make(ctx context.Context, one *volume) error {
	if size, err := sizeOf(one.Options); err != nil {
		return err
	} else if size > 0 {
		return v.makeSized(ctx, one, size)
	}
	err := os.Mkdir(filepath.Join(v.root, one.name), 0o711)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Mkdir(v.path(one.name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Mkdir obeys the umask; Docker's volumes are open to all users of a container.
	if err := os.Chmod(v.path(one.name), 0o755); err != nil {
		return err
	}
	if err := v.records.Put(ctx, one.name, one.row); err != nil {
		_ = v.bury(one.name)
		return err
	}
	return nil
}

// show is what the API tells of a volume; v.mu is held.
func (v *Volumes) show(one *volume) api.Volume {
	return api.Volume{
		Name: one.name, Driver: "local", Scope: "local", Mountpoint: v.path(one.name), CreatedAt: one.Created.Format(time.RFC3339),
		Labels: maps.Clone(one.Labels), Options: maps.Clone(one.Options),
	}
}

// Get returns a volume. NotFound: "get x: no such volume".
func (v *Volumes) Get(name string) (api.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, err := v.find(name)
	if err != nil {
		return api.Volume{}, err
	}
	return v.show(one), nil
}

// find looks a volume up; v.mu is held.
func (v *Volumes) find(name string) (*volume, error) {
	if one := v.byID[name]; one != nil && !one.gone {
		return one, nil
	}
	return nil, errkind.New(errkind.NotFound, "get %s: no such volume", name)
}

// List returns the volumes that f selects, ordered by name.
func (v *Volumes) List(f Filter) []api.Volume {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := []api.Volume{}
	for _, one := range v.byID {
		if !one.gone && f.fits(one) {
			list = append(list, v.show(one))
		}
	}
	slices.SortFunc(list, func(a, b api.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Remove deletes a volume and its content. Conflict while somebody holds it, forced or not; force only makes a missing
// volume no error.
func (v *Volumes) Remove(ctx context.Context, name string, force bool) error {
	v.mu.Lock()
	one, err := v.find(name)
	v.mu.Unlock()
	if err != nil {
		if force {
			return nil
		}
		return err
	}
	one.work.Lock()
	defer one.work.Unlock()
	return v.remove(ctx, one)
}

// remove deletes one, whose work lock is held.
func (v *Volumes) remove(ctx context.Context, one *volume) error {
	v.mu.Lock()
	if one.gone {
		v.mu.Unlock()
		return nil
	}
	if len(one.holders) > 0 {
		owners := slices.Sorted(maps.Keys(one.holders))
		v.mu.Unlock()
		return errkind.New(errkind.Conflict, "remove %s: volume is in use - [%s]", one.name, strings.Join(owners, ", "))
	}
	one.gone = true // nobody can hold it from here on
	v.mu.Unlock()
	err := v.unmount(one)
	if err == nil {
		err = v.records.Delete(ctx, one.name)
	}
	if err == nil {
		err = v.bury(one.name)
	}
	v.mu.Lock()
	if err != nil {
		one.gone = false
	} else {
		delete(v.byID, one.name)
	}
	v.mu.Unlock()
	if err != nil {
		return fmt.Errorf("remove %s: %w", one.name, err)
	}
	v.tell(one.name, events.ActionDestroy)
	return nil
}

// bury takes a volume's folder out of sight in one step, then deletes it.
func (v *Volumes) bury(name string) error {
	gone := gonePrefix + id.New()
	if err := os.Rename(filepath.Join(v.root, name), filepath.Join(v.root, gone)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return v.destroy(gone)
}

func (v *Volumes) erase(name string) error {
	root, err := fsroot.Open(v.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}

// Hold adds owner's reference (a container ID). Holding twice is once.
func (v *Volumes) Hold(owner, name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, err := v.find(name)
	if err != nil {
		return err
	}
	one.holders[owner] = true
	return nil
}

// Release gives back all references of owner and returns the names that it held.
func (v *Volumes) Release(owner string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for name, one := range v.byID {
		if one.holders[owner] {
			delete(one.holders, owner)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Prune removes the volumes that f selects and nobody holds; anonymous ones only, unless all is set.
func (v *Volumes) Prune(ctx context.Context, f Filter, all bool) (api.PruneReport, error) {
	report := api.PruneReport{VolumesDeleted: []string{}}
	unused := true
	f.Dangling = &unused
	for _, one := range v.List(f) {
		if _, anonymous := one.Labels[anonymousLabel]; !all && !anonymous {
			continue
		}
		size, err := fsinfo.Usage(one.Mountpoint)
		if err == nil {
			err = v.Remove(ctx, one.Name, true)
		}
		if errkind.Is(err, errkind.Conflict) || errors.Is(err, fs.ErrNotExist) {
			continue // somebody has taken or removed it meanwhile
		}
		if err != nil {
			return report, err
		}
		report.VolumesDeleted = append(report.VolumesDeleted, one.Name)
		report.SpaceReclaimed += uint64(size)
	}
	if v.feed != nil {
		v.publish(events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)})
	}
	return report, nil
}

// tell publishes an event about a volume.
func (v *Volumes) tell(name string, action events.Action, more ...string) {
	if v.feed == nil {
		return
	}
	attributes := map[string]string{"driver": "local"}
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	v.publish(action, name, attributes)
}

func (v *Volumes) publish(action events.Action, name string, attributes map[string]string) {
	now := v.clock.Now()
	v.feed.Publish(events.Message{
		Type: events.VolumeEventType, Action: action, Actor: events.Actor{ID: name, Attributes: attributes},
		Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
	})
}
