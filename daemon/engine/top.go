package engine

import (
	"context"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/lib/errkind"
)

// Top lists a container's processes as ps(1) with args would ("-ef" for none), by their numbers, as --sort
// says, or as a tree (--forest). All is from the host's /proc: no program of the container or the host is run. Users are shown by number where the host does not know them. A column that is not
// known here is Invalid, by name.
func (cs *Containers) Top(ctx context.Context, ref string, args []string) (TopResult, error) {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return TopResult{}, err
	}
	r := c.row()
	switch r.Life.State {
	case lifecycle.Running, lifecycle.Paused:
	case lifecycle.Restarting:
		return TopResult{}, errkind.New(errkind.Conflict, "Container %s is restarting, wait until the container is running", ref)
	default:
		return TopResult{}, errkind.New(errkind.Conflict, "container %s is not running", r.ID)
	}
	titles, rows, err := process.Table(cs.e.cgroup(r), args)
	if err != nil {
		return TopResult{}, err
	}
	cs.e.say(c, "top", nil)
	return TopResult{Titles: titles, Processes: rows}, nil
}
