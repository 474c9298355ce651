package copying

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"pier/cli/internal/terminal"
	"pier/client"
	"pier/lib/errkind"
)

// Copier is one `pier cp`.
type Copier struct {
	Files   client.Files
	In      io.Reader // what "-" stands for as a source
	Out     io.Writer // and as a destination
	Archive bool      // owners are kept
	Follow  bool      // a link that is the source is followed
	// Owner and Mode, where not empty, are for all that is put into a container, as client.WriteOptions has them.
	Owner, Mode string
	Warn        func(format string, args ...any)
	// Done is told how many bytes of archive went where.
	Done func(bytes int64, to string)

	placed map[string]string // which source has taken a name in the destination; nil where there is only one source
}

// claim takes a name in the destination for source. Another source with that name would overwrite what has just been copied.
func (cp *Copier) claim(name, source string) error {
	if cp.placed == nil || name == "" || name == "." || name == "/" { // what is in a folder may go over what is in another
		return nil
	}
	if other, taken := cp.placed[name]; taken && other != source {
		return errkind.New(errkind.Conflict, "will not overwrite %q, just copied from %q, with %q", name, other, source)
	}
	cp.placed[name] = source
	return nil
}

// claimAll is claim for each of several files in one archive, as they come.
func (cp *Copier) claimAll(info Info, body io.ReadCloser, source string) io.ReadCloser {
	if cp.placed == nil || !info.Several && !info.Odd {
		return body
	}
	return &both{Renamed(body, "", "", func(name string) error {
		top, _, _ := strings.Cut(name, "/")
		return cp.claim(top, source)
	}), body}
}

// end is one of the two arguments: a path in a container, or, where container is "", a local one or "-".
type end struct{ container, path string }

func (e end) String() string {
	if e.container == "" {
		return e.path
	}
	return e.container + ":" + e.path
}

// parseEnd reads CONTAINER:PATH or PATH. A local path with a colon is written absolute or with "./".
func parseEnd(arg string) end {
	name, path, ok := strings.Cut(arg, ":")
	if filepath.IsAbs(arg) || !ok || strings.HasPrefix(name, ".") {
		return end{"", arg}
	}
	return end{name, path}
}

// Check refuses what cannot be asked for: options that do not go together, several sources without a folder to go into.
func (cp *Copier) Check(ctx context.Context, sources []string, destination string) error {
	dst := parseEnd(destination)
	inside := func(arg string) bool { return parseEnd(arg).container != "" }
	switch {
	case len(sources) > 1 && dst.container == "" && !slices.ContainsFunc(sources, inside):
		return invalid("must specify at least one container source")
	case cp.Owner != "" && cp.Archive:
		return invalid("conflicting options: --archive keeps owners, --chown sets them")
	case dst.container == "" && cp.Owner+cp.Mode != "":
		return invalid("--chown and --chmod need a container as the destination")
	case len(sources) > 1:
		cp.placed = map[string]string{}
		return cp.checkFolder(ctx, sources, dst)
	}
	return nil
}

// checkFolder refuses a destination that several sources cannot go into.
func (cp *Copier) checkFolder(ctx context.Context, sources []string, dst end) error {
	if dst.path == "-" || slices.Contains(sources, "-") {
		return invalid("a tar stream goes with one source and one destination")
	}
	if dst.container == "" {
		if fi, err := os.Stat(dst.path); err != nil || !fi.IsDir() {
			return invalid("destination %q must be a directory that exists, since there are several sources", dst)
		}
		return nil
	}
	// By its end in "/." a symbolic link is followed, too.
	stat, err := cp.Files.Stat(ctx, dst.container, strings.TrimRight(dst.path, "/")+"/.")
	if absent(err) {
		if _, rootErr := cp.Files.Stat(ctx, dst.container, "/"); rootErr != nil { // it is the container that is not there
			_, body, rootErr := cp.Files.Read(ctx, dst.container, "/") // its answer has words
			if rootErr == nil {
				rootErr = body.Close()
			}
			if rootErr != nil {
				return rootErr
			}
		}
	} else if err != nil {
		return err
	}
	if err != nil || !stat.Mode.IsDir() {
		return invalid("destination %q must be a directory that exists, since there are several sources", dst)
	}
	return nil
}

// Copy copies from source to destination, each PATH, CONTAINER:PATH or "-"; one at least is in a container.
func (cp *Copier) Copy(ctx context.Context, source, destination string) error {
	if source == "" {
		return invalid("source can not be empty")
	}
	if destination == "" {
		return invalid("destination can not be empty")
	}
	src, dst := parseEnd(source), parseEnd(destination)
	switch {
	case src.container == "" && dst.container == "":
		return invalid("must specify at least one container source")
	case dst.container == "":
		return cp.out(ctx, src, dst.path)
	}
	return cp.in(ctx, src, dst)
}

// fetch opens the source in a container. What looks like a pattern is one for the daemon to expand, unless there is something
// of that name.
func (cp *Copier) fetch(ctx context.Context, src end) (Info, io.ReadCloser, error) {
	info := Info{Path: src.path, Exists: true}
	pattern := strings.ContainsAny(src.path, `*?[\`)
	if cp.Follow || pattern {
		stat, err := cp.Files.Stat(ctx, src.container, src.path)
		switch {
		case err == nil && cp.Follow && stat.Mode&fs.ModeSymlink != 0:
			info.Path, info.Rebase = Followed(src.path, linkTarget(src.path, stat.LinkTarget))
		case pattern && absent(err):
			return cp.match(ctx, src)
		}
	}
	stat, body, err := cp.Files.Read(ctx, src.container, info.Path)
	info.Dir = stat.Mode.IsDir()
	return info, body, err
}

// absent reports whether the daemon says that there is nothing of a name, or can be nothing.
func absent(err error) bool {
	return errkind.Is(err, errkind.NotFound) || errkind.Is(err, errkind.Invalid)
}

// match opens what a pattern stands for.
func (cp *Copier) match(ctx context.Context, src end) (Info, io.ReadCloser, error) {
	matches, first, body, err := cp.Files.Match(ctx, src.container, src.path, cp.Follow)
	return Info{
		Path: first.Name, Exists: true, Dir: first.Mode.IsDir(), Several: matches > 1,
		Odd: strings.ContainsRune(first.Name, utf8.RuneError), // JSON cannot tell what it is called
	}, body, err
}

// names is what the daemon calls the entries of a source, and what to call them.
func names(info Info, from, to string) (string, string) {
	if info.Rebase == "" {
		return from, to
	}
	_, base := Split(info.Path)
	return base, to
}

func linkTarget(path, target string) string {
	if filepath.IsAbs(target) {
		return target
	}
	dir, _ := Split(path)
	return filepath.Join(dir, target)
}

// out copies from a container to a local place or standard output.
func (cp *Copier) out(ctx context.Context, src end, to string) error {
	if to != "-" {
		if err := checkOutput(to); err != nil {
			return err
		}
	}
	info, body, err := cp.fetch(ctx, src)
	if err != nil {
		return err
	}
	defer body.Close()
	if to == "-" {
		if _, shown := terminal.Of(cp.Out); shown {
			return errors.New("cowardly refusing to copy to a terminal; redirect the output")
		}
		_, err = io.Copy(cp.Out, body)
		return err
	}
	dst, err := Destination(to)
	if err != nil {
		return err
	}
	dir, old, name, err := Place(info, dst)
	if err != nil {
		return err
	}
	old, name = names(info, old, name)
	if err := cp.claim(name, src.String()); err != nil {
		return err
	}
	body = cp.claimAll(info, body, src.String())
	defer body.Close()
	counted := &counter{r: body}
	skipped, err := Unpack(counted, dir, old, name, cp.Archive)
	for _, s := range skipped {
		cp.Warn("WARNING: %q is a device or a pipe and was not copied", s)
	}
	if err != nil {
		return err
	}
	cp.Done(counted.n, to)
	return nil
}

// checkOutput refuses what a copy cannot be put on before anything is fetched.
func checkOutput(path string) error {
	if dir := filepath.Dir(filepath.Clean(path)); dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return invalid("invalid output path: directory %q does not exist", dir)
		}
	}
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !fi.IsDir() && !fi.Mode().IsRegular() {
		err = invalid("invalid output path: %q must be a directory or a regular file", path)
	}
	return err
}

// in copies into a container: from standard input, a local place, or another container.
func (cp *Copier) in(ctx context.Context, src, dst end) error {
	info := Info{Path: dst.path}
	stat, err := cp.Files.Stat(ctx, dst.container, dst.path)
	if err == nil && stat.Mode&fs.ModeSymlink != 0 {
		info.Path = linkTarget(dst.path, stat.LinkTarget)
		stat, err = cp.Files.Stat(ctx, dst.container, info.Path)
	}
	if err == nil && !stat.Mode.IsDir() && !stat.Mode.IsRegular() {
		return invalid("destination %q must be a directory or a regular file", dst)
	}
	// Where it is not there its folder may be, and the daemon will tell.
	info.Exists, info.Dir = err == nil, err == nil && stat.Mode.IsDir()

	var body io.ReadCloser
	dir := info.Path
	switch {
	case src.container != "":
		if dir, body, err = cp.between(ctx, src, info); err != nil {
			return err
		}
	case src.path == "-":
		if !info.Dir {
			return invalid("destination %q must be a directory", dst)
		}
		body = io.NopCloser(cp.In)
	default:
		from, err := Source(src.path, cp.Follow)
		if err != nil {
			return err
		}
		var name string
		if dir, _, name, err = Place(from, info); err == nil {
			err = cp.claim(name, src.path)
		}
		if err != nil {
			return err
		}
		body = Pack(from, name)
	}
	defer body.Close()
	counted := &counter{r: body}
	if err := cp.Files.Write(ctx, dst.container, dir, counted, client.WriteOptions{AsUser: cp.Archive, Owner: cp.Owner, Mode: cp.Mode}); err != nil {
		return err
	}
	cp.Done(counted.n, dst.container+":"+info.Path)
	return nil
}

// between opens a source in another container, with the names that it is to have here.
func (cp *Copier) between(ctx context.Context, src end, dst Info) (string, io.ReadCloser, error) {
	info, body, err := cp.fetch(ctx, src)
	if err != nil {
		return "", nil, err
	}
	dir, old, name, err := Place(info, dst)
	old, name = names(info, old, name)
	if err == nil {
		err = cp.claim(name, src.String())
	}
	if err != nil {
		_ = body.Close()
		return "", nil, err
	}
	if old == name {
		return dir, cp.claimAll(info, body, src.String()), nil
	}
	return dir, &both{Renamed(body, old, name, nil), body}, nil
}

// both closes what it reads from and what that reads from.
type both struct {
	io.ReadCloser
	under io.Closer
}

func (b *both) Close() error { return errors.Join(b.ReadCloser.Close(), b.under.Close()) }

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func invalid(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }
