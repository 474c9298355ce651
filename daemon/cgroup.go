package daemon

import (
	"pier/kernel/cgroup"
	"pier/lib/errkind"
)

// removeCgroup removes the parent of all containers' cgroups, which is empty by now. Cgroups that were never made are
// no error.
func removeCgroup(path string) error {
	c, err := cgroup.Open(path)
	if errkind.Is(err, errkind.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Delete()
}
