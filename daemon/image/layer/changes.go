package layer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// ChangeKind says what a writable layer did to a path.
type ChangeKind uint8

// The kinds, numbered as in the Engine API.
const (
	Modified ChangeKind = iota
	Added
	Deleted
)

// Change is one path of which a writable layer shows something else than the layers below it.
type Change struct {
	Kind ChangeKind
	Path string // absolute
}

// Changes lists what the upper folder of an overlay changes in chain, folders before what is in them. A folder counts as
// modified when something in it was, or its owner, mode or time was; of a folder that was removed only itself is named.
// Placeholders are paths that a start makes to mount something on: they are left out where nothing else made them.
// Of the layers below only what lies under a changed folder is looked at.
func Changes(ctx context.Context, s *Store, chain digest.Digest, upper string, placeholders []string) ([]Change, error) {
	below, err := s.below(chain)
	if err != nil {
		return nil, err
	}
	defer below.close()
	top, err := fsroot.Open(upper)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	c := &comparer{ctx: ctx, placeholders: placeholders}
	if _, err := c.folder(top, "/", below, false, 0); err != nil {
		return nil, err
	}
	return c.out, nil
}

type comparer struct {
	ctx          context.Context
	placeholders []string
	out          []Change
}

// stack is what the layers below show of one path: nothing, a file, or the folders that are merged there.
type stack struct {
	found bool
	info  fs.FileInfo // of the topmost; nil for the root
	dirs  []*fsroot.Root
	open  []*os.File
}

// below opens what chain shows of "/". The caller closes it.
func (s *Store) below(chain digest.Digest) (*stack, error) {
	lowers, err := s.lowers(chain)
	if err != nil {
		return nil, err
	}
	out := &stack{found: true}
	for _, dir := range lowers {
		root, err := fsroot.Open(dir)
		if err != nil {
			out.close()
			return nil, err
		}
		out.dirs = append(out.dirs, root)
	}
	return out, nil
}

func (s *stack) close() {
	for _, d := range s.dirs {
		_ = d.Close()
	}
	for _, f := range s.open {
		_ = f.Close()
	}
}

// look finds the entry name in the folders of s, as overlayfs does.
func (s *stack) look(name string) (*stack, error) {
	out := &stack{}
	for _, dir := range s.dirs {
		last, err := out.add(dir, name)
		if err != nil {
			out.close()
			return nil, err
		}
		if last {
			break
		}
	}
	return out, nil
}

// has reports whether there is something at place, an absolute path, below s. Links on the way are not followed.
func (s *stack) has(place string) (bool, error) {
	at := s
	for name := range strings.SplitSeq(strings.Trim(place, "/"), "/") {
		next, err := at.look(name)
		if at != s {
			at.close()
		}
		if err != nil {
			return false, err
		}
		at = next
	}
	defer at.close()
	return at.found, nil
}

// add looks at one layer; last says that those below it do not matter.
func (s *stack) add(dir *fsroot.Root, name string) (last bool, err error) {
	n, info, err := entryOf(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer n.Close()
	if isWhiteout(info) || s.found && !info.IsDir() {
		return true, nil
	}
	if !s.found {
		s.found, s.info = true, info
	}
	if !info.IsDir() {
		return true, nil
	}
	f, opaque, err := openFolder(n)
	if err != nil {
		return false, err
	}
	s.open = append(s.open, f)
	s.dirs = append(s.dirs, fsroot.FromFile(f))
	return opaque, nil
}

// entryOf finds an entry of a folder and describes it. The caller closes it.
func entryOf(dir *fsroot.Root, name string) (*fsroot.Node, fs.FileInfo, error) {
	n, err := dir.At(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := n.Stat()
	if err != nil {
		_ = n.Close()
		return nil, nil, err
	}
	return n, info, nil
}

// openFolder opens the folder n, which is of one layer alone. opaque: it hides what is below it.
func openFolder(n *fsroot.Node) (f *os.File, opaque bool, err error) {
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, false, err
	}
	f, err = n.Open(os.O_RDONLY | fsroot.ODirectory)
	return f, string(attrs[xattrOpaque]) == "y", err
}

// names lists what the folders of s show.
func (s *stack) names() ([]string, error) {
	seen := map[string]bool{}
	for _, dir := range s.dirs {
		names, err := list(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			seen[name] = true
		}
	}
	var out []string
	for name := range seen {
		entry, err := s.look(name)
		if err != nil {
			return nil, err
		}
		if entry.found {
			out = append(out, name)
		}
		entry.close()
	}
	return out, nil
}

func list(dir *fsroot.Root) ([]string, error) {
	f, err := dir.OpenFile(".", os.O_RDONLY|fsroot.ODirectory, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// maxCompared is how deep folders may be nested: each costs descriptors.
const maxCompared = 1000

// folder compares the upper folder dir at place with what is below it. hollow: it holds placeholders and nothing else.
func (c *comparer) folder(dir *fsroot.Root, place string, below *stack, opaque bool, depth int) (hollow bool, err error) {
	if depth == maxCompared {
		return false, errkind.New(errkind.Unsupported, "%s: folders are nested deeper than %d levels", place, maxCompared)
	}
	names, err := list(dir)
	if err != nil {
		return false, err
	}
	in := map[string]bool{}
	for _, name := range names {
		in[name] = true
	}
	var covered []string
	if opaque { // it hides what is below it
		all, err := below.names()
		if err != nil {
			return false, err
		}
		for _, name := range all {
			if !in[name] {
				covered = append(covered, name)
			}
		}
	}
	both := slices.Concat(names, covered)
	slices.Sort(both)
	left := 0 // placeholders left out
	for _, name := range both {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		at := path.Join(place, name)
		if !in[name] {
			c.out = append(c.out, Change{Deleted, at})
			continue
		}
		skipped, err := c.entry(dir, name, at, below, depth)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // what is gone by now is gone
			return false, err
		}
		if skipped {
			left++
		}
	}
	return left > 0, nil
}

// entry compares one entry of an upper folder.
func (c *comparer) entry(dir *fsroot.Root, name, place string, below *stack, depth int) (skipped bool, err error) {
	n, info, err := entryOf(dir, name)
	if err != nil {
		return false, err
	}
	defer n.Close()
	lower, err := below.look(name)
	if err != nil {
		return false, err
	}
	defer lower.close()
	if isWhiteout(info) {
		if lower.found {
			c.out = append(c.out, Change{Deleted, place})
		}
		return false, nil
	}
	kind := Added
	if lower.found {
		kind = Modified
	}
	if !info.IsDir() {
		if kind == Added && info.Size() == 0 && slices.Contains(c.placeholders, place) {
			return true, nil
		}
		c.out = append(c.out, Change{kind, place})
		return false, nil
	}
	f, opaque, err := openFolder(n)
	if err != nil {
		return false, err
	}
	defer f.Close()
	before := len(c.out)
	c.out = append(c.out, Change{kind, place})
	hollow, err := c.folder(fsroot.FromFile(f), place, lower, opaque, depth+1)
	if err != nil || len(c.out) > before+1 {
		return false, err
	}
	// Nothing in it changed.
	switch {
	case kind == Added && (hollow || slices.Contains(c.placeholders, place)):
		skipped = true
	case kind == Added || !lower.info.IsDir() || !sameFolder(info, lower.info, hollow):
		return false, nil
	}
	c.out = c.out[:before]
	return skipped, nil
}

// sameFolder compares all but the content. Making a placeholder changes the time.
func sameFolder(a, b fs.FileInfo, hollow bool) bool {
	x, y := fsroot.AttrOf(a), fsroot.AttrOf(b)
	return a.Mode() == b.Mode() && x.UID == y.UID && x.GID == y.GID && (hollow || a.ModTime().Equal(b.ModTime()))
}
