package files

import (
	"context"
	"errors"
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

// Expand finds what a pattern stands for: *, ? and [...] as in a shell, where names that begin with a dot are meant only by
// patterns that do. What has the pattern itself for a name comes first, alone. follow: a match that is a symbolic link
// stands for what it leads to. No match is no error. Invalid: the pattern is malformed, or stands for too much. Conflict: two
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
			if err != nil {
				return nil, err
			}
			if path.Base(place) != "." { // else it is followed already, and what it holds is meant
				source = real
			}
		}
		stat, err := v.Stat(source)
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
			return nil, errkind.New(errkind.Conflict, "%s stands for %s and %s, which have the same name: copy them one by one", pattern, other, place)
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
			names, err := g.names(dir, strings.ReplaceAll(part, "[!", "[^"))
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
		if err == nil && (tail == "" || fi.IsDir()) {
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

// names lists what is in dir and matches pattern, in order. What is no folder that can be read has nothing in it.
func (g *globber) names(dir, pattern string) (names []string, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, errkind.New(errkind.Invalid, "the pattern %q is malformed: a [ without its ], or a \\ at the end", pattern)
	}
	f, err := g.root.OpenFile(dir, os.O_RDONLY|fsroot.ODirectory, 0)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		some, err := f.Readdirnames(1024)
		for _, name := range some {
			if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") {
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
		if err != nil || len(some) == 0 {
			slices.Sort(names)
			return names, nil
		}
	}
}

func tooMany() error {
	return errkind.New(errkind.Invalid, "the pattern stands for more than %d files: copy the folder, or name less", maxMatches)
}

// absent reports whether err says that there is nothing of a name, or that there can be nothing.
func absent(err error) bool {
	return err != nil && (errors.Is(err, fs.ErrNotExist) || errkind.Is(Blame(err), errkind.Invalid))
}
