package health

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/describe"
	"pier/daemon/engine/internal/outside"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/rounds"
	"pier/daemon/engine/internal/settings"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/id"
)

const (
	// A probe may come early by this part of the pause before it, so that many are run together.
	early = 1. / 20
	// earliest bounds that.
	earliest = 50 * time.Millisecond
	// grace is how much longer than a probe the supervisor may take to answer.
	grace = 10 * time.Second
)

// Subject is a container whose health is checked. Its methods may be called by anybody, but for Turned.
type Subject interface {
	// Check is the container's check, in its present run.
	Check() Check
	// Process is what a process in the present run is made of, but for what it runs.
	Process() process.ExecInput
	// Say tells everybody what happens in the container, and more of it.
	Say(action events.Action, more map[string]string)
	// Post runs f in the container's worker, after whatever is to be done there.
	Post(f func())
	// Turned records another status, with the results that led to it, tells everybody, and does what follows. It is called in
	// the worker.
	Turned(now *container.Health)
}

// Monitor is the health of one container. The zero value is that of one without a health check.
type Monitor struct {
	now   atomic.Pointer[container.Health]
	probe *probe // the worker's own: the check under way, or nil
}

// Health is what is known: nil without a check. It is not changed, neither here nor by the caller. Anybody may ask.
func (m *Monitor) Health() *container.Health { return m.now.Load() }

// Recall has it be as a former daemon recorded it; nil is nothing. It comes before everything else.
func (m *Monitor) Recall(h *container.Health) { m.now.Store(h) }

// Stop ends the check. A command that is under way ends as it likes, with the container or for taking too long; its result
// does not count. Only the worker calls it; it may be called without a check.
func (m *Monitor) Stop() {
	if p := m.probe; p != nil {
		p.stopped.Store(true)
		p.cancel()
		p.waits.Stop()
		m.probe = nil
	}
}

// probe runs a container's check in one run of the container. Its fields belong to the container's worker, but for stopped,
// and while a command is under way to that.
type probe struct {
	process.Probe
	outside *outside.Subject // how it is checked without a command in it, or nil: Probe is run
	id      string           // the container's
	m       *Monitor
	of      Subject
	waits   *rounds.Entry[*probe]
	stopped atomic.Bool
	cancel  context.CancelFunc // of what outside has under way
}

// Options are what probes need. All are required, and the engine's to close.
type Options struct {
	Clock   clock.Clock
	Custody *custody.Custodian
	Filters *process.Filters
	// Life ends with the engine: then nothing is probed any more.
	Life context.Context
}

// Prober checks the health of all containers. Safe for concurrent use.
type Prober struct {
	o       Options
	rounds  *rounds.Rounds[*probe]
	outside outside.Prober
}

// New returns a Prober that has nothing to check.
func New(o Options) *Prober {
	p := &Prober{o: o}
	p.rounds = rounds.New(o.Clock, shim.MaxProbes, p.round)
	return p
}

// Start begins the check of container id, which runs, where it has one, and ends the one before it. A new run starts anew.
// Only the worker calls it.
func (p *Prober) Start(id string, m *Monitor, of Subject) {
	check := of.Check()
	command, own := check.What()
	if command == nil && own == nil {
		return
	}
	m.Stop()
	m.now.Store(check.Begin(m.now.Load()))
	within, cancel := context.WithCancel(p.o.Life)
	m.probe = &probe{Probe: process.Probe{Command: command}, id: id, m: m, of: of, cancel: cancel}
	if own != nil {
		in := of.Process()
		m.probe.outside = &outside.Subject{Check: own, ID: id, Pid: in.Pid, StartTime: in.StartTime, Within: within}
	}
	p.schedule(m.probe)
}

func (p *Prober) schedule(b *probe) {
	pause := b.of.Check().Pause(b.m.Health().Status, p.o.Clock.Now())
	b.waits = p.rounds.After(pause, min(time.Duration(float64(pause)*early), earliest), b)
}

// round runs the probes that are due. Those that were not run before find out what to run alone: that looks into the
// container.
func (p *Prober) round(due []*probe) {
	ready, jobs := due[:0], []outside.Job(nil)
	for _, b := range due {
		switch {
		case p.o.Life.Err() != nil || b.stopped.Load():
		case b.outside != nil:
			jobs = append(jobs, p.job(b))
		case b.Ready():
			ready = append(ready, b)
		default:
			go p.run([]*probe{b})
		}
	}
	p.outside.Run(jobs)
	if len(ready) > 0 {
		p.run(ready)
	}
}

// job is a probe that runs no command. Nobody is told of an exec, for there is none.
func (p *Prober) job(b *probe) outside.Job {
	run := &attempt{probe: b, check: b.of.Check(), result: &container.HealthcheckResult{Start: p.o.Clock.Now()}}
	return outside.Job{Subject: b.outside, Timeout: run.check.Timeout(),
		Tell: func(a outside.Answer) { p.ended(run, a.Code, a.Output, a.Late, a.Err) }}
}

// attempt is one probe under way.
type attempt struct {
	*probe
	exec   string // identifies it to those who are told of it
	pid    int    // of the container
	check  Check
	result *container.HealthcheckResult
}

// run runs probes together.
func (p *Prober) run(all []*probe) {
	var runs []*attempt
	var asks []shim.Probe
	longest := time.Duration(0)
	for _, b := range all {
		in := b.of.Process()
		in.Want = container.ExecCreateRequest{Cmd: b.Command, AttachStdout: true, AttachStderr: true}
		run := &attempt{probe: b, exec: id.New(), pid: in.Pid, check: b.of.Check(), result: &container.HealthcheckResult{Start: p.o.Clock.Now()}}
		ask, err := b.Ask(p.o.Filters, in)
		if err != nil {
			p.ended(run, 0, "", false, err)
			continue
		}
		ask.ID, ask.Timeout, ask.Limit = b.id, run.check.Timeout(), output
		longest = max(longest, ask.Timeout)
		b.of.Say(describe.ExecAction("exec_create", b.Command), map[string]string{"execID": run.exec})
		b.of.Say(describe.ExecAction("exec_start", b.Command), map[string]string{"execID": run.exec})
		runs, asks = append(runs, run), append(asks, ask)
	}
	if len(runs) == 0 {
		return
	}
	within, cancel := context.WithTimeout(p.o.Life, longest+grace)
	defer cancel()
	custody.Probes(within, p.o.Custody, asks, func(i int, done *shim.Probed, err error) {
		run := runs[i]
		switch {
		case err != nil && within.Err() != nil:
			p.ended(run, 0, "", false, errkind.New(errkind.Unavailable, "health check of %s: the supervisor does not answer", asks[i].ID))
		case err != nil && !errkind.Is(err, errkind.Unavailable):
			p.ended(run, 0, "", false, run.Explain(run.pid, err))
		case err != nil:
			p.ended(run, 0, "", false, err)
		default:
			if done.TimedOut {
				done.Code = 128 + int(settings.SIGKILL)
			}
			run.of.Say("exec_die", map[string]string{"execID": run.exec, "exitCode": strconv.Itoa(done.Code)})
			p.ended(run, done.Code, string(done.Output), done.TimedOut, nil)
		}
	})
}

// ended takes a result to the container's worker. One that was lost with the supervisor (Unavailable) says nothing of the
// container.
func (p *Prober) ended(run *attempt, code int, output string, late bool, err error) {
	res := run.result
	res.End, res.ExitCode, res.Output = p.o.Clock.Now(), code, output
	switch {
	case late:
		run.check.Late(res)
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	if run.stopped.Load() {
		return
	}
	run.of.Post(func() {
		if run.m.probe != run.probe || p.o.Life.Err() != nil {
			return
		}
		if !errkind.Is(err, errkind.Unavailable) {
			run.judge()
		}
		if run.m.probe == run.probe { // its result may have stopped it
			p.schedule(run.probe)
		}
	})
}

// judge takes one result into account. Only a change of status has consequences.
func (run *attempt) judge() {
	old := run.m.Health()
	next := run.of.Check().Judge(old, run.result)
	run.m.now.Store(next)
	if next.Status != old.Status {
		run.of.Turned(next)
	}
}
