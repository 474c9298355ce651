package engine

import (
	"context"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/logs"
)

// LogStream is an opened log.
type LogStream = logs.Stream

// Logs opens a container's log. At least one of the streams must be asked for. With the log driver none, or a cache that
// is disabled, there is nothing to read: Unsupported. Close the result.
func (st *Streams) Logs(ctx context.Context, ref string, o LogsOptions) (*LogStream, error) {
	e := st.e
	c, err := e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	return logs.Open(e.logged(c.row()), o, logs.Life{Clock: e.o.Clock, Background: e.bg.Go, Engine: e.ctx, Ended: func() (<-chan struct{}, func()) {
		w := c.await(func(r *row) bool { return r.Gone || !r.Life.State.Alive() && !isRestarting(r) })
		return w.Met(), func() { w.Forget() }
	}})
}

func isRestarting(r *row) bool { return r.Life.State == lifecycle.Restarting }

func (e *Engine) logged(r *row) logs.Container {
	return logs.Container{ID: r.ID, Name: r.Name, Image: string(r.Image), Created: r.Created, Config: r.Config, Host: r.Host, Path: e.logPath(r.ID)}
}

// ship delivers the container's log, where its driver is remote, until the shipper is told of its end.
func (e *Engine) ship(r *row) {
	if err := e.logged(r).Ship(e.shipper); err != nil {
		e.o.Log.Error("log of container is not delivered", "container", r.ID, "error", err)
	}
}
