package engine

import (
	"context"
	"os"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/events"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/secrets"
	"pier/kernel/quota"
	"pier/lib/clock"
	"pier/lib/errkind"
)

// apply feeds one input to a container's life cycle and does what that asks for. It runs in the container's worker. The
// error is a refusal, or why an effect failed that the caller waits for: a launch, freezing, a record that could not be
// written.
func (e *Engine) apply(c *ctr, in lifecycle.Input, ref string) error {
	r := c.row()
	if in.At.IsZero() {
		in.At = e.o.Clock.Now().UTC()
	}
	next, effects, err := lifecycle.Step(r.Life, r.Rules(), in, ref, "/"+r.Name)
	if err != nil {
		return err
	}
	// What can fail for the kernel's reasons comes first: then nothing has changed.
	for _, f := range effects {
		if f == lifecycle.Freeze || f == lifecycle.Thaw {
			err := e.o.Custody.Freeze(e.ctx, shim.Freeze{ID: c.id, On: f == lifecycle.Freeze})
			if f == lifecycle.Thaw && errkind.Is(err, errkind.Conflict) {
				continue // killed meanwhile, which thaws: its end is about to be recorded
			}
			if err != nil {
				return err
			}
		}
	}
	r = c.change(func(r *row) { r.Life = next })
	var first error
	for _, f := range effects {
		if err := e.effect(c, r, f, ref); err != nil && first == nil {
			first = err
		}
	}
	// Only now may the supervisor forget how the process ended: the record knows.
	if slices.Contains(effects, lifecycle.Release) && !c.row().Gone {
		e.forget(c)
	}
	c.waiters.Notify(c.row())
	return first
}

func (e *Engine) effect(c *ctr, r *row, f lifecycle.Effect, ref string) error {
	switch f {
	case lifecycle.Save:
		if err := e.save(c.row()); err != nil {
			e.o.Log.Error("container record not written", "container", c.id, "error", err)
			return err
		}
	case lifecycle.Launch:
		return e.start(c, ref)
	case lifecycle.Release:
		e.release(c)
	case lifecycle.Schedule:
		var timer clock.Timer
		timer = e.o.Clock.AfterFunc(r.Life.Backoff, func() {
			e.awaitDonors(c.row(), nil) // not in the worker: a stop need not wait for it
			c.work.Post(func() {
				if c.restart == timer && e.ctx.Err() == nil && !c.row().Gone { // else it was stopped meanwhile
					_ = e.apply(c, lifecycle.Input{Kind: lifecycle.Due}, c.id)
				}
			})
		})
		c.restart = timer
	case lifecycle.Unschedule:
		if c.restart != nil {
			c.restart.Stop()
			c.restart = nil
		}
	case lifecycle.Delete:
		return e.delete(c)
	case lifecycle.SayStart:
		e.o.Images.Running(c.id, true)
		e.say(c, "start", nil)
		e.relink(c)
		e.startProbe(c)
	case lifecycle.SayDie:
		e.say(c, "die", map[string]string{
			"exitCode":     strconv.Itoa(r.Life.ExitCode),
			"execDuration": strconv.Itoa(int(r.Life.FinishedAt.Sub(r.Life.StartedAt).Seconds())),
		})
	case lifecycle.SayOOM:
		e.say(c, "oom", nil)
	case lifecycle.End:
		end := c.awaitEnd()
		e.bg.Go(func() {
			defer end.Forget()
			e.endSick(c, end)
		})
	case lifecycle.SayPause:
		c.health.Stop()
		e.say(c, "pause", nil)
	case lifecycle.SayHealth:
		e.say(c, events.Action("health_status: "+string(r.Health.Status)), nil)
	case lifecycle.SayUnpause:
		e.say(c, "unpause", nil)
		e.startProbe(c)
	}
	return nil
}

// launchTries is how often a start is begun anew because the supervisor died over it, or because that of a former daemon was
// still under way.
const launchTries = 3

// start launches the process and tells the life cycle how that went.
func (e *Engine) start(c *ctr, ref string) error {
	c.files.Wait(filesPatience)
	c.released.Wait()
	task, err := e.launch(c)
	for tries := 0; (custody.IsCutOff(err) || custody.IsTaken(err)) && tries < launchTries && e.ctx.Err() == nil; tries++ {
		if custody.IsTaken(err) {
			e.strays.EndLate(c.id)
		}
		e.release(c)
		c.released.Wait()
		task, err = e.launch(c)
	}
	if err != nil {
		code, err := process.StartError(c.row().Config, c.root, c.row().Mounts, err)
		_ = e.apply(c, lifecycle.Input{Kind: lifecycle.StartFailed, Code: code, Error: err.Error()}, ref)
		c.streams.Close(false)
		return err
	}
	c.streams.Begin()
	c.change(func(r *row) { r.Pid, r.StartTime = task.Pid, task.StartTime })
	e.ship(c.row())
	return e.apply(c, lifecycle.Input{Kind: lifecycle.Started, At: task.StartedAt.UTC()}, ref)
}

// release gives back what a running container has. It does not wait for the kernel.
func (e *Engine) release(c *ctr) {
	e.shipper.End(c.id)
	c.health.Stop()
	e.o.Images.Running(c.id, false)
	e.o.Networks.Leave(c.id)
	if err := e.mounts.Unmount(c.id, c.row().Mounts); err != nil {
		e.o.Log.Warn("volume or image not unmounted", "container", c.id, "error", err)
	}
	e.withdraw(c)
	if c.row().Host.IpcMode.IsShareable() {
		if err := process.Unmount(e.shmPath(c.id)); err != nil {
			e.o.Log.Warn("shared memory not unmounted", "container", c.id, "error", err)
		}
	}
	if root := c.root; root != nil {
		c.root = nil
		c.released.Add(1)
		e.bg.Go(func() { // the last reference unmounts, and unmounting an overlay syncs
			defer c.released.Done()
			_ = root.Close()
		})
	}
}

// withdraw takes the secrets of a container that does not run out of reach.
func (e *Engine) withdraw(c *ctr) {
	if len(c.row().Secrets) == 0 {
		return
	}
	if err := secrets.Withdraw(e.dir(c.id)); err != nil {
		e.o.Log.Warn("secrets not unmounted", "container", c.id, "error", err)
	}
}

// forget lets the supervisor drop its memory of the process, in the background; the next start waits for it.
func (e *Engine) forget(c *ctr) {
	c.released.Add(1)
	e.bg.Go(func() {
		defer c.released.Done()
		err := e.o.Custody.Delete(context.WithoutCancel(e.ctx), shim.TaskRef{ID: c.id})
		if err != nil && !errkind.Is(err, errkind.NotFound) && e.ctx.Err() == nil {
			e.o.Log.Warn("task not forgotten", "container", c.id, "error", err)
		}
	})
}

// delete removes a container for good: first its record, then what belongs to it. Whatever a crash leaves between the
// two has no record, and the next Open sweeps it.
func (e *Engine) delete(c *ctr) error {
	r := c.row()
	if err := e.mounts.Release(e.ctx, r.ID, r.Mounts, r.RemoveVolumes || r.Host.AutoRemove); err != nil {
		e.o.Log.Warn("anonymous volumes not removed", "container", c.id, "error", err)
	}
	if err := e.table(r).Delete(context.WithoutCancel(e.ctx), r.ID); err != nil {
		_ = e.apply(c, lifecycle.Input{Kind: lifecycle.RemoveFailed, Error: err.Error()}, r.ID)
		return err
	}
	c.change(func(r *row) { r.Gone = true })
	e.index.Remove(c.id, c.row().Name)
	e.o.Images.Release(r.ID)
	e.o.Layers.Release(r.ID)
	e.say(c, "destroy", nil)
	c.streams.Close(false)
	e.execs.ForgetAll(c.id)
	e.bg.Go(func() {
		err := e.o.Custody.Delete(context.WithoutCancel(e.ctx), shim.TaskRef{ID: c.id})
		if err != nil && !errkind.Is(err, errkind.NotFound) && e.ctx.Err() == nil {
			e.o.Log.Warn("task not forgotten", "container", c.id, "error", err)
		}
		c.files.Wait(filesPatience)
		c.released.Wait()
		e.shipper.Remove(c.id)
		e.sweep(c.id)
	})
	return nil
}

// sweep removes the files of a container that has no record.
func (e *Engine) sweep(id string) {
	if up, err := e.o.Layers.Writable(id); err == nil {
		// Upper is the container's own root, whose number its owner in there can change to that of another container.
		if err := quota.Release(up.Work); err != nil {
			e.o.Log.Warn("size limit not released", "container", id, "error", err)
		}
	}
	if err := e.o.Layers.RemoveWritable(id); err != nil && !errkind.Is(err, errkind.NotFound) {
		e.o.Log.Warn("writable layer not removed", "container", id, "error", err)
	}
	if err := process.Unmount(e.shmPath(id)); err != nil { // left by a crash
		e.o.Log.Warn("shared memory not unmounted", "container", id, "error", err)
	}
	if err := secrets.Sweep(e.dir(id)); err != nil {
		e.o.Log.Warn("secrets not unmounted", "container", id, "error", err)
	}
	if err := e.mounts.Sweep(id); err != nil {
		e.o.Log.Warn("image not unmounted", "container", id, "error", err)
	}
	e.recoverCheckpoints(id)
	if err := os.RemoveAll(e.dir(id)); err != nil {
		e.o.Log.Warn("container's folder not removed", "container", id, "error", err)
	}
}
