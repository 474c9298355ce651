package packing

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// maxDockerfile bounds a Dockerfile read from standard input or from outside the context, in bytes.
const maxDockerfile = 1 << 20

// outsideName is the name under which a Dockerfile from elsewhere travels in the context.
const outsideName = ".dockerfile.pier"

// Folder streams the folder dir as a tar without what .dockerignore excludes. file is the Dockerfile: "" for the
// usual one, "-" to read it from stdin, else a path inside or outside dir. It returns its name inside the tar. A small
// context comes as Whole.
func Folder(dir, file string, stdin io.Reader) (io.ReadCloser, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, "", err
	}
	name, outside, err := dockerfileIn(dir, file, stdin)
	if err != nil {
		return nil, "", err
	}
	ignored, err := readIgnore(dir, name, outside != nil)
	if err != nil {
		return nil, "", err
	}
	s := &spill{long: make(chan io.ReadCloser, 1)}
	packed := make(chan error, 1)
	go func() {
		p := &packer{tar: tar.NewWriter(s), root: dir, ignored: ignored}
		err := p.pack()
		if err == nil && outside != nil {
			err = p.add(name, outside)
		}
		if err == nil {
			err = p.tar.Close()
		}
		packed <- s.close(err)
	}()
	select {
	case err := <-packed:
		if err != nil {
			return nil, "", err
		}
		return Whole{&s.head}, name, nil
	case long := <-s.long:
		return long, name, nil
	}
}

// Stream makes a context of what stdin holds: a tar archive, maybe compressed, as it is, or else a Dockerfile alone. file
// is the Dockerfile's name in the archive. It returns that name, "" for the usual one.
func Stream(stdin io.Reader, file string) (io.ReadCloser, string, error) {
	r := bufio.NewReader(stdin)
	head, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return nil, "", fmt.Errorf("read the build context from standard input: %w", err)
	}
	if isArchive(head) {
		return io.NopCloser(r), file, nil
	}
	dockerfile, err := readLimited(r, "standard input")
	if err != nil {
		return nil, "", err
	}
	var out bytes.Buffer
	p := &packer{tar: tar.NewWriter(&out)}
	if err := p.add("Dockerfile", dockerfile); err != nil {
		return nil, "", err
	}
	return io.NopCloser(&out), "", p.tar.Close()
}

// isArchive reports whether something that starts with head (at most 512 bytes) is a tar archive or compressed.
func isArchive(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || len(head) == 512 && bytes.Count(head, []byte{0}) == 512 // an empty archive is two blocks of zeros
}

// dockerfileIn finds the Dockerfile: its slash-separated name in the context, and its content where it is from outside.
func dockerfileIn(dir, file string, stdin io.Reader) (name string, outside []byte, err error) {
	switch file {
	case "":
		if _, err := os.Lstat(filepath.Join(dir, "Dockerfile")); errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("unable to prepare context: no Dockerfile in %s: create one, or name it with -f", dir)
		}
		return "Dockerfile", nil, nil
	case "-":
		outside, err = readLimited(stdin, "standard input")
		return outsideName, outside, err
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", nil, err
	}
	if !filepath.IsAbs(file) {
		// As docker does: relative to the working folder first, then to the context.
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			path = filepath.Join(dir, file)
		}
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil, fmt.Errorf("unable to prepare context: Dockerfile %s: %w", file, errors.Unwrap(err))
	}
	if rel, err := filepath.Rel(dir, real); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return filepath.ToSlash(rel), nil, nil
	}
	f, err := os.Open(real)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	outside, err = readLimited(f, file)
	return outsideName, outside, err
}

func readLimited(r io.Reader, what string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err == nil && len(data) > maxDockerfile {
		err = errkind.New(errkind.Invalid, "Dockerfile from %s is larger than %d bytes", what, maxDockerfile)
	}
	return data, err
}

// readIgnore reads <Dockerfile>.dockerignore, else .dockerignore. The Dockerfile and the ignore file always travel:
// the daemon needs them.
func readIgnore(dir, dockerfile string, outside bool) (*patternmatcher.PatternMatcher, error) {
	var patterns []string
	names := []string{".dockerignore"}
	if !outside {
		names = []string{dockerfile + ".dockerignore", ".dockerignore"}
	}
	for _, n := range names {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(n)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err = ignorefile.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		break
	}
	if len(patterns) > 0 {
		patterns = append(patterns, "!"+names[0], "!.dockerignore")
		if !outside {
			patterns = append(patterns, "!"+dockerfile)
		}
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, ".dockerignore: %w", err)
	}
	return m, nil
}

// packer writes one folder into one tar.
type packer struct {
	tar     *tar.Writer
	root    string
	ignored *patternmatcher.PatternMatcher
}

func (p *packer) pack() error {
	parents := map[string]patternmatcher.MatchInfo{}
	return filepath.WalkDir(p.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && path != p.root {
				return nil // gone since its folder was read
			}
			return fmt.Errorf("unable to prepare context: %w", err)
		}
		rel, err := filepath.Rel(p.root, path)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		skip, info, err := p.ignored.MatchesUsingParentResults(rel, parents[filepath.Dir(rel)])
		if err != nil {
			return fmt.Errorf(".dockerignore: %w", err)
		}
		if entry.IsDir() {
			parents[rel] = info
		}
		if skip {
			if entry.IsDir() && !p.ignored.Exclusions() {
				return fs.SkipDir
			}
			if !entry.IsDir() {
				return nil
			}
			if !p.mayHold(rel) {
				return fs.SkipDir
			}
			return nil
		}
		return p.entry(path, rel, entry)
	})
}

// mayHold reports whether an exception (!pattern) could name something below an ignored folder.
func (p *packer) mayHold(dir string) bool {
	for _, pattern := range p.ignored.Patterns() {
		if !pattern.Exclusion() {
			continue
		}
		text := pattern.String()
		if strings.HasPrefix(text+"/", dir+"/") || strings.ContainsAny(text, "*?[") {
			return true
		}
	}
	return false
}

func (p *packer) entry(path, rel string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
		return nil // nothing a build could use
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tarheader.Of(info, rel, link)
	if err != nil {
		return err
	}
	// Who packed the context must not change what is built.
	h.Uid, h.Gid = 0, 0
	// Whole seconds, as docker sends them: a fraction takes a header of its own.
	h.ModTime = h.ModTime.Truncate(time.Second)
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("unable to prepare context: %w", err)
	}
	defer f.Close()
	if n, err := io.Copy(p.tar, io.LimitReader(f, h.Size)); err != nil {
		return err
	} else if n < h.Size {
		return fmt.Errorf("unable to prepare context: %s became shorter while it was read", rel)
	}
	return nil
}

func (p *packer) add(name string, content []byte) error {
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg, Format: tar.FormatPAX, ModTime: time.Unix(0, 0)}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(p.tar, bytes.NewReader(content))
	return err
}
