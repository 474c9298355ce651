package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"maps"
	"os"
	"path"
	"slices"
)

// Selection is a part of a tree: what one source of a COPY, or the source of a bind mount, stands for.
type Selection struct {
	Path             string
	Follow           bool // the last component too, where it is a symbolic link
	Wildcard         bool
	Include, Exclude []string
}

// Digest returns a hash of all that a copy of the selection takes over: names, kinds, permissions, owners, contents, link
// targets, device numbers and extended attributes, but no times. A selection that matches nothing has a digest too.
func Digest(ctx context.Context, t Tree, s Selection) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	names := []string{s.Path}
	if s.Wildcard {
		var err error
		if names, err = Glob(t, s.Path, s.Follow); err != nil {
			return sum, err
		}
	}
	filter, err := NewFilter(s.Include, s.Exclude)
	if err != nil {
		return sum, err
	}
	d := digester{h: sha256.New(), tree: t}
	for _, name := range names {
		top, err := Resolve(t, name, s.Follow)
		if err != nil {
			return sum, err
		}
		d.text(path.Base(name))
		err = Walk(ctx, t, top, filter, d.entry)
		if err != nil {
			return sum, err
		}
	}
	d.h.Sum(sum[:0])
	return sum, nil
}

// digester feeds a hash with entries. Every field has a fixed size or its length in front, so that no two trees give the
// same bytes.
type digester struct {
	h    hash.Hash
	tree Tree
	buf  []byte
}

func (d *digester) text(s string) {
	d.buf = binary.AppendUvarint(d.buf[:0], uint64(len(s)))
	d.buf = append(d.buf, s...)
	d.h.Write(d.buf)
}

func (d *digester) entry(rel string, e Entry, _ bool) error {
	d.text(rel)
	b := d.buf[:0]
	for _, n := range []uint64{uint64(e.Mode), uint64(e.UID), uint64(e.GID), e.Rdev} {
		b = binary.AppendUvarint(b, n)
	}
	d.buf = b
	d.h.Write(b)
	d.text(e.Link)
	if e.Mode.IsRegular() {
		sum, err := contentSum(d.tree, e)
		if err != nil {
			return err
		}
		d.h.Write(sum[:])
	}
	if e.Mode&os.ModeSymlink != 0 {
		return nil
	}
	attrs, err := d.tree.Xattrs(e.Name)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		d.text(k)
		d.text(string(attrs[k]))
	}
	return nil
}

func contentSum(t Tree, e Entry) (sum [sha256.Size]byte, err error) {
	if e.Sum != nil {
		return *e.Sum, nil
	}
	f, err := t.Open(e.Name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
