package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"pier/daemon/image/layer"
	"pier/lib/ctxio"
	"pier/lib/errkind"
	"pier/lib/id"
)

// spoolDir holds archives that are being loaded, below Options.Root. Open empties it.
const spoolDir = "spool"

const (
	maxEntries = 100_000 // in an image archive, which has a handful per layer
	maxLinks   = 8       // from name to name
)

// spool is an image archive taken apart: the manifest that says what the rest is may come last. Content lies in
// numbered files; names of the archive are keys of a map and never paths.
type spool struct {
	dir   string
	files map[string]string // name in the archive -> path here
	links map[string]string // name -> name
}

func (s *Store) sweep() error {
	dir := filepath.Join(s.root, spoolDir)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// newSpool reads the whole archive r, compressed or not. The caller removes it.
func (s *Store) newSpool(ctx context.Context, r io.Reader) (_ *spool, err error) {
	a := &spool{dir: filepath.Join(s.root, spoolDir, id.New()), files: map[string]string{}, links: map[string]string{}}
	if err := os.Mkdir(a.dir, 0o700); err != nil {
		return nil, errkind.OfDisk("unpack the image archive", err)
	}
	defer func() {
		if err != nil {
			a.remove()
		}
	}()
	plain, err := layer.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	tr := tar.NewReader(archive{ctxio.Reader(ctx, plain)})
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, archiveError(ctx, err)
		}
		if n == maxEntries {
			return nil, errkind.New(errkind.Invalid, "the image archive has more than %d entries", maxEntries)
		}
		name := entryName(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			err = a.file(name, n, tr)
		case tar.TypeSymlink:
			a.links[name] = entryName(path.Join(path.Dir(name), h.Linkname))
		case tar.TypeLink:
			a.links[name] = entryName(h.Linkname)
		}
		if err != nil {
			return nil, archiveError(ctx, err)
		}
	}
}

// entryName brings a name into one form. It is only compared, so ".." at its beginning does no harm.
func entryName(name string) string { return strings.TrimLeft(path.Clean("/"+name), "/") }

func (a *spool) file(name string, n int, r io.Reader) error {
	to := filepath.Join(a.dir, strconv.Itoa(n))
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return errkind.OfDisk("unpack the image archive", err)
	}
	defer f.Close()
	w := io.Writer(f)
	sum := sha256.New()
	claimed, byDigest := strings.CutPrefix(name, "blobs/sha256/")
	if byDigest {
		w = io.MultiWriter(f, sum)
	}
	if _, err := io.Copy(w, r); err != nil {
		return errkind.OfDisk("unpack the image archive", err)
	}
	if got := digest.NewDigest(digest.SHA256, sum); byDigest && got.Encoded() != claimed {
		return errkind.New(errkind.Invalid, "the image archive is damaged: %s has the digest %s", name, got)
	}
	a.files[name] = to
	delete(a.links, name)
	return f.Close()
}

func (a *spool) remove() { _ = os.RemoveAll(a.dir) }

// open opens the file that the archive calls name.
func (a *spool) open(name string) (*os.File, error) {
	name = entryName(name)
	for range maxLinks {
		if p, ok := a.files[name]; ok {
			return os.Open(p)
		}
		next, ok := a.links[name]
		if !ok {
			break
		}
		name = next
	}
	return nil, errkind.New(errkind.Invalid, "the image archive has no file %q", name)
}

func (a *spool) has(name string) bool {
	_, ok := a.files[name]
	return ok
}

// read returns the content of a small file.
func (a *spool) read(name string, limit int64) ([]byte, error) {
	f, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, errkind.New(errkind.Invalid, "the image archive's %s is larger than %d bytes", name, limit)
	}
	return data, nil
}

func (a *spool) decode(name string, into any) error {
	data, err := a.read(name, maxConfig)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return errkind.New(errkind.Invalid, "the image archive's %s is not valid: %w", name, err)
	}
	return nil
}

// archiveError tells damage of the archive from other errors.
func archiveError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errkind.Of(err) != errkind.Internal {
		return err
	}
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, errRead) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errkind.New(errkind.Invalid, "this is not an image archive, or it is damaged: %w", err)
	}
	return err
}

// archive marks the errors of reading an archive.
type archive struct{ r io.Reader }

func (s archive) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return n, err
}

// errRead marks errors of reading an archive, as opposed to writing what it holds.
var errRead = errors.New("read archive")
