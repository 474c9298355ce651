package engine

import (
	"context"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/rows"
	"pier/daemon/engine/internal/selection"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// killPatience bounds the wait for a process to end after SIGKILL: one in the kernel's uninterruptible sleep may not.
const killPatience = 10 * time.Second

// Start runs a created or exited container. NotModified where it runs already. A command that cannot run is an error of
// kind Invalid in the words that make Docker's clients exit with 126 or 127; the container stays as it was, or goes
// where it was created with --rm.
func (cs *Containers) Start(ctx context.Context, ref string) error {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return err
	}
	return c.do(ctx, func() error { return cs.e.apply(c, lifecycle.Input{Kind: lifecycle.Start}, ref) })
}

// Stop asks a container to end and kills it where it does not in time. NotModified where it does not run.
func (cs *Containers) Stop(ctx context.Context, ref string, o StopOptions) error {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return err
	}
	return cs.e.stop(ctx, c, ref, o, false)
}

// stop ends the container; keep: it is to be started again, so --rm does not count.
func (e *Engine) stop(ctx context.Context, c *ctr, ref string, o StopOptions, keep bool) error {
	r := c.row()
	name := o.Signal
	if name == "" {
		name = settings.StopSignal(r.Config)
	}
	sig, err := settings.ParseSignal(name)
	if err != nil {
		return err
	}
	patience := r.Patience()
	if t := o.Timeout; t != nil {
		patience = rows.Seconds(*t)
	}
	var (
		end  *waiter
		deaf bool
		more map[string]string // what the event adds
	)
	err = c.do(ctx, func() error {
		paused := c.row().Life.State == lifecycle.Paused
		if err := e.apply(c, lifecycle.Input{Kind: lifecycle.Stop, Keep: keep}, ref); err != nil {
			return err
		}
		if !c.row().Life.State.Alive() {
			return nil
		}
		end = c.awaitEnd()
		deaf = isDeaf(c.row(), sig)
		if err := e.signal(c, sig, false); err != nil {
			return err
		}
		if paused {
			return e.apply(c, lifecycle.Input{Kind: lifecycle.Unpause}, ref)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if end != nil {
		defer end.Forget()
		if deaf && patience > 0 && e.staysDeaf(ctx, c, end, sig) {
			more = map[string]string{"unheard": settings.SignalName(sig)}
			e.o.Log.Info("container does not handle its stop signal and is killed at once", "container", c.id,
				"signal", more["unheard"], "spared", patience)
			if o.Report != nil {
				o.Report.Unheard = more["unheard"]
			}
			patience = 0
		}
		if err := e.endOrKill(ctx, c, end, patience, ref); err != nil {
			return err
		}
	}
	e.say(c, "stop", more)
	return nil
}

// youth is how long a process has to install its signal handlers.
const youth = 500 * time.Millisecond

func isDeaf(r *row, sig int) bool { return process.Deaf(r.Pid, r.StartTime, sig) }

// staysDeaf reports whether waiting for a container to end by a signal that its first process did not hear is in vain.
// A young process may handle it soon: then it gets the signal once more.
func (e *Engine) staysDeaf(ctx context.Context, c *ctr, end *waiter, sig int) bool {
	r := c.row()
	if young := youth - e.o.Clock.Now().Sub(r.Life.StartedAt); young > 0 {
		if ended, err := end.Within(ctx, young); ended || err != nil {
			return false
		}
	}
	if isDeaf(r, sig) {
		return true
	}
	_ = e.signal(c, sig, false)
	return false
}

// endOrKill waits for the end that somebody has asked for, and brings it about where it does not come.
func (e *Engine) endOrKill(ctx context.Context, c *ctr, end *waiter, patience time.Duration, ref string) error {
	if ended, err := end.Within(ctx, patience); ended || err != nil {
		return err
	}
	err := c.do(ctx, func() error {
		if !c.row().Life.State.Alive() {
			return nil
		}
		return e.signal(c, settings.SIGKILL, false)
	})
	if err != nil && !errkind.Is(err, errkind.NotFound) {
		return err
	}
	if ended, err := end.Within(ctx, killPatience); ended || err != nil {
		return err
	}
	return immortal("stop", ref, c)
}

// immortal is the error for a container that does not end by SIGKILL in time.
func immortal(verb, ref string, c *ctr) error {
	return errkind.New(errkind.Timeout, "cannot %s container: %s: its process did not end %v after SIGKILL: "+
		"it waits in the kernel, look at /proc/%d/stack", verb, ref, killPatience, c.row().Pid)
}

// signal sends one signal to the container's first process, or to all. A process that has just ended is no error.
func (e *Engine) signal(c *ctr, sig int, all bool) error {
	e.say(c, "kill", map[string]string{"signal": itoa(sig)})
	err := e.o.Custody.Signal(context.WithoutCancel(e.ctx), shim.Signal{TaskRef: shim.TaskRef{ID: c.id}, Signal: sig, All: all})
	if errkind.Is(err, errkind.NotFound) || errkind.Is(err, errkind.Conflict) {
		return nil
	}
	return err
}

// Restart is Stop, where it runs, and Start.
func (cs *Containers) Restart(ctx context.Context, ref string, o StopOptions) error {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return err
	}
	if err := cs.e.stop(ctx, c, ref, o, true); err != nil && !errkind.Is(err, errkind.NotModified) {
		return err
	}
	err = c.do(ctx, func() error { return cs.e.apply(c, lifecycle.Input{Kind: lifecycle.Start}, ref) })
	if err != nil && !errkind.Is(err, errkind.NotModified) {
		return err
	}
	cs.e.say(c, "restart", nil)
	return nil
}

// Kill sends a signal, a name or a number, "" for SIGKILL, to the container's first process. Conflict where it does not
// run. After SIGKILL it waits for the end, as Docker does.
func (cs *Containers) Kill(ctx context.Context, ref, signal string) error {
	e := cs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	sig := settings.SIGKILL
	if signal != "" {
		if sig, err = settings.ParseSignal(signal); err != nil {
			return err
		}
	}
	stop, err := settings.ParseSignal(settings.StopSignal(c.row().Config))
	if err != nil {
		stop = settings.SIGTERM
	}
	var end *waiter
	err = c.do(ctx, func() error {
		if c.row().Life.State.Alive() {
			end = c.awaitEnd()
			if err := e.signal(c, sig, false); err != nil {
				return err
			}
		}
		return e.apply(c, lifecycle.Input{Kind: lifecycle.Kill, Ends: sig == settings.SIGKILL || sig == stop}, ref)
	})
	if end == nil {
		return err
	}
	defer end.Forget()
	if err != nil || sig != settings.SIGKILL {
		return err
	}
	if ended, err := end.Within(ctx, killPatience); ended || err != nil {
		return err
	}
	return immortal("kill", ref, c)
}

// Pause freezes all processes of a container.
func (cs *Containers) Pause(ctx context.Context, ref string) error {
	return cs.feed(ctx, ref, lifecycle.Input{Kind: lifecycle.Pause})
}

// Unpause is the reverse of Pause.
func (cs *Containers) Unpause(ctx context.Context, ref string) error {
	return cs.feed(ctx, ref, lifecycle.Input{Kind: lifecycle.Unpause})
}

func (cs *Containers) feed(ctx context.Context, ref string, in lifecycle.Input) error {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return err
	}
	return c.do(ctx, func() error { return cs.e.apply(c, in, ref) })
}

// Rename gives a container another name. Conflict where that is taken.
func (cs *Containers) Rename(ctx context.Context, ref, name string) error {
	e := cs.e
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return errkind.New(errkind.Invalid, "Neither old nor new names may be empty")
	}
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	if err := settings.CheckName(name); err != nil {
		return err
	}
	return c.do(ctx, func() error {
		old := c.row()
		if old.Name == name {
			return errkind.New(errkind.Invalid, "Renaming a container with the same name as its current name")
		}
		if err := e.index.Reserve(name, c.id); err != nil {
			return err
		}
		next := *old
		next.Name = name
		if err := e.save(&next); err != nil {
			e.index.Unreserve(name, c.id)
			return err
		}
		c.change(func(r *row) { r.Name = name })
		e.index.Unreserve(old.Name, c.id)
		e.say(c, "rename", map[string]string{"oldName": "/" + old.Name})
		return nil
	})
}

// Remove deletes a container and all it had. A running one is Conflict unless forced.
func (cs *Containers) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	e := cs.e
	if o.Link {
		parent, alias, _ := strings.Cut(strings.TrimPrefix(ref, "/"), "/")
		c, err := e.index.Find(parent)
		if err != nil {
			return err
		}
		return c.do(ctx, func() error { return e.unlink(c, alias) })
	}
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	for {
		var end *waiter
		err := c.do(ctx, func() error {
			life := c.row().Life
			if o.Force && life.State.Alive() {
				end = c.awaitEnd()
				if err := e.signal(c, settings.SIGKILL, false); err != nil {
					return err
				}
				return e.apply(c, lifecycle.Input{Kind: lifecycle.Kill, Ends: true}, ref)
			}
			c.change(func(r *row) { r.RemoveVolumes = r.RemoveVolumes || o.Volumes })
			return e.apply(c, lifecycle.Input{Kind: lifecycle.Remove, Force: o.Force}, ref)
		})
		ended := false
		if end != nil {
			if err == nil {
				ended, err = end.Within(ctx, killPatience)
			}
			end.Forget()
		}
		switch {
		case err != nil && o.Force && errkind.Is(err, errkind.NotFound):
			return nil // it was created with --rm and went by itself
		case err != nil || end == nil:
			return err
		case !ended:
			return immortal("remove", "/"+c.row().Name, c)
		}
	}
}

// Prune removes all containers that do not run and match the filters (until, label, label!).
func (cs *Containers) Prune(ctx context.Context, filters Filters) (container.PruneReport, error) {
	report := container.PruneReport{ContainersDeleted: []string{}}
	match, err := selection.Prune(filters, cs.e.o.Clock.Now())
	if err != nil {
		return report, err
	}
	for _, c := range cs.e.index.All() {
		r := c.row()
		if s := r.Life.State; s != lifecycle.Created && s != lifecycle.Exited && s != lifecycle.Dead || !match(r.Created, r.Config.Labels) {
			continue
		}
		size := cs.e.sizeRw(r)
		if err := cs.Remove(ctx, r.ID, RemoveOptions{}); err != nil {
			if ctx.Err() != nil {
				return report, ctx.Err()
			}
			continue // it was started or removed meanwhile
		}
		report.ContainersDeleted = append(report.ContainersDeleted, r.ID)
		report.SpaceReclaimed += uint64(size)
	}
	return report, nil
}
