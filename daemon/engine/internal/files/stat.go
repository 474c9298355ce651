package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Clean makes name absolute and free of "." and "..", but keeps a "/" or "/." at its end, which asks for the folder that
// a symbolic link leads to.
func Clean(name string) string {
	clean := path.Join("/", name)
	switch {
	case clean == "/":
	case strings.HasSuffix(name, "/"):
		clean += "/"
	case strings.HasSuffix(name, "/."):
		clean += "/."
	}
	return clean
}

// Stat describes what is at name, a symbolic link itself unless name ends with "/" or "/.". For a symbolic link it also
// tells where that leads, as far as there is something. What is no file but the kernel's own (in /proc, /sys) is not there.
// What is hidden is Forbidden.
func (v *View) Stat(name string) (container.PathStat, error) {
	name, root := Clean(name), v.Root
	f, err := root.OpenFile(name, fsroot.OPath|fsroot.ONofollow, 0)
	if err != nil {
		return container.PathStat{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return container.PathStat{}, err
	}
	if in, err := fsroot.FSOf(f); err != nil || in.Kernel && !fi.IsDir() {
		return container.PathStat{}, errors.Join(err, &os.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist})
	}
	if v.hides(fi) {
		return container.PathStat{}, errHidden(name)
	}
	s := container.PathStat{Name: path.Base(name), Size: fi.Size(), Mode: fi.Mode(), Mtime: fi.ModTime()}
	if strings.HasSuffix(name, "/.") {
		s.Name = "."
	}
	if fi.Mode()&os.ModeSymlink != 0 {
		links := 0
		s.LinkTarget, err = follow(root, name, &links)
	}
	return s, err
}

// hides reports whether a file is one of the container's secrets.
func (v *View) hides(fi fs.FileInfo) bool { return v.Hidden != 0 && fsroot.AttrOf(fi).Dev == v.Hidden }

func errHidden(name string) error {
	return errkind.New(errkind.Forbidden, "%s is a secret of the container: its processes alone read it", name)
}

// maxLinks is the kernel's own bound on symbolic links in one resolution.
const maxLinks = 40

// follow is fsroot.Root.Resolve, but goes on by the letter where something is missing.
func follow(root *fsroot.Root, name string, links *int) (string, error) {
	name = path.Join("/", name)
	real, err := root.Resolve(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return real, err
	}
	dir, err := follow(root, path.Dir(name), links)
	if err != nil {
		return "", err
	}
	real = path.Join(dir, path.Base(name))
	node, err := root.At(real)
	if err != nil {
		return real, ignoreMissing(err)
	}
	defer node.Close()
	target, err := node.Readlink()
	if err != nil {
		return real, nil // no link
	}
	if *links++; *links > maxLinks {
		return "", &os.PathError{Op: "resolve", Path: name, Err: errors.New("too many levels of symbolic links")}
	}
	if !path.IsAbs(target) {
		target = path.Join(dir, target)
	}
	return follow(root, target, links)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Blame makes an error of the kernel's about a name that the caller gave (too long, a loop of links, no folder on the way,
// something mounted there) one of the request. Those about the disk stay what they are.
func Blame(err error) error {
	if errkind.Of(err) != errkind.Internal {
		return err
	}
	why := errkind.System(err)
	if why == nil {
		return err
	}
	for _, disk := range []string{"no space left on device", "disk quota exceeded", "input/output error", "too many open files"} {
		if strings.Contains(why.Error(), disk) {
			return err
		}
	}
	return errkind.New(errkind.Invalid, "%w", why)
}
