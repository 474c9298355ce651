package copying

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pier/lib/errkind"
)

// Info is one end of a copy.
type Info struct {
	Path   string // may end with "/" or "/."
	Exists bool
	Dir    bool
	// Several sources are in one archive, each under its own name.
	Several bool
	// Odd: it can only keep its name, which is no text and which nobody knows but the archive.
	Odd bool
	// Rebase is the name that the user knows the source by, where following a symbolic link has given it another; "".
	Rebase string
}

// Split cuts a path into folder and last part, which is "." for a path that ends with "/.".
func Split(path string) (dir, base string) {
	clean := filepath.Clean(path)
	if dotted(path) {
		clean += "/."
	}
	return filepath.Dir(clean), filepath.Base(clean)
}

// dotted: the path's last part is ".", so it means what is in the folder.
func dotted(path string) bool { return filepath.Base(path) == "." }

func slashed(path string) bool { return len(path) > 0 && os.IsPathSeparator(path[len(path)-1]) }

// Place decides where to unpack an archive of the source: in the folder dir, and its entries called to instead of from.
func Place(src, dst Info) (dir, from, to string, err error) {
	dstDir, dstBase := Split(dst.Path)
	_, from = Split(src.Path)
	if src.Rebase != "" {
		from = src.Rebase
	}
	switch {
	case dst.Exists && dst.Dir && (src.Several || src.Odd):
		return dst.Path, "", "", nil
	case src.Several:
		return "", "", "", errkind.New(errkind.Invalid, "destination %q must be a directory: the pattern stands for several files", dst.Path)
	case src.Odd:
		return "", "", "", errkind.New(errkind.Invalid, "destination %q must be a directory: the name of what the pattern stands for is not UTF-8, so that it can only be kept", dst.Path)
	case dst.Exists && dst.Dir:
		return dst.Path, from, from, nil
	case dst.Exists && src.Dir:
		return "", "", "", errkind.New(errkind.Invalid, "cannot copy directory")
	case !dst.Exists && !src.Dir && (slashed(dst.Path) || dotted(dst.Path)):
		return "", "", "", errkind.New(errkind.Invalid, "no such directory")
	}
	return dstDir, from, dstBase, nil
}

// Rename gives an archive's entry the name that Place decided on.
func Rename(name, from, to string) string {
	if from == "/" {
		from = "" // all names begin with it
	}
	return strings.Replace(name, from, to, 1)
}

// Renamed rewrites an archive with other names; check, where not nil, is asked for each name. The caller closes it.
func Renamed(archive io.Reader, from, to string, check func(name string) error) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		in, out := tar.NewReader(archive), tar.NewWriter(w)
		var err error
		for err == nil {
			var h *tar.Header
			if h, err = in.Next(); err != nil {
				break
			}
			h.Name = Rename(h.Name, from, to)
			if h.Typeflag == tar.TypeLink {
				h.Linkname = Rename(h.Linkname, from, to)
			}
			if check != nil {
				err = check(h.Name)
			}
			if err == nil {
				err = out.WriteHeader(h)
			}
			if err == nil {
				_, err = io.Copy(out, in)
			}
		}
		if errors.Is(err, io.EOF) {
			err = out.Close()
		}
		_ = w.CloseWithError(err)
	}()
	return r
}

// Absolute makes a local path absolute and keeps a "/" or "/." at its end.
func Absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	switch {
	case abs == "/":
	case slashed(path):
		abs += "/"
	case dotted(path):
		abs += "/."
	}
	return abs, nil
}

// Source describes a local source, which must exist. follow: a symbolic link stands for what it leads to.
func Source(path string, follow bool) (Info, error) {
	path, err := Absolute(path)
	if err != nil {
		return Info{}, err
	}
	var real, rebase string
	if follow {
		if real, err = filepath.EvalSymlinks(path); err != nil {
			return Info{}, err
		}
		real, rebase = Followed(path, real)
	} else {
		dir, base := filepath.Split(path)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return Info{}, err
		}
		real = strings.TrimSuffix(dir, "/") + "/" + base
		if slashed(path) && filepath.Base(path) != filepath.Base(real) {
			rebase = filepath.Base(path)
		}
	}
	fi, err := os.Lstat(real)
	if err != nil {
		return Info{}, err
	}
	return Info{Path: real, Exists: true, Dir: fi.IsDir(), Rebase: rebase}, nil
}

// Followed is a path and the name to keep, where the user said path and its symbolic link leads to real.
func Followed(path, real string) (kept, rebase string) {
	if dotted(path) && !dotted(real) {
		real += "/."
	}
	if slashed(path) && !slashed(real) {
		real += "/"
	}
	if filepath.Base(path) != filepath.Base(real) {
		rebase = filepath.Base(path)
	}
	return real, rebase
}

// Destination describes a local destination. It need not exist, but its folder must.
func Destination(path string) (Info, error) {
	path, err := Absolute(path)
	if err != nil {
		return Info{}, err
	}
	asked := path
	for range 10 {
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			dir, _ := Split(path)
			if parent, err := os.Stat(dir); err != nil {
				return Info{}, err
			} else if !parent.IsDir() {
				return Info{}, errkind.New(errkind.Invalid, "not a directory")
			}
			return Info{Path: path}, nil
		}
		if err != nil {
			return Info{}, err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			return Info{Path: path, Exists: true, Dir: fi.IsDir()}, nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return Info{}, err
		}
		if !filepath.IsAbs(target) {
			dir, _ := Split(path)
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return Info{}, errkind.New(errkind.Invalid, "too many symlinks in %s", asked)
}
