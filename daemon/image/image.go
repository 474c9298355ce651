package image

import (
	"context"
	"io"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/image/layer"
	"pier/daemon/registry"
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
	// Insecure lists registry hosts (host or host:port) spoken to by plain HTTP. Loopback addresses always are.
	Insecure []string
}

// Image is one image as it was when asked for. It is a copy: the caller may change it.
type Image struct {
	ID          digest.Digest // of RawConfig
	Config      dockerspec.DockerOCIImage
	RawConfig   []byte
	RepoTags    []string        // familiar form, "busybox:latest", sorted
	RepoDigests []string        // familiar form, "busybox@sha256:...", sorted
	Size        int64           // bytes of all layers
	Chain       digest.Digest   // top layer, "" if there is none
	Layers      []digest.Digest // chain IDs, bottom first
	Created     time.Time
	Parent      digest.Digest // image it was made from by commit, "" if unknown
}

// RemoveOptions tune Remove.
type RemoveOptions struct {
	Force   bool // also while stopped containers use it, and all names at once when given an ID
	NoPrune bool // keep parents without names
}

// ImportOptions describe the image that Import makes.
type ImportOptions struct {
	Ref      string // name to give it, "" for none
	Message  string // history comment
	Config   *dockerspec.DockerOCIImageConfig
	Platform *ocispec.Platform // nil: the host's
}

// PullOptions tune Pull.
type PullOptions struct {
	Platform *ocispec.Platform // nil: the host's
	// Auth is the X-Registry-Auth header's value: base64url JSON of user name, password, tokens. "" for none.
	Auth string
}

// LoadProgress is one line of progress.
type LoadProgress = registry.Progress

// Store is the set of images. It is safe for concurrent use.
type Store struct {
	o Options
}

// Open opens or makes the store.
func Open(ctx context.Context, o Options) (*Store, error) {
	return &Store{o: o}, errkind.New(errkind.Unsupported, "images")
}

// List returns all images, newest first.
func (s *Store) List(ctx context.Context) []Image { return nil }

// Get finds an image by name, name@digest, ID or ID prefix.
func (s *Store) Get(ref string) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Create makes an image of a config and its layers (chain IDs, bottom first).
func (s *Store) Create(ctx context.Context, config []byte, layers []digest.Digest, tags ...string) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Tag gives the image found by ref one more name.
func (s *Store) Tag(ctx context.Context, ref, name string) error {
	return errkind.New(errkind.Unsupported, "images")
}

// Remove takes a name away, and the image with its last one.
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]image.DeleteResponse, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Prune removes images without names that nobody holds (all: also those with names). It returns what it removed and
// the bytes freed.
func (s *Store) Prune(ctx context.Context, all bool, keep func(*Image) bool) ([]image.DeleteResponse, int64, error) {
	return nil, 0, errkind.New(errkind.Unsupported, "images")
}

// Load reads a docker archive or an OCI layout, compressed or not. It returns the names loaded.
func (s *Store) Load(ctx context.Context, r io.Reader, progress func(LoadProgress)) ([]string, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Save writes images as docker archive and OCI layout in one.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string) error {
	return errkind.New(errkind.Unsupported, "images")
}

// Import makes an image of one layer from a root file system's tar.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// History tells how an image came to be, newest step first.
func (s *Store) History(ref string) ([]image.HistoryResponseItem, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Pull fetches an image from its registry.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions, progress func(registry.Progress)) (*Image, error) {
	return nil, errkind.New(errkind.Unsupported, "images")
}

// Hold keeps the image for owner.
func (s *Store) Hold(owner string, id digest.Digest) error {
	return errkind.New(errkind.Unsupported, "images")
}

// Release ends all holds of owner.
func (s *Store) Release(owner string) {}
