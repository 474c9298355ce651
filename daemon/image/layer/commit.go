package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// Commit makes the content of upper, the upper folder of an overlay on parent, a layer on top of parent. The folder is
// taken over by a rename and is gone afterwards, whether the layer is new or existed already; only on an error before
// that is it still in its place. It must be on the store's own file system, and the overlay must be closed.
//
// The layer's tar is made up in one pass over upper and kept as digest and recipe only: entries sorted by name, times
// cut to seconds, no names of users, so the same content gives the same DiffID. overlayfs's whiteouts become those of
// the image format; sockets, which tar does not know, are left out. The layer is not synced, see Sync: for a step that
// changes a few files Commit takes about a millisecond, and a sync of the disk may take many.
func (s *Store) Commit(ctx context.Context, parent digest.Digest, upper string) (Layer, error) {
	lowers, err := s.lowers(parent)
	if err != nil {
		return Layer{}, err
	}
	if parent == "" {
		lowers = nil
	}
	if len(lowers) >= MaxDepth {
		return Layer{}, errkind.New(errkind.Unsupported, "the image would have more than %d layers, which overlayfs cannot stack; use fewer build steps", MaxDepth)
	}
	d, err := s.newDraft()
	if err != nil {
		return Layer{}, err
	}
	defer d.drop()
	rec, err := d.pack(ctx, upper, lowers)
	if err != nil {
		return Layer{}, errkind.OfDisk("commit layer", err)
	}
	if err := os.Rename(upper, filepath.Join(d.path, diffDir)); err != nil {
		return Layer{}, fmt.Errorf("commit layer: %w", err)
	}
	rec.Parent = parent
	return d.publish(rec)
}

// packer makes the tar of a folder, of which only the digest and the recipe stay.
type packer struct {
	ctx    context.Context
	root   *fsroot.Root
	lowers []string
	tw     *tar.Writer
	out    *packOut
	links  map[inode]string
	rec    record
	buf    []byte
}

// inode names a file that may have several names.
type inode struct{ dev, ino uint64 }

// packOut is where the tar goes: all into the hash, headers and padding also into the recipe.
type packOut struct {
	hash   hash.Hash
	size   int64 // bytes so far
	recipe *recipeWriter
	file   bool // inside a file's content
}

func (o *packOut) Write(p []byte) (int, error) {
	o.hash.Write(p)
	o.size += int64(len(p))
	if o.file {
		return len(p), nil
	}
	return o.recipe.Write(p)
}

// pack reads the overlay upper folder dir. It changes nothing but sockets, which it removes.
func (d *draft) pack(ctx context.Context, dir string, lowers []string) (record, error) {
	root, err := fsroot.Open(dir)
	if err != nil {
		return record{}, err
	}
	defer root.Close()
	out := &packOut{hash: sha256.New(), recipe: d.recipe}
	p := &packer{ctx: ctx, root: root, lowers: lowers, out: out, tw: tar.NewWriter(out), links: map[inode]string{}}
	if err := p.children(root, ""); err != nil {
		return record{}, err
	}
	if err := p.tw.Close(); err != nil {
		return record{}, err
	}
	p.rec.DiffID, p.rec.TarSize = digest.NewDigest(digest.SHA256, out.hash), out.size
	return p.rec, nil
}

// children packs the entries of the folder dir, whose path is place.
func (p *packer) children(dir *fsroot.Root, place string) error {
	f, err := dir.OpenFile(".", os.O_RDONLY|fsroot.ODirectory, 0)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	_ = f.Close()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.entry(dir, name, path.Join(place, name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) entry(dir *fsroot.Root, base, place string) error {
	n, info, err := entryOf(dir, base)
	if err != nil {
		return err
	}
	defer n.Close()
	if isWhiteout(info) {
		return p.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(place), whiteoutPrefix+base), Format: tar.FormatPAX})
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return dir.Remove(base)
	}
	h, opaque, err := p.header(n, info, place)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return p.folder(n, h, opaque, place)
	case info.Mode().IsRegular():
		return p.regular(n, h, info, place)
	}
	return p.tw.WriteHeader(h)
}

// header describes the entry but for its content. opaque is set for a folder that hides one of a lower layer.
func (p *packer) header(n *fsroot.Node, info fs.FileInfo, place string) (h *tar.Header, opaque bool, err error) {
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = n.Readlink(); err != nil {
			return nil, false, err
		}
	}
	if h, err = tarheader.Of(info, place, target); err != nil {
		return nil, false, err
	}
	h.ModTime = h.ModTime.Truncate(time.Second)
	if info.Mode()&fs.ModeSymlink != 0 {
		return h, false, nil // it has no attributes but overlayfs's own
	}
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, false, err
	}
	for name, value := range attrs {
		if strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		tarheader.SetXattr(h, name, value)
	}
	return h, info.IsDir() && string(attrs[xattrOpaque]) == "y" && p.below(place), nil
}

func (p *packer) folder(n *fsroot.Node, h *tar.Header, opaque bool, place string) error {
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	if opaque {
		err := p.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(place, whiteoutOpaque), Format: tar.FormatPAX})
		if err != nil {
			return err
		}
	}
	f, err := n.Open(os.O_RDONLY | fsroot.ODirectory)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.children(fsroot.FromFile(f), place)
}

func (p *packer) regular(n *fsroot.Node, h *tar.Header, info fs.FileInfo, place string) error {
	attr := fsroot.AttrOf(info)
	if attr.Links > 1 {
		key := inode{attr.Dev, attr.Inode}
		if first, ok := p.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tw.WriteHeader(h)
		}
		p.links[key] = place
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	p.rec.Size += h.Size
	if h.Size == 0 {
		return nil
	}
	f, err := n.Open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.out.recipe.file(place, h.Size); err != nil {
		return err
	}
	if p.buf == nil {
		p.buf = make([]byte, copyBuffer)
	}
	p.out.file = true
	copied, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, struct{ io.Reader }{io.LimitReader(f, h.Size)}, p.buf)
	p.out.file = false
	if err == nil && copied != h.Size {
		err = errkind.New(errkind.Conflict, "%s changed while it was read", place)
	}
	return err
}

// below reports whether a lower layer has something at place that an opaque folder must hide. overlayfs marks every new
// folder opaque, most of which hide nothing.
func (p *packer) below(place string) bool {
	for _, lower := range p.lowers {
		root, err := fsroot.Open(lower)
		if err != nil {
			return true
		}
		_, err = root.Lstat(place)
		_ = root.Close()
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}
