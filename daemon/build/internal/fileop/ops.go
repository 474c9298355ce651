package fileop

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"pier/daemon/build/internal/tree"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Mkdir makes the directory name, with parents also those above it. An existing directory is left as it is.
func Mkdir(root *fsroot.Root, name string, perm os.FileMode, parents bool, owner *Owner, t *time.Time) error {
	if !parents {
		if _, err := root.Stat(path.Dir(path.Join("/", name))); err != nil {
			return err
		}
	}
	return mkdirAll(root, name, perm, owner, t)
}

// mkdirAll makes name and its parents with perm for owner (nil: root).
func mkdirAll(root *fsroot.Root, name string, perm os.FileMode, owner *Owner, t *time.Time) error {
	if owner == nil {
		owner = &Owner{}
	}
	var made []string
	if t != nil {
		made = missingDirs(root, name)
	}
	if err := root.MkdirAll(name, perm, owner.UID, owner.GID); err != nil {
		return err
	}
	for _, dir := range made {
		if err := setTime(root, dir, *t); err != nil {
			return err
		}
	}
	return nil
}

// missingDirs lists name and those of its parents that do not exist yet, lowest first.
func missingDirs(root *fsroot.Root, name string) []string {
	var dirs []string
	for name = path.Join("/", name); name != "/"; name = path.Dir(name) {
		if _, err := root.Stat(name); err == nil {
			break
		}
		dirs = append(dirs, name)
	}
	return dirs
}

func setTime(root *fsroot.Root, name string, t time.Time) error {
	n, err := root.At(name)
	if err != nil {
		return err
	}
	defer n.Close()
	return n.Chtimes(t.UnixNano(), t.UnixNano())
}

// Mkfile writes a regular file. Whatever has its name is replaced, never opened; a directory is in the way.
func Mkfile(root *fsroot.Root, name string, data []byte, perm os.FileMode, owner *Owner, t *time.Time) error {
	if owner == nil {
		owner = &Owner{}
	}
	if path.Join("/", name) == "/" {
		return errkind.New(errkind.Invalid, "make file %s: it is the top directory", name)
	}
	real, err := realPath(root, name)
	if err != nil {
		return err
	}
	f, err := create(root, real, (&copier{dst: root}).clear)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	when := time.Now()
	if t != nil {
		when = *t
	}
	return fsroot.Finish(f, owner.UID, owner.GID, perm, when)
}

// Symlink makes the link name with the text target. Something that has the name is an error.
func Symlink(root *fsroot.Root, target, name string, owner *Owner, t *time.Time) error {
	if err := root.Symlink(target, name); err != nil {
		return err
	}
	n, err := root.At(name)
	if err != nil {
		return err
	}
	defer n.Close()
	if owner != nil {
		if err := n.Chown(owner.UID, owner.GID); err != nil {
			return err
		}
	}
	if t == nil {
		return nil
	}
	return n.Chtimes(t.UnixNano(), t.UnixNano())
}

// Remove removes the file or whole directory name, or all that the pattern name stands for. Its last component is not
// followed, and the top directory is never removed.
func Remove(root *fsroot.Root, name string, wildcard, allowMissing bool) error {
	names := []string{path.Join("/", name)}
	if wildcard {
		var err error
		if names, err = tree.Glob(tree.NewDir(root.Dir()), name, false); err != nil && !(allowMissing && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	for _, n := range names {
		if n = path.Join("/", n); n == "/" {
			return errkind.New(errkind.Invalid, "remove %s: it is the top directory", name)
		}
		if !allowMissing {
			if _, err := root.Lstat(n); err != nil {
				return err
			}
		}
		err := root.RemoveAll(n)
		if err != nil && !(allowMissing && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}
