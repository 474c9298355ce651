package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/meter"
)

// Resources are what containers use and what they may use.
type Resources struct{ e *Engine }

// Resources returns what containers use and may use.
func (e *Engine) Resources() *Resources { return &Resources{e} }

// Stats follows what one container uses.
type Stats struct {
	c *ctr
	w *meter.Watch
}

// Stats begins to measure a container, running or not. The caller closes it.
func (rs *Resources) Stats(ref string) (*Stats, error) {
	c, err := rs.e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	return &Stats{c, rs.e.meter.Watch(c.id)}, nil
}

// Next waits for the next sample: the first is there at once and knows none before it, the others come every second. Of
// a container that does not run a sample holds its names alone. NotFound when the container is gone.
func (s *Stats) Next(ctx context.Context) (container.StatsResponse, error) {
	return s.named(s.w.Next(ctx))
}

// Pair waits, a quarter of a second at most, for a sample that knows the one before it.
func (s *Stats) Pair(ctx context.Context) (container.StatsResponse, error) {
	return s.named(s.w.Pair(ctx))
}

func (s *Stats) named(out container.StatsResponse, err error) (container.StatsResponse, error) {
	out.ID, out.Name, out.OSType = s.c.id, "/"+s.c.row().Name, "linux"
	return out, err
}

// Close ends the measuring.
func (s *Stats) Close() { s.w.Close() }

// measured tells the meter where containers are.
type measured struct{ e *Engine }

// Target implements meter.Source.
func (m measured) Target(id string) (meter.Target, bool) {
	c, err := m.e.index.Find(id)
	if err != nil || c.id != id {
		return meter.Target{}, false
	}
	r := c.row()
	if !r.Life.State.Alive() {
		return meter.Target{}, true
	}
	return meter.Target{Cgroup: m.e.cgroup(r), Pid: r.Pid, StartTime: r.StartTime, Network: !r.Host.NetworkMode.IsHost() && !r.Host.NetworkMode.IsNone()}, true
}
