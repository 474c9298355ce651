package daemon

import (
	"errors"
	"os"

	"pier/kernel/cgroup"
)

// removeCgroup removes the parent of all containers' cgroups, which is empty by now. Cgroups that were never made are
// no error.
func removeCgroup(path string) error {
	c, err := cgroup.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Delete()
}
