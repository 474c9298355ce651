package daemon

import "pier/kernel/cgroup"

// removeCgroup removes the parent of all containers' cgroups, which is empty by now. It may exist in some hierarchies
// and not in others, after a crash or because no container ever ran; making it whole first treats all cases alike.
func removeCgroup(path string) error {
	c, err := cgroup.Create(path, nil)
	if err != nil {
		return err
	}
	return c.Delete()
}
