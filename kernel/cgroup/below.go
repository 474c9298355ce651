package cgroup

import (
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pier/lib/errkind"
)

// Below returns a view of c for a process that is to join another cgroup below it, on the hierarchies of the named
// controllers; none means on all of them. Only its Join and Path are of use. The cgroup must exist: NotFound otherwise.
func (c *Cgroup) Below(sub string, controllers []string) (*Cgroup, error) {
	clean := path.Clean("/" + sub)
	if sub == "" || strings.ContainsAny(sub, "\x00\n") || slices.Contains(strings.Split(sub, "/"), "..") {
		return nil, errkind.New(errkind.Invalid, "cgroup %q: want a path below the container's", sub)
	}
	if c.unified && len(controllers) > 0 {
		return nil, errkind.New(errkind.Invalid, "cgroup %q: cgroup v2 has no hierarchies by controller", sub)
	}
	chosen := make(map[string]bool)
	for _, name := range controllers {
		dir, ok := c.byName[name]
		if !ok {
			return nil, errkind.New(errkind.Invalid, "cgroup controller %q is not mounted", name)
		}
		chosen[dir] = true
	}
	out := &Cgroup{path: c.path, unified: c.unified, byName: maps.Clone(c.byName), manager: c.manager}
	for _, dir := range c.dirs {
		if len(controllers) == 0 || chosen[dir] {
			old := dir
			dir = filepath.Join(dir, clean)
			if _, err := os.Stat(dir); err != nil {
				if errors.Is(err, os.ErrNotExist) {
					return nil, errkind.New(errkind.NotFound, "No such cgroup: %s", dir)
				}
				return nil, err
			}
			for name, place := range out.byName {
				if place == old {
					out.byName[name] = dir
				}
			}
		}
		out.dirs = append(out.dirs, dir)
	}
	return out, nil
}
