package solve

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/image/layer"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/lib/errkind"
	"pier/lib/id"
)

// attach gives the selected part of dir a place on the host from which the step's mount is made, for as long as the step
// runs. The selector is resolved inside dir, to a descriptor: no link in it leads to the host, and what a concurrent
// build does to the names in dir changes nothing about what was selected.
func (x *execRun) attach(dir *os.File, selector, dest string, readonly bool) (*specs.Mount, error) {
	part, err := fsroot.FromFile(dir).OpenFile(selector, fsroot.OPath, 0)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "mount for %s: source %q: %w", dest, selector, err)
	}
	defer part.Close()
	fi, err := part.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return nil, errkind.New(errkind.Invalid, "mount for %s: source %q is neither a directory nor a regular file", dest, selector)
	}
	tree, err := mount.OpenTreeAt(part, "", false)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	if err := mount.SetAttr(tree, false, mount.Private, 0); err != nil {
		return nil, err
	}
	place := filepath.Join(x.run.s.Dir, "mnt", id.New())
	if err := makePlace(place, fi.IsDir()); err != nil {
		return nil, err
	}
	if err := mount.Attach(tree, place); err != nil {
		_ = os.Remove(place)
		return nil, err
	}
	x.closers = append(x.closers, func() {
		if err := mount.Unmount(place, true); err != nil {
			x.run.s.Log.Warn("unmount a build step's source", "path", place, "error", err)
			return
		}
		_ = os.Remove(place)
	})
	o := []string{"bind", "rprivate"}
	if readonly {
		o = append(o, "ro")
	}
	return &specs.Mount{Destination: dest, Type: "bind", Source: place, Options: o}, nil
}

func makePlace(place string, dir bool) error {
	if dir {
		return os.Mkdir(place, 0o700)
	}
	f, err := os.OpenFile(place, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// CleanMounts removes the places that an earlier process left attached in dir, the solver's folder, and makes it ready.
func CleanMounts(dir string) error {
	mnt := filepath.Join(dir, "mnt")
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		return err
	}
	left, err := os.ReadDir(mnt)
	if err != nil {
		return err
	}
	for _, e := range left {
		place := filepath.Join(mnt, e.Name())
		_ = mount.Unmount(place, true) // it may be a bare place
		if err := os.Remove(place); err != nil {
			return fmt.Errorf("clean up after an earlier build: %w", err)
		}
	}
	return nil
}

// CleanWritables removes the writable layers that the build called jobID left when its process died, half-made ones too.
func CleanWritables(layers *layer.Store, jobID string) error {
	names, err := layers.Writables()
	if err != nil {
		return err
	}
	for _, name := range names {
		if number, ours := strings.CutPrefix(name, partPrefix(jobID)); ours && !strings.Contains(number, "-") {
			if err := layers.RemoveWritable(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func partPrefix(jobID string) string { return "build-" + jobID + "-" }

func partName(jobID string, n int) string { return partPrefix(jobID) + strconv.Itoa(n) }
