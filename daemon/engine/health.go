package engine

import (
	"context"
	"sync/atomic"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/lib/clock"
)

// prober runs a container's health check. Between two probes it is a pending timer, no goroutine. Its fields belong to
// the container's worker, but for stopped.
type prober struct {
	timer   clock.Timer
	cancel  context.CancelFunc
	stopped atomic.Bool
}

func (r *row) check() health.Check {
	return health.Check{Config: r.Config, StartedAt: r.Life.StartedAt}
}

// startProbe begins the health check of a container that runs, where it has one. A new run starts anew.
func (e *Engine) startProbe(c *ctr) {
	r := c.row()
	command := r.check().Command()
	if command == nil || r.Life.State != lifecycle.Running {
		return
	}
	c.stopProbe()
	c.health.Store(r.check().Begin(c.health.Load()))
	ctx, cancel := context.WithCancel(e.ctx)
	p := &prober{cancel: cancel}
	c.probe = p
	e.scheduleProbe(ctx, c, p, command)
}

func (c *ctr) stopProbe() {
	if p := c.probe; p != nil {
		p.stopped.Store(true)
		p.timer.Stop()
		p.cancel()
		c.probe = nil
	}
}

func (e *Engine) scheduleProbe(ctx context.Context, c *ctr, p *prober, command []string) {
	p.timer = e.o.Clock.AfterFunc(c.row().check().Pause(c.health.Load().Status, e.o.Clock.Now()), func() {
		if p.stopped.Load() || ctx.Err() != nil {
			return
		}
		result := e.runProbe(ctx, c, command)
		c.work.post(func() {
			if p.stopped.Load() || c.probe != p {
				return
			}
			e.probed(c, result)
			e.scheduleProbe(ctx, c, p, command)
		})
	})
}

func (e *Engine) runProbe(ctx context.Context, c *ctr, command []string) *container.HealthcheckResult {
	check := c.row().check()
	res := &container.HealthcheckResult{Start: e.o.Clock.Now()}
	within, cancel := context.WithTimeout(ctx, check.Timeout())
	defer cancel()
	var err error
	res.ExitCode, res.Output, err = e.probeRun(within, c, command, health.Output)
	res.End = e.o.Clock.Now()
	switch {
	case within.Err() == context.DeadlineExceeded:
		check.Late(res)
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	return res
}

// probed takes one result into account. Only a change of status is told.
func (e *Engine) probed(c *ctr, res *container.HealthcheckResult) {
	old := c.health.Load()
	if old == nil {
		return
	}
	next := c.row().check().Judge(old, res)
	c.health.Store(next)
	if next.Status != old.Status {
		e.say(c, events.Action("health_status: "+string(next.Status)), nil)
		switch next.Status {
		case container.Healthy:
			_ = e.apply(c, lifecycle.Input{Kind: lifecycle.Healthy}, c.id)
		case container.Unhealthy:
			_ = e.apply(c, lifecycle.Input{Kind: lifecycle.Unhealthy}, c.id)
		}
	}
}

// endSick ends a container for being unhealthy as stop would; the restart policy then starts it again.
func (e *Engine) endSick(c *ctr, end *waiter) {
	r := c.row()
	e.o.Log.Info("container is unhealthy and is restarted", "container", c.id)
	sig, err := settings.ParseSignal(r.Config.StopSignal)
	if err != nil {
		sig = settings.SIGTERM
	}
	patience := stopTimeout(r)
	deaf := isDeaf(r, sig)
	if err = c.do(e.ctx, func() error { return e.signal(c, sig, false) }); err == nil {
		if deaf && patience > 0 && e.staysDeaf(e.ctx, c, end, sig) {
			patience = 0
		}
		err = e.endOrKill(e.ctx, c, end, patience, c.id)
	}
	if err != nil && e.ctx.Err() == nil && !c.row().gone {
		e.o.Log.Warn("unhealthy container does not end", "container", c.id, "error", err)
	}
}
