package layer

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
)

// Options say where layers live.
type Options struct {
	// Root is the folder of the layer store, made if it does not exist.
	Root string
}

// Layer is one read-only layer in its place on top of others.
type Layer struct {
	// ChainID names the layer together with everything below it.
	ChainID digest.Digest
	// DiffID is the digest of the layer's uncompressed tar.
	DiffID digest.Digest
	// Parent is the ChainID of the layer below, "" for the lowest.
	Parent digest.Digest
	// Size is the sum of the sizes of the regular files in this layer alone, in bytes, hard links counted once.
	Size int64
}

// Writable is the place of a container's own changes: an overlay's upper and work folder.
type Writable struct {
	ID          string
	Upper, Work string
}

// MountOptions tune Mount.
type MountOptions struct {
	// Volatile drops all syncs of the upper folder; a crash makes it unusable. For builds and --rm containers.
	Volatile bool
	ReadOnly bool
	// ExtraLowers are folders put above the chain's layers, top first.
	ExtraLowers []string
}

// Store holds layers and writable layers. It is safe for concurrent use.
type Store struct {
	root string

	mu sync.Mutex
}

// Open opens or makes the store at o.Root.
func Open(o Options) (*Store, error) {
	return &Store{root: o.Root}, errkind.New(errkind.Unsupported, "layers")
}

// Apply unpacks one layer's tar on top of parent.
func (s *Store) Apply(ctx context.Context, parent digest.Digest, tar io.Reader, want digest.Digest) (Layer, error) {
	return Layer{}, errkind.New(errkind.Unsupported, "layers")
}

// Commit makes the content of upper a layer on top of parent.
func (s *Store) Commit(ctx context.Context, parent digest.Digest, upper string) (Layer, error) {
	return Layer{}, errkind.New(errkind.Unsupported, "layers")
}

// Get returns the layer named by chain.
func (s *Store) Get(chain digest.Digest) (Layer, error) {
	return Layer{}, errkind.New(errkind.Unsupported, "layers")
}

// Tar returns the layer's exact uncompressed tar.
func (s *Store) Tar(ctx context.Context, chain digest.Digest) (io.ReadCloser, error) {
	return nil, errkind.New(errkind.Unsupported, "layers")
}

// Lowers returns the folders of chain, top first.
func (s *Store) Lowers(chain digest.Digest) ([]string, error) {
	return nil, errkind.New(errkind.Unsupported, "layers")
}

// NewWritable makes an empty writable layer.
func (s *Store) NewWritable(id string) (Writable, error) {
	return Writable{}, errkind.New(errkind.Unsupported, "layers")
}

// Writable returns a writable layer made before.
func (s *Store) Writable(id string) (Writable, error) {
	return Writable{}, errkind.New(errkind.Unsupported, "layers")
}

// RemoveWritable removes a writable layer.
func (s *Store) RemoveWritable(id string) error {
	return errkind.New(errkind.Unsupported, "layers")
}

// Mount returns a detached overlay mount.
func (s *Store) Mount(chain digest.Digest, w *Writable, o MountOptions) (*os.File, error) {
	return nil, errkind.New(errkind.Unsupported, "layers")
}

// Hold keeps chain and all below it for owner.
func (s *Store) Hold(owner string, chain digest.Digest) error {
	return errkind.New(errkind.Unsupported, "layers")
}

// Release ends all holds of owner.
func (s *Store) Release(owner string) {}

// Collect removes what nobody holds.
func (s *Store) Collect(ctx context.Context) error {
	return errkind.New(errkind.Unsupported, "layers")
}

// Close waits for background work.
func (s *Store) Close() error { return nil }
