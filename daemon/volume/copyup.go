package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pier/kernel/copytree"
	"pier/kernel/fsroot"
)

// freshDir is where content is gathered before it becomes a volume's in one step.
const freshDir = "_fresh"

// CopyUp fills an empty volume, once, with what path holds below root (a container's root file system, as a directory
// or a detached mount), owners and modes included. A volume with content, or a path that is not a folder, is left alone;
// so is a volume whose options ask for a file system that is not mounted. After an error the volume is empty.
func (v *Volumes) CopyUp(ctx context.Context, name string, root *os.File, from string) error {
	v.mu.Lock()
	one, err := v.find(name)
	v.mu.Unlock()
	if err != nil {
		return err
	}
	one.work.Lock()
	defer one.work.Unlock()
	v.mu.Lock()
	filled, plain, alone := one.Filled || one.gone, one.plain(), len(one.mounts) == 0 && len(one.holders) <= 1
	mounted := len(one.mounts) > 0
	v.mu.Unlock()
	if filled || !plain && !mounted {
		return nil
	}
	if empty, err := isEmpty(v.path(name)); err != nil || !empty {
		return err
	}
	source := fsroot.FromFile(root)
	if fi, err := source.Stat(from); err != nil || !fi.IsDir() {
		return ignoreMissing(err)
	}
	if plain && alone {
		err = v.replace(ctx, name, source, from)
	} else {
		// Somebody may look at the folder already, so it cannot be replaced by another.
		err = v.fill(ctx, v.path(name), source, from)
	}
	if err != nil {
		return fmt.Errorf("copy %s of the image to volume %s: %w", from, name, err)
	}
	if empty, err := isEmpty(v.path(name)); err != nil || empty {
		return err
	}
	v.mu.Lock()
	one.Filled = true
	r := one.row
	v.mu.Unlock()
	return v.records.Put(ctx, name, r)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// replace gathers a copy beside the empty folder and renames it over that, so that a crash leaves all or nothing.
func (v *Volumes) replace(ctx context.Context, name string, source *fsroot.Root, from string) error {
	fresh := filepath.Join(v.root, name, freshDir)
	if err := v.erase(name + "/" + freshDir); err != nil { // of a crash
		return err
	}
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	err := v.fill(ctx, fresh, source, from)
	if err == nil {
		err = v.rename(name+"/"+freshDir, name+"/"+dataDir)
	}
	if err != nil {
		_ = v.erase(name + "/" + freshDir)
	}
	return err
}

// rename replaces an empty folder by another, which os.Rename refuses to do.
func (v *Volumes) rename(from, to string) error {
	root, err := fsroot.Open(v.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Rename(from, to)
}

// fill copies what lies below from into the empty folder at dir, and leaves that empty after an error. The folder may be
// reached by a symbolic link; below it links are copied as links.
func (v *Volumes) fill(ctx context.Context, dir string, source *fsroot.Root, from string) (err error) {
	target, err := fsroot.Open(dir)
	if err != nil {
		return err
	}
	defer target.Close()
	folder, err := source.OpenFile(from, os.O_RDONLY|fsroot.ODirectory, 0)
	if err != nil {
		return err
	}
	defer folder.Close()
	return copytree.Copy(ctx, target, folder, copytree.Options{Itself: true})
}
