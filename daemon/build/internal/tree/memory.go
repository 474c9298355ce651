package tree

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// Limits of a context: what a tar may hold besides contents, which only the disk bounds.
const (
	maxEntries = 4 << 20
	maxName    = 4096
)

// Memory is a tree whose names are in memory and whose contents lie one after the other in a Spool. It is filled by one
// goroutine, then read by many.
type Memory struct {
	nodes map[string]*node
	spool *Spool
	inode uint64
}

type node struct {
	entry    Entry
	children map[string]struct{} // of a directory
	sorted   []string            // names of children, once Seal ran
	offset   int64               // of a regular file's content in the spool
	xattrs   map[string][]byte
}

// NewMemory returns an empty tree that keeps contents in spool. The spool stays the caller's.
func NewMemory(spool *Spool) *Memory {
	m := &Memory{nodes: make(map[string]*node), spool: spool}
	m.nodes["/"] = &node{entry: Entry{Name: "/", Mode: os.ModeDir | 0o755}, children: map[string]struct{}{}}
	return m
}

// ReadTar fills the tree from a tar stream: a later entry replaces an earlier one of the same name, owners become root. Names
// that lead out of the tree and links to nothing in it are refused with errkind.Invalid.
func (m *Memory) ReadTar(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errkind.New(errkind.Invalid, "read the build context: not a sound tar archive: %w", err)
		}
		if len(m.nodes) > maxEntries {
			return errkind.New(errkind.Invalid, "read the build context: more than %d files; exclude some by a .dockerignore file", maxEntries)
		}
		if err := m.addHeader(h, tr); err != nil {
			return err
		}
	}
}

func (m *Memory) addHeader(h *tar.Header, content io.Reader) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	e := Entry{Name: name, Mode: h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky), ModTime: h.ModTime}
	n := &node{xattrs: Xattrs(h)}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		sum := sha256.New()
		if n.offset, e.Size, err = m.spool.Append(io.TeeReader(content, sum), h.Size); err != nil {
			if errkind.Is(err, errkind.Exhausted) {
				return err
			}
			return errkind.New(errkind.Invalid, "read the build context: %s: %w", h.Name, err)
		}
		e.Sum = new([sha256.Size]byte)
		sum.Sum(e.Sum[:0])
	case tar.TypeDir:
		e.Mode |= os.ModeDir
	case tar.TypeSymlink:
		if len(h.Linkname) == 0 || len(h.Linkname) > maxName {
			return errkind.New(errkind.Invalid, "read the build context: %s: bad link target", h.Name)
		}
		e.Mode, e.Link = os.ModeSymlink|0o777, h.Linkname
	case tar.TypeLink:
		return m.addLink(name, h)
	case tar.TypeFifo:
		e.Mode |= os.ModeNamedPipe
	case tar.TypeChar:
		e.Mode |= os.ModeDevice | os.ModeCharDevice
		e.Rdev = fsroot.Device(uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeBlock:
		e.Mode |= os.ModeDevice
		e.Rdev = fsroot.Device(uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return errkind.New(errkind.Invalid, "read the build context: %s: unknown kind of entry %q", h.Name, h.Typeflag)
	}
	n.entry = e
	return m.put(n)
}

func (m *Memory) addLink(name string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	old := m.nodes[target]
	if old == nil || old.entry.Mode.IsDir() {
		return errkind.New(errkind.Invalid, "read the build context: %s is a hard link to %s, which is not in it", h.Name, h.Linkname)
	}
	if target == name {
		return nil
	}
	if old.entry.Inode == 0 && old.entry.Mode.IsRegular() {
		m.inode++
		old.entry.Inode = m.inode
	}
	n := *old
	n.entry.Name = name
	return m.put(&n)
}

// cleanName makes the name of a tar entry absolute. Names that climb out of the archive are refused.
func cleanName(name string) (string, error) {
	place, ok := tarheader.Place(name)
	if !ok {
		return "", errkind.New(errkind.Invalid, "read the build context: %q leads out of the context", name)
	}
	if len(place) > maxName {
		return "", errkind.New(errkind.Invalid, "read the build context: a name is longer than %d bytes", maxName)
	}
	return path.Join("/", place), nil
}

// Xattrs are the extended attributes of a tar entry that an image may carry, nil if there are none.
func Xattrs(h *tar.Header) map[string][]byte {
	var attrs map[string][]byte
	for name, value := range tarheader.Xattrs(h) {
		if !allowedXattr(name) {
			continue
		}
		if attrs == nil {
			attrs = make(map[string][]byte)
		}
		attrs[name] = value
	}
	return attrs
}

// AddFrom puts a regular file with the content of r into the tree and returns the content's SHA-256. e.Size is the likely
// size, -1 for unknown.
func (m *Memory) AddFrom(e Entry, r io.Reader) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	n := &node{entry: e}
	if n.offset, n.entry.Size, err = m.spool.Append(io.TeeReader(r, h), e.Size); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	n.entry.Sum = &sum
	return sum, m.put(n)
}

// Select returns a tree of those files that the filter selects. It shares the contents.
func (m *Memory) Select(ctx context.Context, f *Filter) (*Memory, error) {
	part := NewMemory(m.spool)
	err := Walk(ctx, m, "/", f, func(_ string, e Entry, _ bool) error {
		n := *m.nodes[e.Name]
		return part.put(&n)
	})
	if err != nil {
		return nil, err
	}
	part.Seal()
	return part, nil
}

// put inserts n, making parents that have had no entry of their own.
func (m *Memory) put(n *node) error {
	name := n.entry.Name
	n.children, n.sorted = nil, nil
	if n.entry.Mode.IsDir() {
		if old := m.nodes[name]; old != nil && old.entry.Mode.IsDir() {
			n.children = old.children
			m.nodes[name] = n
			return nil
		}
		n.children = map[string]struct{}{}
	}
	if name == "/" {
		return errkind.New(errkind.Invalid, "read the build context: its top is not a directory")
	}
	if err := m.parent(name, n.entry); err != nil {
		return err
	}
	if old := m.nodes[name]; old != nil && old.children != nil {
		m.drop(name)
		if err := m.parent(name, n.entry); err != nil {
			return err
		}
	}
	m.nodes[name] = n
	return nil
}

// parent makes sure that the directory of name exists and lists it.
func (m *Memory) parent(name string, e Entry) error {
	dir := path.Dir(name)
	p := m.nodes[dir]
	if p == nil {
		p = &node{entry: Entry{Name: dir, Mode: os.ModeDir | 0o755, ModTime: e.ModTime}, children: map[string]struct{}{}}
		m.nodes[dir] = p
		if err := m.parent(dir, e); err != nil {
			return err
		}
	}
	if p.children == nil {
		return errkind.New(errkind.Invalid, "read the build context: %s lies below %s, which is not a directory", name, dir)
	}
	p.children[path.Base(name)] = struct{}{}
	return nil
}

// drop removes name and all below it.
func (m *Memory) drop(name string) {
	if n := m.nodes[name]; n != nil {
		for c := range n.children {
			m.drop(path.Join(name, c))
		}
		delete(m.nodes, name)
		if p := m.nodes[path.Dir(name)]; p != nil {
			delete(p.children, path.Base(name))
			p.sorted = nil
		}
	}
}

// Exclude removes what the patterns of a .dockerignore file name.
func (m *Memory) Exclude(ctx context.Context, patterns []string) error {
	filter, err := NewFilter(nil, patterns)
	if err != nil || filter == nil {
		return err
	}
	m.Seal()
	keep := map[string]struct{}{"/": {}}
	err = Walk(ctx, m, "/", filter, func(_ string, e Entry, _ bool) error {
		keep[e.Name] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range m.nodes {
		if _, ok := keep[name]; !ok {
			m.drop(name)
		}
	}
	m.Seal()
	return nil
}

// Seal ends the filling: from now on the tree may be read by many.
func (m *Memory) Seal() {
	for _, n := range m.nodes {
		if n.children != nil && len(n.sorted) != len(n.children) {
			n.sorted = make([]string, 0, len(n.children))
			for c := range n.children {
				n.sorted = append(n.sorted, c)
			}
			slices.Sort(n.sorted)
		}
	}
}

func (m *Memory) find(op, name string) (*node, error) {
	if n := m.nodes[name]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Lstat implements Tree.
func (m *Memory) Lstat(name string) (Entry, error) {
	n, err := m.find("lstat", name)
	if err != nil {
		return Entry{}, err
	}
	return n.entry, nil
}

// Names implements Tree. The tree must be sealed; the caller must not change the answer.
func (m *Memory) Names(dir string) ([]string, error) {
	n, err := m.find("readdir", dir)
	if err != nil {
		return nil, err
	}
	if n.children == nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: errors.New("not a directory")}
	}
	return n.sorted, nil
}

// Open implements Tree.
func (m *Memory) Open(name string) (io.ReadCloser, error) {
	n, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	if !n.entry.Mode.IsRegular() {
		return nil, errkind.New(errkind.Invalid, "open %s: it is not a regular file", name)
	}
	return io.NopCloser(io.NewSectionReader(m.spool, n.offset, n.entry.Size)), nil
}

// Xattrs implements Tree.
func (m *Memory) Xattrs(name string) (map[string][]byte, error) {
	n, err := m.find("listxattr", name)
	if err != nil {
		return nil, err
	}
	return n.xattrs, nil
}

// ReadFile returns the content of a file, links followed, up to limit bytes; errkind.Invalid for more or no regular file.
func ReadFile(t Tree, name string, limit int64) ([]byte, error) {
	name, err := Resolve(t, name, true)
	if err != nil {
		return nil, err
	}
	e, err := t.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !e.Mode.IsRegular() || e.Size > limit {
		return nil, errkind.New(errkind.Invalid, "read %s: it is no regular file of at most %d bytes", name, limit)
	}
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, e.Size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
