package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

const (
	// maxMatches bounds what one pattern, or a part of it, stands for.
	maxMatches = 10_000
	// maxLooked bounds how many names are looked at for it: a container can have folders that lead into themselves.
	maxLooked = 1_000_000
	// maxPattern bounds a pattern, in bytes, as the kernel bounds a path.
	maxPattern = 4096
)

// IsPattern reports whether name has a character that means something to a shell: *, ?, [ or \.
func IsPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// Match is one file that a pattern stands for.
type Match struct {
	Stat   container.PathStat
	source string
}

// Expand finds what a pattern stands for: *, ? and [...] as in a shell (with [!...], and classes such as [[:digit:]], which are
// those of ASCII; a [ without its ] is refused), where names that begin with a dot are meant only by
// patterns that do. What has the pattern itself for a name comes first, alone. follow: a match that is a symbolic link
// stands for what it leads to, or for itself where that is nothing. No match is no error. Invalid: the pattern is malformed, or stands for too much. Conflict: two
// matches have the same name, so that one would be lost. What is hidden is left out; Forbidden where there is nothing else.
func (v *View) Expand(pattern string, follow bool) ([]Match, error) {
	pattern = Clean(pattern)
	places := []string{pattern}
	if _, err := v.Stat(pattern); absent(err) {
		if places, err = expand(v.ctx, v.Root, pattern); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	var list []Match
	named := map[string]string{}
	var hidden error
	for _, place := range places {
		source := place
		if follow {
			real, err := v.Root.Resolve(place)
			if err != nil && !absent(err) {
				return nil, err
			}
			if err == nil && path.Base(place) != "." { // else it is followed already, and what it holds is meant
				source = real
			}
		}
		stat, err := v.Stat(source)
		if absent(err) && stat.Mode&fs.ModeSymlink != 0 {
			err = nil // a link in a circle: it is there, and where it leads is not asked
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since, or no file
		}
		if errkind.Is(err, errkind.Forbidden) {
			hidden = err
			continue // as in a folder
		}
		if err != nil {
			return nil, err
		}
		if path.Base(place) != "." {
			stat.Name = path.Base(place)
		}
		if other, twice := named[stat.Name]; twice {
			return nil, errkind.New(errkind.Conflict, "%q stands for %q and %q, which have the same name: copy them one by one", pattern, other, place)
		}
		named[stat.Name] = place
		list = append(list, Match{stat, source})
	}
	if len(list) == 0 {
		return nil, hidden
	}
	return list, nil
}

// PipeAll is Pipe of several files, one after the other in one archive; those that are gone by then are left out.
func (v *View) PipeAll(matches []Match) io.ReadCloser {
	var all []PackOptions
	for _, m := range matches {
		all = append(all, PackOptions{Source: m.source, Name: m.Stat.Name})
	}
	return v.Pipe(all...)
}

// expand lists the paths, in order, of what there is for a pattern that Clean has cleaned.
func expand(ctx context.Context, root *fsroot.Root, pattern string) ([]string, error) {
	if len(pattern) > maxPattern {
		return nil, errkind.New(errkind.Invalid, "the pattern is longer than %d bytes", maxPattern)
	}
	tail := ""
	for _, end := range []string{"/.", "/"} {
		if short, ok := strings.CutSuffix(pattern, end); ok {
			pattern, tail = short, end
			break
		}
	}
	g := &globber{ctx: ctx, root: root}
	found := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !IsPattern(part) {
				next = append(next, path.Join(dir, part))
				continue
			}
			names, err := g.names(dir, part)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				next = append(next, path.Join(dir, name))
			}
			if len(next) > maxMatches {
				return nil, tooMany()
			}
		}
		found = next
	}
	var there []string
	for _, place := range found {
		fi, err := root.Lstat(place)
		if err == nil && tail != "" {
			fi, err = root.Stat(place)
		}
		if absent(err) {
			continue
		}
		if err != nil { // it may be there: to leave it out would be an answer that is not whole
			return nil, fmt.Errorf("look at %q: %w", place, Blame(err))
		}
		if tail == "" || fi.IsDir() {
			there = append(there, place+tail)
		}
	}
	return there, nil
}

// globber looks for names.
type globber struct {
	ctx    context.Context
	root   *fsroot.Root
	looked int
}

// names lists what is in dir and matches pattern, in order. What is no folder has nothing in it; one that cannot be read is an
// error.
func (g *globber) names(dir, pattern string) (names []string, err error) {
	asked := pattern
	pattern, ok := translate(asked)
	if _, err := path.Match(pattern, ""); err != nil || !ok {
		return nil, errkind.New(errkind.Invalid, "the pattern %q is malformed: a [ without its ], a class that there is not, or a \\ at the end", asked)
	}
	f, err := g.root.OpenFile(dir, os.O_RDONLY|fsroot.ODirectory, 0)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder %q: %w", dir, Blame(err))
	}
	defer f.Close()
	return g.read(f, pattern)
}

// read is names of an open folder.
func (g *globber) read(f *os.File, pattern string) (names []string, err error) {
	for {
		some, err := f.Readdirnames(1024)
		for _, name := range some {
			if strings.HasPrefix(name, ".") && !strings.HasPrefix(strings.TrimPrefix(pattern, `\`), ".") {
				continue
			}
			if ok, _ := path.Match(pattern, name); ok {
				names = append(names, name)
			}
		}
		if len(names) > maxMatches {
			return nil, tooMany()
		}
		if g.looked += len(some); g.looked > maxLooked {
			return nil, errkind.New(errkind.Invalid, "the pattern leads through more than %d files: name less", maxLooked)
		}
		if g.ctx.Err() != nil {
			return nil, context.Cause(g.ctx)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // the end, or the folder has been removed
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a folder for %q: %w", pattern, Blame(err))
		}
	}
}

func tooMany() error {
	return errkind.New(errkind.Invalid, "the pattern stands for more than %d files: copy the folder, or name less", maxMatches)
}

// absent reports whether err says that there is nothing of a name, or that there can be nothing. What could not be looked at
// is not absent.
func absent(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, fs.ErrNotExist) || errkind.Is(err, errkind.Invalid) {
		return true
	}
	why := errkind.System(err)
	return why != nil && slices.ContainsFunc([]string{"not a directory", "too many levels of symbolic links", "file name too long", "invalid argument", "no such process"},
		func(words string) bool { return strings.Contains(why.Error(), words) })
}
