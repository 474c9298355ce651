package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/id"
)

// prober runs a container's health check. Between two probes it is a pending timer, no goroutine. Its fields belong to
// the container's worker, but for stopped.
type prober struct {
	process.Probe
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
	p := &prober{Probe: process.Probe{Command: command}, cancel: cancel}
	c.probe = p
	e.scheduleProbe(ctx, c, p)
}

func (c *ctr) stopProbe() {
	if p := c.probe; p != nil {
		p.stopped.Store(true)
		p.timer.Stop()
		p.cancel()
		c.probe = nil
	}
}

func (e *Engine) scheduleProbe(ctx context.Context, c *ctr, p *prober) {
	p.timer = e.o.Clock.AfterFunc(c.row().check().Pause(c.health.Load().Status, e.o.Clock.Now()), func() {
		if p.stopped.Load() || ctx.Err() != nil {
			return
		}
		result := e.runProbe(ctx, c, p)
		c.work.Post(func() {
			if p.stopped.Load() || c.probe != p {
				return
			}
			if result != nil {
				e.probed(c, result)
			}
			e.scheduleProbe(ctx, c, p)
		})
	})
}

// runProbe returns the result of one probe, nil for one that was lost with the supervisor: it says nothing of the
// container.
func (e *Engine) runProbe(ctx context.Context, c *ctr, p *prober) *container.HealthcheckResult {
	check := c.row().check()
	res := &container.HealthcheckResult{Start: e.o.Clock.Now()}
	var late bool
	var err error
	res.ExitCode, res.Output, late, err = e.probeRun(ctx, c, p, check.Timeout(), health.Output)
	res.End = e.o.Clock.Now()
	switch {
	case errkind.Is(err, errkind.Unavailable):
		return nil
	case late:
		check.Late(res)
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	return res
}

// probeGrace is how much longer than a probe the supervisor may take to answer.
const probeGrace = 10 * time.Second

// probeRun runs the command in the container and returns its exit code and at most limit bytes of its output. late says
// that it was killed for taking longer than timeout. It is errkind.Unavailable where the end is not known.
func (e *Engine) probeRun(ctx context.Context, c *ctr, p *prober, timeout time.Duration, limit int) (code int, output string, late bool, err error) {
	r := c.row()
	x := &execution{id: id.New(), c: c, want: container.ExecCreateRequest{Cmd: p.Command, AttachStdout: true, AttachStderr: true}}
	ask, err := p.Ask(&e.filters, process.ExecInput{Pid: r.Pid, Config: r.Config, Host: r.Host, Want: x.want})
	if err != nil {
		return 0, "", false, err
	}
	ask.ID, ask.Timeout, ask.Limit = c.id, timeout, limit
	e.sayExec(x, "exec_create")
	e.sayExec(x, "exec_start")
	within, cancel := context.WithTimeout(ctx, timeout+probeGrace)
	defer cancel()
	done, err := custody.Probe(within, e.o.Custody, &ask)
	switch {
	case errkind.Is(err, errkind.Unsupported):
		return e.probeExec(ctx, x, timeout, limit)
	case errkind.Is(err, errkind.Unavailable):
		return 0, "", false, err
	case within.Err() != nil:
		return 0, "", false, errkind.New(errkind.Unavailable, "health check of %s: the supervisor does not answer", c.id)
	case err != nil:
		return 0, "", false, p.Explain(r.Pid, err)
	}
	if done.TimedOut {
		done.Code = 128 + int(settings.SIGKILL)
	}
	e.sayExecDied(x, done.Code)
	return done.Code, string(done.Output), done.TimedOut, nil
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
