package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
	"pier/lib/id"
)

// aside is a name for what is no checkpoint yet, or no more.
func aside(name, what string) string { return "." + name + "." + what + "-" + id.New()[:16] }

func isAside(name string) bool {
	return strings.HasPrefix(name, ".") && len(name) > 2 && name != ".." && !strings.Contains(name, "/")
}

// Draft is a checkpoint that is being made. Whoever has it calls Discard in the end, which leaves a finished one alone. Its
// methods are for one goroutine.
type Draft struct {
	name   string
	root   *fsroot.Root
	folder *os.File
	note   *pending
	leave  func()
}

// Begin makes the folder of a checkpoint to be. Conflict where one of that name exists, or where one is being made.
func (s *Store) Begin(p Place, name string) (_ *Draft, err error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	leave, ok := s.enter(p.Own)
	if !ok {
		return nil, busy(p)
	}
	d := &Draft{name: name, leave: leave}
	defer func() {
		if err != nil {
			d.Discard()
		}
	}()
	if d.root, err = p.open(true); err != nil {
		return nil, err
	}
	switch fi, err := d.root.Lstat(name); {
	case err == nil && fi.IsDir():
		return nil, errkind.New(errkind.Conflict, "checkpoint with name %s already exists for container %s", name, p.Ref)
	case err == nil:
		return nil, errkind.New(errkind.Conflict, "%s exists and is not a directory", name)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if d.note, err = p.begin(name, "making"); err != nil {
		return nil, err
	}
	if err = d.root.Mknod(d.note.Aside, os.ModeDir|0o700, 0); err != nil {
		return nil, err
	}
	d.folder, err = d.root.OpenFile(d.note.Aside, os.O_RDONLY|fsroot.ODirectory|fsroot.ONofollow, 0)
	return d, err
}

// Finish writes the manifest, brings all to the disk, and gives the checkpoint its name. After an error there is none.
func (d *Draft) Finish(m Manifest) error {
	if err := writeManifest(d.folder, m); err != nil {
		return err
	}
	if err := syncTree(fsroot.FromFile(d.folder), "/", 0); err != nil {
		return err
	}
	if err := d.root.Rename(d.note.Aside, d.name); err != nil {
		if errors.Is(err, fs.ErrExist) { // ENOTEMPTY too
			return errkind.New(errkind.Conflict, "checkpoint with name %s already exists: somebody else has just made it", d.name)
		}
		return err
	}
	dir, err := d.root.OpenFile("/", os.O_RDONLY, 0)
	if err == nil {
		err = dir.Sync()
		_ = dir.Close()
	}
	if err != nil { // nobody will be told of it
		_ = d.root.RemoveAll(d.name)
	}
	return err
}

// maxDepth is how deep a checkpoint's folders may be.
const maxDepth = 8

// syncTree brings a folder and all that is in it to the disk.
func syncTree(root *fsroot.Root, name string, depth int) error {
	if depth > maxDepth {
		return errkind.New(errkind.Internal, "the runtime has put folders into folders %d times", maxDepth)
	}
	fi, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return nil // the text of a link goes with its folder
	}
	f, err := root.OpenFile(name, os.O_RDONLY|fsroot.ONofollow, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi.IsDir() {
		entries, err := f.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := syncTree(root, name+"/"+entry, depth+1); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}

// Discard removes what is not finished.
func (d *Draft) Discard() {
	if d.folder != nil {
		_ = d.folder.Close()
	}
	if d.note != nil {
		_ = d.root.RemoveAll(d.note.Aside) // what stays is in the note
		d.note.end()
	}
	if d.root != nil {
		_ = d.root.Close()
	}
	d.leave()
}
