// Package tree reads file trees that nobody trusts: a build context, which stays inside its tar stream and never becomes
// files of the host, and the merged layers of a stage.
//
// All names are absolute inside the tree ("/" is its top) and clean. Symbolic links are resolved here, by Resolve, against
// the tree alone, so that a link in a context has nothing to escape to.
//
// Start reading at Tree.
package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/moby/patternmatcher"

	"pier/lib/errkind"
)

// Entry describes one file of a tree.
type Entry struct {
	Name     string // absolute in the tree
	Mode     os.FileMode
	UID, GID int
	Size     int64 // of a regular file, in bytes
	ModTime  time.Time
	Link     string // target of a symbolic link
	Rdev     uint64 // number of a device node
	// Inode is the same number for the several names of one regular file, 0 where it has only one.
	Inode uint64
	// Sum is the SHA-256 of a regular file's content where it is known already; otherwise nil.
	Sum *[sha256.Size]byte
}

// Tree is a set of files that does not change. Implementations are safe for concurrent use. The names that its methods
// take must be free of symbolic links except in the last component, which is not followed.
type Tree interface {
	// Lstat describes a file; fs.ErrNotExist where there is none.
	Lstat(name string) (Entry, error)
	// Names lists a directory, sorted.
	Names(dir string) ([]string, error)
	// Open opens a regular file for reading; an *os.File where it is one.
	Open(name string) (io.ReadCloser, error)
	// Xattrs returns those extended attributes that an image may carry.
	Xattrs(name string) (map[string][]byte, error)
}

// maxLinks bounds the symbolic links of one resolution, as the kernel does.
const maxLinks = 40

// Resolve returns name without symbolic links: in its parents, and with follow also in the last component. ".." at the
// top stays at the top. A missing parent, and with follow a missing target, is fs.ErrNotExist.
func Resolve(t Tree, name string, follow bool) (string, error) {
	at, rest, links := "/", split(name), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		if len(rest) == 0 && !follow {
			return next, nil
		}
		e, err := t.Lstat(next)
		if err != nil {
			return "", err
		}
		if e.Mode&os.ModeSymlink == 0 {
			if len(rest) > 0 && !e.Mode.IsDir() {
				return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", errkind.New(errkind.Invalid, "open %s: too many levels of symbolic links", name)
		}
		if path.IsAbs(e.Link) {
			at = "/"
		}
		rest = append(split(e.Link), rest...)
	}
	return at, nil
}

// split cuts a path into its components without "" and ".".
func split(name string) []string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// Glob returns the names that pattern stands for, sorted. The part before the first component with a wildcard is resolved
// (its last component only with follow); from there on each component is matched as by path.Match against real entries,
// links not followed. A pattern without wildcards is returned as it is, whether it exists or not.
func Glob(t Tree, pattern string, follow bool) ([]string, error) {
	parts := split(pattern)
	first := 0
	for first < len(parts) && !hasWildcard(parts[first]) {
		first++
	}
	if first == len(parts) {
		return []string{pattern}, nil
	}
	base, err := Resolve(t, "/"+strings.Join(parts[:first], "/"), follow)
	if err != nil {
		return nil, err
	}
	found := []string{base}
	for i, part := range parts[first:] {
		last := first+i == len(parts)-1
		var next []string
		for _, dir := range found {
			names, err := t.Names(dir)
			if err != nil {
				return nil, err
			}
			for _, n := range names {
				if ok, err := path.Match(part, n); err != nil || !ok {
					continue // a malformed pattern matches nothing, as in Docker
				}
				full := path.Join(dir, n)
				if e, err := t.Lstat(full); err != nil || !last && !e.Mode.IsDir() {
					continue
				}
				next = append(next, full)
			}
		}
		found = next
	}
	sort.Strings(found)
	return found, nil
}

func hasWildcard(part string) bool {
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// Filter selects the files below a directory. Use NewFilter; nil selects all.
type Filter struct {
	include, exclude *patternmatcher.PatternMatcher
}

// NewFilter makes a filter of patterns as they stand in .dockerignore files. An empty include list includes everything.
func NewFilter(include, exclude []string) (*Filter, error) {
	if len(include) == 0 && len(exclude) == 0 {
		return nil, nil
	}
	f := new(Filter)
	var err error
	if len(include) > 0 {
		if f.include, err = patternmatcher.New(include); err != nil {
			return nil, errkind.New(errkind.Invalid, "include patterns %q: %w", include, err)
		}
	}
	if len(exclude) > 0 {
		if f.exclude, err = patternmatcher.New(exclude); err != nil {
			return nil, errkind.New(errkind.Invalid, "exclude patterns %q: %w", exclude, err)
		}
	}
	return f, nil
}

// walker is one Walk.
type walker struct {
	ctx    context.Context
	tree   Tree
	filter *Filter
	visit  Visit
	// pending are the directories on the way down that were not selected themselves; they are visited once something
	// below them is.
	pending []pendingDir
}

// Visit is called for one file; rel is its path below the top of the Walk. selected is false for a directory that is only
// on the way to a selected file.
type Visit func(rel string, e Entry, selected bool) error

type pendingDir struct {
	rel     string
	entry   Entry
	visited bool
}

// Walk visits top, whose rel is "", and the selected files below it, directories before what is in them, in the order of
// names. Only the parents of selected files are visited unselected.
func Walk(ctx context.Context, t Tree, top string, f *Filter, visit Visit) error {
	w := &walker{ctx: ctx, tree: t, filter: f, visit: visit}
	return w.walk(top, "", patternmatcher.MatchInfo{}, patternmatcher.MatchInfo{})
}

func (w *walker) walk(name, rel string, inc, exc patternmatcher.MatchInfo) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	selected, excluded := true, false
	if rel != "" && w.filter != nil {
		var err error
		if selected, excluded, inc, exc, err = w.filter.match(rel, inc, exc); err != nil {
			return err
		}
		if excluded && !w.filter.exclude.Exclusions() {
			return nil
		}
	}
	e, err := w.tree.Lstat(name)
	if err != nil {
		return err
	}
	if selected {
		for i, p := range w.pending {
			if !p.visited {
				if err := w.visit(p.rel, p.entry, false); err != nil {
					return err
				}
				w.pending[i].visited = true
			}
		}
		if err := w.visit(rel, e, true); err != nil {
			return err
		}
	}
	if !e.Mode.IsDir() {
		return nil
	}
	w.pending = append(w.pending, pendingDir{rel, e, selected})
	defer func() { w.pending = w.pending[:len(w.pending)-1] }()
	names, err := w.tree.Names(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.walk(path.Join(name, n), path.Join(rel, n), inc, exc); err != nil {
			return err
		}
	}
	return nil
}

func (f *Filter) match(rel string, inc, exc patternmatcher.MatchInfo) (selected, excluded bool, i, e patternmatcher.MatchInfo, err error) {
	selected = true
	if f.include != nil {
		if selected, inc, err = f.include.MatchesUsingParentResults(rel, inc); err != nil {
			return false, false, inc, exc, fmt.Errorf("match %s: %w", rel, err)
		}
	}
	if f.exclude != nil {
		if excluded, exc, err = f.exclude.MatchesUsingParentResults(rel, exc); err != nil {
			return false, false, inc, exc, fmt.Errorf("match %s: %w", rel, err)
		}
	}
	return selected && !excluded, excluded, inc, exc, nil
}

// allowedXattr reports whether an image may carry the extended attribute. What steers the file system itself, first of
// all trusted.overlay.*, never passes.
func allowedXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}
