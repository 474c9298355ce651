package blob

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
	"pier/lib/id"
)

// Ingest is a blob on its way in: bytes are appended in order and hashed as they come. It belongs to one goroutine.
type Ingest struct {
	store *Store
	file  *os.File
	path  string
	want  digest.Digest // "" while unknown
	hash  hash.Hash
	size  int64
}

// Begin starts an ingest of content whose digest is not known yet. Close without Commit throws it away.
func (s *Store) Begin() (*Ingest, error) {
	path := filepath.Join(s.root, ingestDir, "tmp-"+id.New())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errkind.OfDisk("store blob", err)
	}
	return &Ingest{store: s, file: f, path: path, hash: sha256.New()}, nil
}

// Resume starts the ingest of blob d, or goes on with one that broke off, also in an earlier life of the process: Size
// tells how much is there. Close without Commit keeps it for the next Resume. Conflict while another Ingest of d is open.
func (s *Store) Resume(d digest.Digest) (*Ingest, error) {
	if err := check(d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	busy := s.active[d]
	s.active[d] = true
	s.mu.Unlock()
	if busy {
		return nil, errkind.New(errkind.Conflict, "blob %s is being stored already", d)
	}
	in := &Ingest{store: s, path: filepath.Join(s.root, ingestDir, d.Encoded()), want: d, hash: sha256.New()}
	var err error
	if in.file, err = os.OpenFile(in.path, os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		in.size, err = io.Copy(in.hash, in.file)
	}
	if err != nil {
		_ = in.Close()
		return nil, errkind.OfDisk("store blob "+d.String(), err)
	}
	return in, nil
}

// Size is how many bytes are stored.
func (in *Ingest) Size() int64 { return in.size }

// Write appends p.
func (in *Ingest) Write(p []byte) (int, error) {
	n, err := in.file.Write(p)
	in.hash.Write(p[:n])
	in.size += int64(n)
	if err != nil {
		err = errkind.OfDisk("store blob", err)
	}
	return n, err
}

// Reset throws away what is stored, to begin anew.
func (in *Ingest) Reset() error {
	if err := in.file.Truncate(0); err != nil {
		return err
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in.hash.Reset()
	in.size = 0
	return nil
}

// Commit verifies that the content has the digest want and makes it a blob; it survives a power cut when Commit returns.
// Content with another digest is thrown away (Invalid). Close is still needed.
func (in *Ingest) Commit(want digest.Digest) error {
	if err := check(want); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, in.hash); got != want {
		_ = os.Remove(in.path)
		return mismatch(got, want)
	}
	return in.store.publish(in.file, in.path, want)
}

// Close ends the ingest. It may be called more than once.
func (in *Ingest) Close() error {
	if in.store == nil {
		return nil
	}
	if in.want != "" {
		in.store.mu.Lock()
		delete(in.store.active, in.want)
		in.store.mu.Unlock()
	}
	in.store = nil
	var err error
	if in.file != nil {
		err = in.file.Close()
	}
	if in.want == "" {
		if e := os.Remove(in.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("close blob: %w", err)
	}
	return nil
}
