package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"pier/lib/errkind"
)

// copyBuffer is the size of the pieces in which content moves.
const copyBuffer = 256 << 10

// Apply unpacks one layer's tar on top of parent ("" for none) and returns the layer. r may be compressed, see
// Decompress, and is read to its end; want, if not "", is the DiffID that the plain tar must have. A layer that exists
// already is returned without reading r where want names it.
//
// The archive is hostile: whatever its names and links say, nothing outside the layer's own folder is touched. Invalid
// for archives that are damaged, do not have the digest, or try; Exhausted for a full disk. On an error nothing stays.
// Devices, ownership, times to the nanosecond and extended attributes are kept, set-id bits and file capabilities
// included; trusted.* attributes are not taken over, for they steer overlayfs. The layer is not synced, see Sync.
func (s *Store) Apply(ctx context.Context, parent digest.Digest, r io.Reader, want digest.Digest) (Layer, error) {
	if want != "" {
		if err := want.Validate(); err != nil || want.Algorithm() != digest.SHA256 {
			return Layer{}, errkind.New(errkind.Invalid, "bad layer digest %q", string(want))
		}
		if l, ok := s.reuse(chainID(parent, want)); ok {
			return l, nil
		}
	}
	lowers, err := s.lowers(parent)
	if err != nil {
		return Layer{}, err
	}
	if len(lowers) >= MaxDepth {
		return Layer{}, errkind.New(errkind.Unsupported, "the image has more than %d layers, which overlayfs cannot stack; squash it", MaxDepth)
	}
	d, err := s.newDraft()
	if err != nil {
		return Layer{}, err
	}
	defer d.drop()
	rec, err := d.unpack(ctx, r, lowers)
	if err != nil {
		return Layer{}, fmt.Errorf("unpack layer: %w", unpackError(ctx, err))
	}
	if want != "" && rec.DiffID != want {
		return Layer{}, errkind.New(errkind.Invalid, "unpack layer: its content has the digest %s, expected is %s; the archive is damaged", rec.DiffID, want)
	}
	rec.Parent = parent
	return d.publish(rec)
}

// reuse returns a layer that exists and spares it from Collect as if it were new.
func (s *Store) reuse(chain digest.Digest) (Layer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(chain)
	if err != nil {
		return Layer{}, false
	}
	e.fresh = true
	return e.Layer, true
}

// unpackError gives the errors of the archive's own making their kind.
func unpackError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errkind.DiskFull(err) && errkind.Of(err) == errkind.Internal:
		return errkind.OfDisk("write", err)
	case errkind.Of(err) != errkind.Internal:
		return err
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errSource):
		return errkind.New(errkind.Invalid, "the archive is damaged: %w", err)
	case nameFault(err):
		return errkind.New(errkind.Invalid, "the archive cannot be unpacked: %w", err)
	}
	return err
}

// nameFault recognises what the kernel says to names that cannot exist: ENOTDIR, ENAMETOOLONG, ELOOP, EINVAL, EISDIR.
func nameFault(err error) bool {
	for _, words := range []string{"not a directory", "file name too long", "too many levels of symbolic links", "invalid argument", "is a directory"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// errSource marks errors of reading the archive, as opposed to writing the folder.
var errSource = errors.New("read archive")

// source is the plain tar on its way in. All bytes are hashed; between files they also go to the recipe.
type source struct {
	ctx    context.Context
	r      io.Reader
	hash   hash.Hash
	size   int64 // bytes so far
	recipe *recipeWriter
	file   bool // inside a file's content: the recipe will find it in the folder
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	if !s.file {
		if _, werr := s.recipe.Write(p[:n]); werr != nil {
			return n, werr
		}
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errSource, err)
	}
	return n, err
}

// unpack fills the draft's diff folder from r.
func (d *draft) unpack(ctx context.Context, r io.Reader, lowers []string) (record, error) {
	plain, err := Decompress(r)
	if err != nil {
		return record{}, err
	}
	defer plain.Close()
	u, err := newUnpacker(d.path, lowers)
	if err != nil {
		return record{}, err
	}
	defer u.close()
	src := &source{ctx: ctx, r: plain, hash: sha256.New(), recipe: d.recipe}
	tr := tar.NewReader(src)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return record{}, err
		}
		if err := u.entry(h, tr, src); err != nil {
			return record{}, entryError(h.Name, err)
		}
	}
	// What follows the end mark belongs to the digest, too.
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{src}, u.buf); err != nil {
		return record{}, err
	}
	if err := u.finish(); err != nil {
		return record{}, err
	}
	rec := u.rec
	rec.DiffID, rec.TarSize = digest.NewDigest(digest.SHA256, src.hash), src.size
	return rec, nil
}

func entryError(name string, err error) error {
	if len(name) > 256 {
		name = name[:256] + "..."
	}
	return fmt.Errorf("entry %q: %w", name, err)
}

// content copies the content of the entry that tr stands at into f, and puts it into the recipe: as a reference to the
// file where the archive holds it as it is, else (sparse files) as the bytes themselves.
func (u *unpacker) content(f *os.File, h *tar.Header, tr *tar.Reader, src *source, name string) error {
	if h.Size == 0 {
		return nil
	}
	if sparse(h) {
		return u.sparse(f, h, tr)
	}
	if err := src.recipe.file(name, h.Size); err != nil {
		return err
	}
	u.files++
	src.file = true
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{tr}, u.buf)
	src.file = false
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// maxSparse bounds the size of one sparse file as it reads: an archive of 1 KiB can claim exabytes.
const maxSparse = 256 << 30

func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if len(k) > 10 && k[:10] == "GNU.sparse" {
			return true
		}
	}
	return false
}

// sparse writes the content of a sparse file, with holes for whole blocks of zeros.
func (u *unpacker) sparse(f *os.File, h *tar.Header, tr *tar.Reader) error {
	if u.sparseTotal += h.Size; u.sparseTotal > maxSparse || h.Size > maxSparse {
		return errkind.New(errkind.Invalid, "sparse files of more than %d bytes in all", int64(maxSparse))
	}
	if err := f.Truncate(h.Size); err != nil {
		return err
	}
	const block = 4096
	for at := int64(0); at < h.Size; {
		n, err := io.ReadFull(tr, u.buf)
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for i := 0; i < n; i += block {
			piece := u.buf[i:min(i+block, n)]
			if allZero(piece) {
				continue
			}
			if _, err := f.WriteAt(piece, at+int64(i)); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
