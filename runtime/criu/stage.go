package criu

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/cgroup"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// stage is a folder of the host in which criu finds the root, and the sources of the mounts whose content is not in the
// checkpoint. It goes by paths, and binds what it finds there; what these show is settled before it comes.
type stage struct {
	dir   string
	count int
	files []*os.File // held until the work is done
	// places are the sources of mounts, by mount points.
	places map[string]string
	// verified is set when what was restored was found to have no more rights than it should.
	verified bool
}

func (s *stage) root() string { return filepath.Join(s.dir, "root") }

// put attaches a detached mount, and returns where.
func (s *stage) put(f *os.File, folder bool) (string, error) {
	place := filepath.Join(s.dir, strconv.Itoa(s.count))
	s.count++
	if err := makePlace(place, folder); err != nil {
		return "", err
	}
	return place, mount.Attach(f, place)
}

func makePlace(place string, folder bool) error {
	if folder {
		return os.Mkdir(place, 0o700)
	}
	return os.WriteFile(place, nil, 0o600)
}

// Clear takes away the folder Dir of a restore, whoever has left it. It may be called more than once.
func Clear(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		place := filepath.Join(dir, e.Name())
		for { // one over the other, if it was begun twice
			on, err := mount.Mounted(place)
			if err != nil {
				return err
			}
			if !on {
				break
			}
			if err := mount.Unmount(place, true); err != nil {
				return err
			}
		}
		if err := os.Remove(place); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}

// show fills the stage and returns what criu is to know of it: for each mount point its source.
func (r *Restore) show(s *stage, m *manifest) (external []string, err error) {
	if err := Clear(s.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.root(), 0o700); err != nil {
		return nil, err
	}
	root, err := r.openRoot()
	if err != nil {
		return nil, err
	}
	if root != r.Rootfs {
		defer root.Close()
	}
	if err := mount.Attach(root, s.root()); err != nil {
		return nil, err
	}
	r.places(root)
	if r.Spec.Root != nil && r.Spec.Root.Readonly { // criu before 4.0 forgets it
		if err := mount.SetAttr(root, false, mount.ReadOnly, 0); err != nil {
			return nil, err
		}
	}
	for _, point := range m.Mounts {
		source, err := r.source(s, point)
		if err != nil {
			return nil, err
		}
		external = append(external, "mnt["+point+"]:"+source)
		s.places[point] = source
	}
	return external, nil
}

// openRoot returns the root as a detached mount.
func (r *Restore) openRoot() (*os.File, error) {
	if r.Rootfs != nil {
		return r.Rootfs, nil
	}
	if r.Spec.Root == nil || r.Spec.Root.Path == "" {
		return nil, errkind.New(errkind.Invalid, "the configuration names no root")
	}
	name := r.Spec.Root.Path
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.Bundle, name)
	}
	return mount.OpenTree(name, true)
}

// places makes the mount points that are missing in the root, as a start would. What is below another mount comes with it.
func (r *Restore) places(root *os.File) {
	tree := fsroot.FromFile(root)
	if r.Spec.Root != nil && r.Spec.Root.Readonly {
		// criu changes the root by way of a folder in it: this one where it is there, else one that it makes, which it can not.
		_ = tree.MkdirAll("/tmp", 0o777, 0, 0)
	}
	for i := range r.Spec.Mounts {
		dest := path.Clean(r.Spec.Mounts[i].Destination)
		if slices.ContainsFunc(r.Spec.Mounts[:i], func(m specs.Mount) bool { return below(dest, path.Clean(m.Destination)) }) {
			continue
		}
		if _, err := tree.Lstat(dest); err == nil {
			continue // links in the way are criu's to refuse
		}
		if file(&r.Spec.Mounts[i], r.Bundle) {
			if tree.MkdirAll(path.Dir(dest), 0o755, 0, 0) == nil {
				if f, err := tree.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
					f.Close()
				}
			}
			continue
		}
		_ = tree.MkdirAll(dest, 0o755, 0, 0) // what could not be made criu will miss
	}
}

// below reports whether name lies in folder.
func below(name, folder string) bool {
	return name != folder && strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

// file reports whether a mount is of a single file.
func file(m *specs.Mount, bundle string) bool {
	if m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
		return false
	}
	name := m.Source
	if !filepath.IsAbs(name) {
		name = filepath.Join(bundle, name)
	}
	fi, err := os.Stat(name)
	return err == nil && !fi.IsDir()
}

// source puts what belongs at a mount point on the stage.
func (r *Restore) source(s *stage, point string) (string, error) {
	if slices.ContainsFunc(r.Spec.Linux.MaskedPaths, func(p string) bool { return path.Clean(p) == point }) {
		return os.DevNull, nil
	}
	var m *specs.Mount
	for i := range r.Spec.Mounts { // the last one of those that lie deepest
		dest := path.Clean(r.Spec.Mounts[i].Destination)
		if (dest == point || below(point, dest)) && (m == nil || len(dest) >= len(path.Clean(m.Destination))) {
			m = &r.Spec.Mounts[i]
		}
	}
	missing := errkind.New(errkind.Invalid, "the checkpoint has something of the host mounted at %s, and the container has not: make it with the same mounts", point)
	if m == nil {
		return "", missing
	}
	rest := strings.TrimPrefix(point, path.Clean(m.Destination))
	if m.Type == "cgroup" || m.Type == "cgroup2" {
		dir, ok := cgroup.Shown(r.Cgroup, strings.TrimPrefix(rest, "/"))
		if !ok {
			return "", missing
		}
		return dir, nil
	}
	f, err := oci.BindSource(r.Bundle, m)
	if err != nil {
		return "", errkind.New(errkind.Of(err), "mount %s: %w", m.Destination, err)
	}
	if f == nil {
		return "", missing
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	place, err := s.put(f, fi.IsDir())
	if err != nil {
		return "", err
	}
	if rest == "" {
		return place, nil
	}
	// Something that is mounted in the source: it is on the stage with it.
	tree, err := fsroot.Open(place)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	inside, err := tree.Resolve(rest)
	if err != nil {
		return "", missing
	}
	return filepath.Join(place, inside), nil
}
