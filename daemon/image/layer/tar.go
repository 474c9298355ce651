package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Tar returns the exact uncompressed tar of the layer, whose digest is its DiffID. It is put together while it is read
// and verified at its end: Read returns an error instead of io.EOF where the folder was tampered with. The caller holds
// chain until Close. Reads and Close belong to one goroutine.
func (s *Store) Tar(ctx context.Context, chain digest.Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	e, err := s.find(chain)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	dir := s.dir(chain)
	recipe, err := os.Open(filepath.Join(dir, recipeFile))
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", chain, err)
	}
	root, err := fsroot.Open(dir)
	if err != nil {
		_ = recipe.Close()
		return nil, fmt.Errorf("read layer %s: %w", chain, err)
	}
	return &tarReader{ctx: ctx, rec: e.record, root: root, recipe: recipe, frames: newRecipeReader(recipe), hash: sha256.New()}, nil
}

type tarReader struct {
	ctx    context.Context
	rec    record
	root   *fsroot.Root // the layer's folder
	recipe *os.File
	frames *recipeReader
	hash   hash.Hash

	segment []byte   // of the recipe, not yet given out
	file    *os.File // being given out, nil for none
	left    int64    // bytes of it
	files   int      // begun so far
	err     error    // every Read from now on
}

// Read implements io.Reader.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.err == nil {
		t.err = t.ctx.Err()
	}
	for t.err == nil {
		n := 0
		switch {
		case len(t.segment) > 0:
			n = copy(p, t.segment)
			t.segment = t.segment[n:]
		case t.file != nil:
			n, t.err = t.content(p)
		default:
			t.err = t.step()
			continue
		}
		t.hash.Write(p[:n])
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, t.err
}

// content reads from the current file, which must hold all that the recipe says.
func (t *tarReader) content(p []byte) (int, error) {
	n, err := t.file.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	switch {
	case t.left == 0:
		err = t.file.Close()
		t.file = nil
	case err == io.EOF:
		err = t.damaged("a file is shorter than it was")
	}
	return n, err
}

// step begins the next frame, or verifies the whole at the end.
func (t *tarReader) step() error {
	f, err := t.frames.next()
	if err == io.EOF {
		if got := digest.NewDigest(digest.SHA256, t.hash); got != t.rec.DiffID {
			return t.damaged("its content has changed")
		}
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("read layer %s: %w", t.rec.ChainID, err)
	}
	if f.name == "" {
		t.segment = f.segment
		return nil
	}
	file, err := t.root.OpenFile(t.place(f.name), os.O_RDONLY|fsroot.ONofollow, 0)
	if err != nil {
		return fmt.Errorf("read layer %s: %w", t.rec.ChainID, err)
	}
	t.files++
	t.file, t.left = file, f.size
	return nil
}

// place finds the file name within the layer's folder, also where a later entry of the archive took its place.
func (t *tarReader) place(name string) string {
	for _, s := range t.rec.Shadows {
		if t.files < s.Before && within(name, s.Path) {
			return path.Join(shadowName(s.N), name[len(s.Path):])
		}
	}
	return path.Join(diffDir, name)
}

func (t *tarReader) damaged(why string) error {
	return errkind.New(errkind.Internal, "layer %s is damaged: %s", t.rec.ChainID, why)
}

// Close implements io.Closer.
func (t *tarReader) Close() error {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
	t.err = os.ErrClosed
	_ = t.root.Close()
	return t.recipe.Close()
}
