package checkpoint

import (
	"context"
	"fmt"
	"os"

	api "github.com/moby/moby/api/types/network"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/network"
	"pier/lib/errkind"
)

// may is what a container may have and be dumped all the same. Its connections are closed when it goes on: their other ends
// have not waited for it.
var may = shim.CheckpointOptions{TCPEstablished: true, FileLocks: true}

// Dump has the runtime write what the container's processes are. See custody.Dump.
func (d *Draft) Dump(ctx context.Context, c *custody.Custodian, container string) error {
	return custody.Dump(ctx, c, shim.Dump{ID: container, CheckpointOptions: may}, d.folder)
}

// Start starts a container's process from k, or from its beginning where k is nil. See custody.Restore.
func (k *Kept) Start(ctx context.Context, c *custody.Custodian, s *shim.Start, root, netns *os.File) (*shim.Task, error) {
	if k == nil {
		return c.Start(ctx, s, root, netns)
	}
	s.Restore = &shim.Restore{CheckpointOptions: may, TCPClose: true}
	task, err := custody.Restore(ctx, c, s, root, netns, k.Folder)
	if err != nil {
		return nil, fmt.Errorf("start from the checkpoint: %w", err)
	}
	return task, nil
}

// Addresses are those that the container had; nil for nil.
func (k *Kept) Addresses() map[string]network.Addresses {
	if k == nil {
		return nil
	}
	return k.Manifest.Networks
}

// Check refuses to go on with other addresses than before, where it is the very container: its processes, and those who know
// them, count on them. Another one cannot have them while the first runs, and goes on with what is free. nil checks nothing.
func (k *Kept) Check(id, name string, settings map[string]*api.EndpointSettings) error {
	if k == nil || k.Manifest.Container != id {
		return nil
	}
	if lacking := k.Manifest.missing(settings); lacking != "" {
		return errkind.New(errkind.Conflict, "container %s cannot go on from its checkpoint without the address %s, which it had: another container "+
			"has it, or it is not connected to that network any more; stop the one, connect the other, or start a second container of the same image "+
			"from the checkpoint, which may have other addresses", name, lacking)
	}
	return nil
}
