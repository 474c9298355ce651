package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/atomicfile"
	"pier/lib/ctxio"
	"pier/lib/errkind"
	"pier/lib/id"
)

const (
	blobDir   = "blobs/sha256"
	ingestDir = "ingest"
)

// Store is one folder of blobs. It is safe for concurrent use, by one process.
type Store struct {
	root string

	mu     sync.Mutex
	active map[digest.Digest]bool // ingests that a Writer has open
}

// Open opens or makes the store at root, whose parent folder must exist. The folder's mode becomes 0700.
func Open(root string) (*Store, error) {
	for _, dir := range []string{"", "blobs", blobDir, ingestDir} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, errkind.OfDisk("make blob store", err)
		}
	}
	if err := os.Chmod(root, 0o700); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		ocispec.ImageLayoutFile: `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`,
		ocispec.ImageIndexFile:  `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`,
	} {
		path := filepath.Join(root, name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if err := atomicfile.Write(path, []byte(content), 0o600); err != nil {
			return nil, errkind.OfDisk("make blob store", err)
		}
	}
	s := &Store{root: root, active: map[digest.Digest]bool{}}
	return s, s.sweep()
}

// partialAge is how long a download that broke off waits for somebody to go on with it.
const partialAge = 7 * 24 * time.Hour

// sweep removes temporary files that a crash left. Downloads that can go on have a digest for a name, and stay a while.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.root, ingestDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), "tmp-") || time.Since(info.ModTime()) > partialAge {
			if err := os.Remove(filepath.Join(s.root, ingestDir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// check lets only digests through that are safe as file names.
func check(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return errkind.New(errkind.Invalid, "bad digest %q: only sha256 is known", string(d))
	}
	return nil
}

func (s *Store) path(d digest.Digest) string { return filepath.Join(s.root, blobDir, d.Encoded()) }

// Size returns the size of blob d in bytes. NotFound where it is missing.
func (s *Store) Size(d digest.Digest) (int64, error) {
	if err := check(d); err != nil {
		return 0, err
	}
	info, err := os.Lstat(s.path(d))
	if err != nil {
		return 0, missing(d, err)
	}
	return info.Size(), nil
}

// Open opens blob d for reading. The caller closes it. A blob that is removed meanwhile stays readable.
func (s *Store) Open(d digest.Digest) (*os.File, error) {
	if err := check(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(d))
	if err != nil {
		return nil, missing(d, err)
	}
	return f, nil
}

// Read returns the content of blob d, which may not be larger than limit bytes (Invalid). It is verified once more.
func (s *Store) Read(d digest.Digest, limit int64) ([]byte, error) {
	f, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if int64(len(data)) > limit {
		return nil, errkind.New(errkind.Invalid, "blob %s is larger than %d bytes", d, limit)
	}
	if digest.FromBytes(data) != d {
		return nil, errkind.New(errkind.Internal, "blob %s is damaged on the disk; remove the image and load or pull it again", d)
	}
	return data, nil
}

// Put stores data and returns its digest. It survives a power cut once Put returns. A blob that exists is left alone.
func (s *Store) Put(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	if info, err := os.Lstat(s.path(d)); err == nil && info.Size() == int64(len(data)) {
		return d, nil
	}
	if err := atomicfile.Write(s.path(d), data, 0o600); err != nil {
		return "", errkind.OfDisk("store blob "+d.String(), err)
	}
	return d, nil
}

// Ingest stores what r yields, at most limit bytes (0: any number), and returns its digest and size. Where want is not
// "", it must have that digest, else nothing is stored and the error is Invalid.
func (s *Store) Ingest(ctx context.Context, r io.Reader, want digest.Digest, limit int64) (d digest.Digest, size int64, err error) {
	if want != "" {
		if err := check(want); err != nil {
			return "", 0, err
		}
	}
	path := filepath.Join(s.root, ingestDir, "tmp-"+id.New())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, errkind.OfDisk("store blob", err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	hash := sha256.New()
	from := ctxio.Reader(ctx, r)
	if limit > 0 {
		from = io.LimitReader(from, limit+1)
	}
	if size, err = io.Copy(io.MultiWriter(f, hash), from); err != nil {
		return "", 0, errkind.OfDisk("store blob", err)
	}
	if limit > 0 && size > limit {
		return "", 0, errkind.New(errkind.Invalid, "blob is larger than %d bytes", limit)
	}
	d = digest.NewDigest(digest.SHA256, hash)
	if want != "" && d != want {
		return "", 0, mismatch(d, want)
	}
	if err = s.publish(f, path, d); err != nil {
		return "", 0, err
	}
	return d, size, nil
}

// publish gives the finished file its name.
func (s *Store) publish(f *os.File, path string, d digest.Digest) error {
	if err := f.Sync(); err != nil {
		return errkind.OfDisk("store blob", err)
	}
	if err := os.Rename(path, s.path(d)); err != nil {
		return errkind.OfDisk("store blob", err)
	}
	return atomicfile.SyncDir(filepath.Join(s.root, blobDir))
}

// Remove deletes blob d. One that does not exist is no error.
func (s *Store) Remove(d digest.Digest) error {
	if err := check(d); err != nil {
		return err
	}
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob: %w", err)
	}
	return nil
}

// List returns the digests of all blobs, in no order.
func (s *Store) List() ([]digest.Digest, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, blobDir))
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	var all []digest.Digest
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); check(d) == nil {
			all = append(all, d)
		}
	}
	return all, nil
}

// Sweep removes the blobs that keep does not want and that are older than a week: what interrupted downloads brought
// is not fetched again when somebody tries once more.
func (s *Store) Sweep(keep func(digest.Digest) bool) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	for _, d := range all {
		info, err := os.Lstat(s.path(d))
		if err != nil || keep(d) || time.Since(info.ModTime()) < partialAge {
			continue
		}
		if err := s.Remove(d); err != nil {
			return err
		}
	}
	return nil
}

func mismatch(got, want digest.Digest) error {
	return errkind.New(errkind.Invalid, "content has the digest %s, expected is %s; it was damaged on the way", got, want)
}

func missing(d digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.NotFound, "no such blob: %s", d)
	}
	return fmt.Errorf("open blob %s: %w", d, err)
}
