package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/rounds"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
	"pier/lib/id"
)

// prober runs a container's health check. Between two probes it waits among others, and has no goroutine. Its fields belong
// to the container's worker, but for stopped, and while a probe is under way to that.
type prober struct {
	process.Probe
	c       *ctr
	waits   *rounds.Entry[*prober]
	stopped atomic.Bool
}

const (
	// A probe may come early by this part of the pause before it, so that many are run together.
	probeEarly = 1. / 20
	// probeEarliest bounds that.
	probeEarliest = 50 * time.Millisecond
	// probeGrace is how much longer than a probe the supervisor may take to answer.
	probeGrace = 10 * time.Second
)

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
	c.probe = &prober{Probe: process.Probe{Command: command}, c: c}
	e.scheduleProbe(c.probe)
}

// stopProbe ends the health check. A probe that is under way ends as it likes, with the container or for taking too long;
// its result does not count.
func (c *ctr) stopProbe() {
	if p := c.probe; p != nil {
		p.stopped.Store(true)
		p.waits.Stop()
		c.probe = nil
	}
}

func (e *Engine) scheduleProbe(p *prober) {
	pause := p.c.row().check().Pause(p.c.health.Load().Status, e.o.Clock.Now())
	p.waits = e.probes.After(pause, min(time.Duration(float64(pause)*probeEarly), probeEarliest), p)
}

// probeRound runs the probes that are due. Those that were not run before find out what to run alone: that looks into the
// container.
func (e *Engine) probeRound(due []*prober) {
	ready := due[:0]
	for _, p := range due {
		switch {
		case e.ctx.Err() != nil || p.stopped.Load():
		case p.Ready():
			ready = append(ready, p)
		default:
			go e.probe([]*prober{p})
		}
	}
	if len(ready) > 0 {
		e.probe(ready)
	}
}

// probeRun is one probe under way.
type probeRun struct {
	p      *prober
	x      *execution // for those who are told of it
	check  health.Check
	result *container.HealthcheckResult
}

// probe runs probes together.
func (e *Engine) probe(all []*prober) {
	var runs []*probeRun
	var asks []shim.Probe
	longest := time.Duration(0)
	for _, p := range all {
		r := p.c.row()
		run := &probeRun{p: p, check: r.check(), result: &container.HealthcheckResult{Start: e.o.Clock.Now()},
			x: &execution{id: id.New(), c: p.c, want: container.ExecCreateRequest{Cmd: p.Command, AttachStdout: true, AttachStderr: true}}}
		ask, err := p.Ask(&e.filters, process.ExecInput{Pid: r.Pid, Config: r.Config, Host: r.Host, Want: run.x.want, Sized: e.mounts.Sized(r.Mounts)})
		if err != nil {
			e.probeEnded(run, 0, "", false, err)
			continue
		}
		ask.ID, ask.Timeout, ask.Limit = r.ID, run.check.Timeout(), health.Output
		longest = max(longest, ask.Timeout)
		e.sayExec(run.x, "exec_create")
		e.sayExec(run.x, "exec_start")
		runs, asks = append(runs, run), append(asks, ask)
	}
	if len(runs) == 0 {
		return
	}
	within, cancel := context.WithTimeout(e.ctx, longest+probeGrace)
	defer cancel()
	custody.Probes(within, e.o.Custody, asks, func(i int, done *shim.Probed, err error) {
		run, ask := runs[i], &asks[i]
		switch {
		case errkind.Is(err, errkind.Unsupported):
			go func() { // by a supervisor of before there were probes
				code, output, late, err := e.probeExec(e.ctx, run.x, ask.Timeout, ask.Limit)
				e.probeEnded(run, code, output, late, err)
			}()
		case err != nil && within.Err() != nil:
			e.probeEnded(run, 0, "", false, errkind.New(errkind.Unavailable, "health check of %s: the supervisor does not answer", ask.ID))
		case err != nil && !errkind.Is(err, errkind.Unavailable):
			e.probeEnded(run, 0, "", false, run.p.Explain(run.p.c.row().Pid, err))
		case err != nil:
			e.probeEnded(run, 0, "", false, err)
		default:
			if done.TimedOut {
				done.Code = 128 + int(settings.SIGKILL)
			}
			e.sayExecDied(run.x, done.Code)
			e.probeEnded(run, done.Code, string(done.Output), done.TimedOut, nil)
		}
	})
}

// probeEnded takes a result to the container's worker. One that was lost with the supervisor (Unavailable) says nothing of
// the container.
func (e *Engine) probeEnded(run *probeRun, code int, output string, late bool, err error) {
	p, res := run.p, run.result
	res.End, res.ExitCode, res.Output = e.o.Clock.Now(), code, output
	switch {
	case late:
		run.check.Late(res)
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	if p.stopped.Load() {
		return
	}
	p.c.work.Post(func() {
		if p.c.probe != p || e.ctx.Err() != nil {
			return
		}
		if !errkind.Is(err, errkind.Unavailable) {
			e.probed(p.c, res)
		}
		if p.c.probe == p { // its result may have stopped it
			e.scheduleProbe(p)
		}
	})
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
	sig, err := settings.ParseSignal(settings.StopSignal(r.Config))
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
