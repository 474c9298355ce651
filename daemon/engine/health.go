package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/lib/clock"
)

// Docker's defaults for health checks.
const (
	probeInterval      = 30 * time.Second
	probeTimeout       = 30 * time.Second
	probeStartInterval = 5 * time.Second
	probeRetries       = 3
	probeOutput        = 4096 // bytes kept of a probe's output
	probeLog           = 5    // results kept
)

// prober runs a container's health check. Between two probes it is a pending timer, no goroutine. Its fields belong to
// the container's worker, but for stopped.
type prober struct {
	timer   clock.Timer
	cancel  context.CancelFunc
	stopped atomic.Bool
}

// startProbe begins the health check of a container that runs, where it has one. A new run starts anew.
func (e *Engine) startProbe(c *ctr) {
	r := c.row()
	command := probeCommand(r.Config)
	if command == nil || r.Life.State != lifecycle.Running {
		return
	}
	c.stopProbe()
	if h := c.health.Load(); h == nil || len(h.Log) == 0 || h.Log[len(h.Log)-1].Start.Before(r.Life.StartedAt) {
		fresh := &container.Health{Status: container.Starting}
		if h != nil {
			fresh.Log = h.Log
		}
		c.health.Store(fresh)
	}
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
	p.timer = e.o.Clock.AfterFunc(e.probePause(c), func() {
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

func (e *Engine) probePause(c *ctr) time.Duration {
	r := c.row()
	h := r.Config.Healthcheck
	if h.StartPeriod > 0 && c.health.Load().Status == container.Starting && e.o.Clock.Now().Sub(r.Life.StartedAt) < h.StartPeriod {
		return orDefault(h.StartInterval, probeStartInterval)
	}
	return orDefault(h.Interval, probeInterval)
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// probeCommand is what the health check runs; nil for none.
func probeCommand(c *container.Config) []string {
	h := c.Healthcheck
	if h == nil || len(h.Test) < 2 {
		return nil
	}
	switch h.Test[0] {
	case "CMD":
		return h.Test[1:]
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return slices.Concat(shell, h.Test[1:])
	}
	return nil
}

func (e *Engine) runProbe(ctx context.Context, c *ctr, command []string) *container.HealthcheckResult {
	res := &container.HealthcheckResult{Start: e.o.Clock.Now()}
	timeout := orDefault(c.row().Config.Healthcheck.Timeout, probeTimeout)
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	res.ExitCode, res.Output, err = e.probeRun(within, c, command, probeOutput)
	res.End = e.o.Clock.Now()
	switch {
	case within.Err() == context.DeadlineExceeded:
		res.ExitCode = -1
		msg := fmt.Sprintf("Health check exceeded timeout (%v)", timeout)
		if res.Output != "" {
			msg += ": " + res.Output
		}
		res.Output = msg
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
	r := c.row()
	next := *old
	next.Log = append(slices.Clone(old.Log), res)
	if len(next.Log) > probeLog {
		next.Log = next.Log[len(next.Log)-probeLog:]
	}
	retries := r.Config.Healthcheck.Retries
	if retries <= 0 {
		retries = probeRetries
	}
	switch {
	case res.ExitCode == 0:
		next.Status, next.FailingStreak = container.Healthy, 0
	case old.Status == container.Starting && res.Start.Sub(r.Life.StartedAt) < r.Config.Healthcheck.StartPeriod:
		// failures do not count before it can be expected to work
	default:
		if next.FailingStreak++; next.FailingStreak >= retries {
			next.Status = container.Unhealthy
		}
	}
	c.health.Store(&next)
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
