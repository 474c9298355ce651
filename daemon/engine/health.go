package engine

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
)

// startProbe begins the health check of a container that runs, where it has one.
func (e *Engine) startProbe(c *ctr) {
	if c.row().Life.State == lifecycle.Running {
		e.prober.Start(c.id, &c.health, patient{e, c})
	}
}

// patient is a container to those who check its health.
type patient struct {
	e *Engine
	c *ctr
}

// Check implements health.Subject.
func (p patient) Check() health.Check {
	r := p.c.row()
	return health.Check{Config: r.Config, StartedAt: r.Life.StartedAt}
}

// Process implements health.Subject.
func (p patient) Process() process.ExecInput {
	return p.e.execInput(p.c.row(), container.ExecCreateRequest{})
}

// Say implements health.Subject.
func (p patient) Say(action events.Action, more map[string]string) { p.e.say(p.c, action, more) }

// Post implements health.Subject.
func (p patient) Post(f func()) { p.c.work.Post(f) }

// Turned implements health.Subject.
func (p patient) Turned(now *container.Health) {
	p.c.change(func(r *row) { r.Health = now })
	switch now.Status {
	case container.Healthy:
		_ = p.e.apply(p.c, lifecycle.Input{Kind: lifecycle.Healthy}, p.c.id)
	case container.Unhealthy:
		_ = p.e.apply(p.c, lifecycle.Input{Kind: lifecycle.Unhealthy}, p.c.id)
	}
}

// endSick ends a container for being unhealthy as stop would; the restart policy then starts it again.
func (e *Engine) endSick(c *ctr, end *waiter) {
	r := c.row()
	e.o.Log.Info("container is unhealthy and is restarted", "container", c.id)
	sig, err := settings.ParseSignal(settings.StopSignal(r.Config))
	if err != nil {
		sig = settings.SIGTERM
	}
	patience := r.Patience()
	deaf := isDeaf(r, sig)
	if err = c.do(e.ctx, func() error { return e.signal(c, sig, false) }); err == nil {
		if deaf && patience > 0 && e.staysDeaf(e.ctx, c, end, sig) {
			patience = 0
		}
		err = e.endOrKill(e.ctx, c, end, patience, c.id)
	}
	if err != nil && e.ctx.Err() == nil && !c.row().Gone {
		e.o.Log.Warn("unhealthy container does not end", "container", c.id, "error", err)
	}
}
