package image

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"pier/daemon/image/layer"
	"pier/daemon/registry"
	"pier/daemon/store/blob"
	"pier/daemon/store/record"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// Options are the rooms that an image store stands on.
type Options struct {
	// Root is the folder of blobs, an OCI image layout; made if it does not exist.
	Root    string
	Records *record.DB
	Layers  *layer.Store
	// Events receives pull, tag, untag, delete, load, import and save. May be nil.
	Events *feed.Feed[events.Message]
	Clock  clock.Clock // nil: clock.Real
	// Insecure lists registry hosts ("host" or "host:port") that are spoken to by plain HTTP. Loopback addresses always
	// may be.
	Insecure []string
}

// Image is one image as it was when asked for. It is a copy: the caller may change it.
type Image struct {
	ID          digest.Digest // of RawConfig
	Config      dockerspec.DockerOCIImage
	RawConfig   []byte          // the configuration blob as it came; do not change
	RepoTags    []string        // familiar form, "busybox:latest", sorted
	RepoDigests []string        // familiar form, "busybox@sha256:...", sorted
	Size        int64           // bytes of all layers, as layer.Layer counts them
	Chain       digest.Digest   // top layer, "" if there is none
	Layers      []digest.Digest // chain IDs, bottom first
	Created     time.Time       // as the configuration says; zero where it says nothing
	Parent      digest.Digest   // image it was made from by a commit, "" if unknown
}

// Store is the set of images. It is safe for concurrent use; readers never wait for the disk or the network.
type Store struct {
	blobs  *blob.Store
	layers *layer.Store
	client *registry.Client
	events *feed.Feed[events.Message]
	clock  clock.Clock
	root   string

	records   *record.DB
	imageRows *record.Table[imageRow]
	nameRows  *record.Table[nameRow]

	// change serialises what changes images and names; it is held while records are written, mu never is.
	change sync.Mutex

	mu      sync.RWMutex // guards the fields that follow
	images  map[digest.Digest]*Image
	names   map[string]digest.Digest // by canonical form, "docker.io/library/busybox:latest" or "...@sha256:..."
	holders map[string]*holder
}

// imageRow is one image in the records, under its ID.
type imageRow struct {
	Config []byte          // as it came; its digest is the ID
	Layers []digest.Digest // chain IDs, bottom first
	Parent digest.Digest   `json:",omitempty"`
	Added  time.Time
}

// nameRow is one name in the records, under its canonical form.
type nameRow struct{ ID digest.Digest }

// Open opens or makes the store and takes a hold on the layers of every image. An image whose layers or configuration
// are gone is left out, with its names, so that the others still work; loading it again mends it.
func Open(ctx context.Context, o Options) (*Store, error) {
	blobs, err := blob.Open(o.Root)
	if err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	s := &Store{
		blobs: blobs, layers: o.Layers, events: o.Events, clock: o.Clock, root: o.Root, records: o.Records,
		client:    registry.NewClient(registry.ClientOptions{Insecure: o.Insecure}),
		imageRows: record.NewTable[imageRow](o.Records, "images"),
		nameRows:  record.NewTable[nameRow](o.Records, "image-names"),
		images:    map[digest.Digest]*Image{}, names: map[string]digest.Digest{}, holders: map[string]*holder{},
	}
	if err := s.sweep(); err != nil {
		return nil, err
	}
	rows, err := s.imageRows.All()
	if err != nil {
		return nil, err
	}
	for id, row := range rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if i, err := s.take(digest.Digest(id), row); err == nil {
			s.images[i.ID] = i
		}
	}
	names, err := s.nameRows.All()
	if err != nil {
		return nil, err
	}
	for name, row := range names {
		if s.images[row.ID] != nil {
			s.names[name] = row.ID
		}
	}
	return s, blobs.Sweep(func(digest.Digest) bool { return false })
}

// take makes the image of a record ready for use.
func (s *Store) take(id digest.Digest, row imageRow) (*Image, error) {
	i, err := newImage(row.Config)
	if err != nil {
		return nil, err
	}
	if i.ID != id {
		return nil, errkind.New(errkind.Internal, "the record of image %s is damaged", id)
	}
	i.Layers, i.Parent = row.Layers, row.Parent
	if n := len(row.Layers); n > 0 {
		i.Chain = row.Layers[n-1]
	}
	// The record was written after the layers had been synced.
	if err := s.layers.Trust(i.Chain); err != nil {
		return nil, err
	}
	return i, s.measure(i)
}

// measure adds up the layers and holds them.
func (s *Store) measure(i *Image) error {
	i.Size = 0
	for _, chain := range i.Layers {
		l, err := s.layers.Get(chain)
		if err != nil {
			return err
		}
		i.Size += l.Size
	}
	return s.layers.Hold(holdName(i.ID), i.Chain)
}

// holdName is the owner by which an image holds its layers.
func holdName(id digest.Digest) string { return "image " + id.String() }

// Create makes an image of a configuration (OCI image configuration, Docker's additions included) and its layers, chain
// IDs, bottom first, which must be those that the configuration's rootfs.diff_ids say (Invalid). Tags are names to give
// it, taken from other images where they have them. When it returns, image and names survive a power cut. Creating an
// image that exists only adds the tags.
func (s *Store) Create(ctx context.Context, config []byte, layers []digest.Digest, tags ...string) (*Image, error) {
	names, err := canonicalTags(tags)
	if err != nil {
		return nil, err
	}
	return s.create(ctx, config, layers, "", names)
}

// create is Create with canonical names and the image that this one was made from, "" for none.
func (s *Store) create(ctx context.Context, config []byte, layers []digest.Digest, parent digest.Digest, names []string) (*Image, error) {
	i, err := newImage(config)
	if err != nil {
		return nil, err
	}
	if err := checkChain(i, layers); err != nil {
		return nil, err
	}
	i.Parent = parent
	i.Layers = append([]digest.Digest(nil), layers...)
	if n := len(layers); n > 0 {
		i.Chain = layers[n-1]
	}
	s.change.Lock()
	defer s.change.Unlock()
	if _, err := s.keep(ctx, i, names); err != nil {
		return nil, err
	}
	for _, name := range names {
		s.publish(events.ActionTag, i.ID.String(), i, familiar(name))
	}
	return s.snapshot(i.ID), nil
}

// keep stores the image i, if it is new, and gives it the canonical names, in one step. What it returns says of each
// name which image had it before. It needs s.change.
//
// The layers reach the disk before the record that names them; what is there already is not written again.
func (s *Store) keep(ctx context.Context, i *Image, names []string) (map[string]digest.Digest, error) {
	before := map[string]digest.Digest{}
	s.mu.RLock()
	exists := s.images[i.ID] != nil
	for _, name := range names {
		before[name] = s.names[name]
	}
	s.mu.RUnlock()
	changes, err := s.nameChanges(i.ID, before)
	if err != nil {
		return nil, err
	}
	if !exists {
		row, err := s.imageRows.Set(i.ID.String(), imageRow{Config: i.RawConfig, Layers: i.Layers, Parent: i.Parent, Added: s.clock.Now().UTC()})
		if err != nil {
			return nil, err
		}
		if err := s.measure(i); err != nil {
			return nil, err
		}
		if err := s.layers.Sync(ctx); err != nil {
			s.layers.Release(holdName(i.ID))
			return nil, err
		}
		changes = append(changes, row)
	}
	if len(changes) > 0 {
		if err := s.records.Commit(ctx, changes...); err != nil {
			if !exists {
				s.layers.Release(holdName(i.ID))
			}
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !exists {
		s.images[i.ID] = i
	}
	for _, name := range names {
		s.names[name] = i.ID
	}
	return before, nil
}

func (s *Store) nameChanges(imageID digest.Digest, before map[string]digest.Digest) ([]record.Change, error) {
	var changes []record.Change
	for name, old := range before {
		if old == imageID {
			continue
		}
		c, err := s.nameRows.Set(name, nameRow{imageID})
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// dropName takes the canonical name away. It needs s.change.
func (s *Store) dropName(ctx context.Context, name string) error {
	if err := s.nameRows.Delete(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.names, name)
	s.mu.Unlock()
	return nil
}

// publish tells the feed. actor is what the event is about, name its "name" attribute.
func (s *Store) publish(action events.Action, actor string, i *Image, name string) {
	if s.events == nil {
		return
	}
	attributes := map[string]string{}
	for k, v := range i.Config.Config.Labels {
		attributes[k] = v
	}
	if name != "" {
		attributes["name"] = name
	}
	now := s.clock.Now()
	s.events.Publish(events.Message{
		Type: events.ImageEventType, Action: action, Actor: events.Actor{ID: actor, Attributes: attributes},
		Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
	})
}

// errNoImage is Docker's answer for a reference that stands for nothing.
func errNoImage(ref string) error {
	return errkind.New(errkind.NotFound, "No such image: %s", ref)
}

// RemoveOptions tune Remove.
type RemoveOptions struct {
	// Force removes also while stopped containers use the image, and all names at once when it is given by its ID.
	Force bool
	// NoPrune keeps the parents that have no name and no other child.
	NoPrune bool
}

// ImportOptions describe the image that Import makes.
type ImportOptions struct {
	Ref      string                           // name to give it, "" for none
	Message  string                           // history comment, "" for Docker's own
	Config   *dockerspec.DockerOCIImageConfig // nil: empty
	Platform *ocispec.Platform                // nil: the host's
}

// PullOptions tune Pull.
type PullOptions struct {
	Platform *ocispec.Platform // nil: the host's
	// Auth is the X-Registry-Auth header's value: base64url JSON of user name and password, or tokens. "" for none.
	Auth string
}

// LoadProgress is one line of progress.
type LoadProgress = registry.Progress
