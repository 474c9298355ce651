package supervisor

import (
	"context"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/probes"
)

// probeHost is what probes need of the supervisor.
type probeHost struct{ s *Supervisor }

// Find is of probes.Host.
func (h probeHost) Find(id string) (probes.Place, error) {
	t, err := h.s.running(id)
	if err != nil {
		return probes.Place{}, err
	}
	return probes.Place{Memory: &t.probed, UID: t.record.Uid, GID: t.record.Gid}, nil
}

// Enter is of probes.Host.
func (h probeHost) Enter(ctx context.Context, c *oci.ExecConfig, make func() error) error {
	init, err := h.s.find(shim.TaskRef{ID: c.ID})
	if err != nil {
		return err
	}
	h.s.starting.RLock()
	defer h.s.starting.RUnlock()
	if init.view().Exit != nil {
		return errkind.New(errkind.Conflict, "container %s is not running", c.ID)
	}
	done, err := h.s.aim(ctx, init, c)
	if err != nil {
		return err
	}
	defer done()
	return make()
}
