package engine

import (
	"context"
	"os"
	"slices"
	"time"

	"pier/api/shim"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/links"
	"pier/daemon/network"
	"pier/lib/errkind"
	"pier/lib/id"
)

// reconcile brings records and reality together when the daemon starts: first what runs is taken up, then what ended
// is recorded, then what has neither record nor right to be is swept, and last what a policy wants is started.
func (e *Engine) reconcile(ctx context.Context) error {
	if err := e.load(); err != nil {
		return err
	}
	tasks, err := e.o.Custody.Tasks(ctx)
	if err != nil {
		return err
	}
	found := e.find(tasks)
	e.adopt(ctx, found.alive)
	if err := e.o.Networks.Settle(ctx); err != nil {
		return err
	}
	for _, t := range found.unwanted {
		e.bg.Go(func() { e.strays.End(t) })
	}
	e.bg.Go(func() { e.strays.Forget(found.done) })
	e.sweepFiles()
	// In the order in which they were made, those whose namespaces others join before these.
	all := e.index.All()
	slices.SortFunc(all, func(a, b *ctr) int { return a.row().Created.Compare(b.row().Created) })
	booted := map[string]chan struct{}{}
	var last *turn // of those that are started
	for _, c := range all {
		booted[c.id] = make(chan struct{})
	}
	for _, c := range all {
		e.ship(c.row()) // what the former daemon had not delivered
		in := found.boot(c.row())
		if !in.Alive {
			e.shipper.End(c.id)
			e.withdraw(c)               // of a start that was cut off
			if c.row().Rewiring != "" { // its interfaces are gone, and the record says what comes
				c.change(func(r *row) { r.Rewiring = "" })
			}
		}
		var its *turn
		if !in.Alive && launches(c.row(), in) {
			its = &turn{before: last, begun: make(chan struct{}), over: booted[c.id]}
			last = its
		}
		// Starting what a policy wants must not hold up the daemon: it goes on in the container's worker.
		c.work.Post(func() {
			defer close(booted[c.id])
			if !in.Alive {
				its.await(e.ctx)
				e.awaitDonors(c.row(), booted)
				if e.ctx.Err() != nil {
					return // the next daemon finds it as this one did
				}
			}
			err := e.apply(c, in, c.id)
			if errkind.Is(err, errkind.Timeout) && in.Still {
				r := c.row()
				e.bg.Go(func() { e.bringBackDumped(c, r, in) })
				return
			}
			e.broughtBack(ctx, c, in, err)
		})
	}
	return nil
}

// inventory is what the supervisor has when the daemon starts.
type inventory struct {
	alive    map[string]shim.Task // of containers that run
	exits    map[string]shim.Exit // of containers that have ended
	unwanted []shim.Task          // build steps and half-made starts of a daemon that died
	done     []shim.Task          // what nobody asks for any more
}

// find tells the supervisor's tasks apart. Those that ended under the former daemon's eyes it forgets, before their
// containers are started again.
func (e *Engine) find(tasks []shim.Task) inventory {
	f := inventory{alive: map[string]shim.Task{}, exits: map[string]shim.Exit{}}
	for _, t := range tasks {
		switch c := e.index.Get(t.ID); {
		case t.Exec != "":
			if t.Exit != nil || c == nil {
				f.done = append(f.done, t)
			}
		case t.Exit != nil && c == nil:
			f.done = append(f.done, t)
		case t.Exit != nil:
			f.exits[t.ID] = *t.Exit
			if !c.row().Life.State.Alive() {
				e.forget(c)
			}
		case c == nil:
			f.unwanted = append(f.unwanted, t)
		default:
			f.alive[t.ID] = t
		}
	}
	return f
}

// boot is what the container's life cycle gets to know at the daemon's start.
func (f *inventory) boot(r *row) lifecycle.Input {
	in := lifecycle.Input{Kind: lifecycle.Boot}
	if t, ok := f.alive[r.ID]; ok {
		in.Alive, in.Still, in.At = true, t.Frozen, t.StartedAt.UTC()
	} else if x, ok := f.exits[r.ID]; ok && (x.Pid == r.Pid || r.Pid == 0) {
		in.Known, in.Code, in.OOM, in.At = !x.Unknown, x.Code, x.OOM, x.At.UTC()
	}
	return in
}

// bringBackDumped brings back a container of which a checkpoint is still being made, see Checkpoints. Each try has a turn of its
// own among what else is asked of the container, which may end the run r.
func (e *Engine) bringBackDumped(c *ctr, r *row, in lifecycle.Input) {
	for e.strays.Pause(time.Second) {
		err := c.do(e.ctx, func() error {
			if !c.runs(r) {
				e.recoverCheckpoints(c.id)
				return nil
			}
			err := e.apply(c, in, c.id)
			if !errkind.Is(err, errkind.Timeout) {
				e.broughtBack(e.ctx, c, in, err)
			}
			return err
		})
		if !errkind.Is(err, errkind.Timeout) {
			return
		}
	}
}

// broughtBack does what follows the boot of a container, of which err is what became.
func (e *Engine) broughtBack(ctx context.Context, c *ctr, in lifecycle.Input, err error) {
	if err == nil && c.restart != nil && atOnce(c.row().Life, in) {
		c.restart.Stop()
		c.restart = nil
		err = e.apply(c, lifecycle.Input{Kind: lifecycle.Due}, c.id)
	}
	if err != nil {
		e.o.Log.Warn("container not brought back", "container", c.id, "error", err)
	}
	if in.Alive {
		e.startProbe(c)
		e.limitAgain(ctx, c)
	}
	e.recoverCheckpoints(c.id)
}

// launches reports whether a policy starts a container when the daemon does.
func launches(r *row, in lifecycle.Input) bool {
	next, effects, err := lifecycle.Step(r.Life, r.Rules(), in, r.ID, "/"+r.Name)
	return err == nil && (atOnce(next, in) || slices.Contains(effects, lifecycle.Launch))
}

// atOnce reports whether a container that the boot has found ended, as next says, is started again without a pause: that
// is for those that fail, and who ended unseen went down with the machine. Pauses would also blur the order.
func atOnce(next lifecycle.Container, in lifecycle.Input) bool {
	return next.State == lifecycle.Restarting && !in.Alive && !in.Known
}

// donorPatience is how long a container that a policy starts waits for one whose namespaces it joins.
const donorPatience = 30 * time.Second

// awaitDonors waits while the containers whose namespaces r joins are about to be started again: until they are booted,
// where booted is not nil, and then while they are restarting.
func (e *Engine) awaitDonors(r *row, booted map[string]chan struct{}) {
	limit := time.Now().Add(donorPatience)
	for _, donor := range []string{r.Host.NetworkMode.ConnectedContainer(), r.Host.PidMode.Container(), r.Host.IpcMode.Container()} {
		c := e.index.Get(donor)
		if c == nil || donor == r.ID {
			continue
		}
		if done := booted[donor]; done != nil {
			select {
			case <-done:
			case <-time.After(time.Until(limit)):
			case <-e.ctx.Done():
			}
		}
		for c.row().Life.State == lifecycle.Restarting && time.Now().Before(limit) && e.strays.Pause(10*time.Millisecond) {
		}
	}
}

// limitAgain gives a container the limits that its record says, where the former daemon died while it changed them.
func (e *Engine) limitAgain(ctx context.Context, c *ctr) {
	r := c.row()
	if !r.Limiting || !r.Life.State.Alive() {
		return
	}
	err := e.limit(context.WithoutCancel(ctx), c.id, r.Host)
	if err == nil {
		err = e.save(c.change(func(r *row) { r.Limiting = false }))
	}
	if err != nil {
		e.o.Log.Error("container's limits are not what its record says", "container", c.id, "error", err)
	}
}

func (e *Engine) load() error {
	durable, err := e.durable.All()
	if err != nil {
		return err
	}
	volatile, err := e.volatile.All()
	if err != nil {
		return err
	}
	for _, rows := range []map[string]row{durable, volatile} {
		for _, r := range rows {
			if r.Config == nil || r.Host == nil || r.ID == "" {
				e.o.Log.Error("damaged container record ignored", "container", r.ID)
				continue
			}
			if err := e.index.Reserve(r.Name, r.ID); err != nil {
				e.o.Log.Error("two containers of one name, one gets its identifier for a name", "container", r.ID, "name", r.Name)
				r.Name = id.Short(r.ID)
				_ = e.index.Reserve(r.Name, r.ID)
			}
			e.index.Add(r.ID, newCtr(&r), links.Targets(r.Host))
			if err := e.o.Images.Hold(r.ID, r.Image); err != nil {
				e.o.Log.Warn("container's image was removed", "container", r.ID, "image", r.Image, "error", err)
			}
			if r.Chain != "" {
				if err := e.o.Layers.Hold(r.ID, r.Chain); err != nil {
					e.o.Log.Error("container's layers are gone", "container", r.ID, "error", err)
				}
			}
			if err := e.mounts.Hold(r.ID, r.Mounts); err != nil {
				e.o.Log.Error("container's volume or mounted image is gone", "container", r.ID, "error", err)
			}
		}
	}
	return nil
}

// adopt gives containers that run back to the rooms that forgot them with the former daemon.
func (e *Engine) adopt(ctx context.Context, alive map[string]shim.Task) {
	for cid, t := range alive {
		c := e.index.Get(cid)
		r := c.change(func(r *row) { r.Pid, r.StartTime = t.Pid, t.StartTime })
		e.o.Images.Running(cid, true)
		err := e.o.Networks.Adopt(ctx, network.AdoptOptions{JoinOptions: r.JoinOptions(), Pid: t.Pid, StartTime: t.StartTime, Settings: r.Settings, Assigned: r.Ports})
		if err != nil {
			e.o.Log.Error("container runs on without its published ports and name", "container", cid, "error", err)
		} else if r.Rewiring != "" { // before another container can get the address
			e.mend(ctx, c)
		}
		if err := e.mounts.Adopt(ctx, cid, r.Mounts); err != nil {
			e.o.Log.Error("volumes of a running container not taken up", "container", cid, "error", err)
		}
	}
}

// lookAgain ends processes that appear late: a start that the former daemon had sent off when it died, and that the
// supervisor had not finished when we asked what runs. Its caller was told that it failed. A start from a checkpoint may take
// ten minutes.
func (e *Engine) lookAgain() {
	pauses := append([]time.Duration{300 * time.Millisecond, time.Second, 10 * time.Second}, slices.Repeat([]time.Duration{time.Minute}, 11)...)
	for _, d := range pauses {
		if !e.strays.Pause(d) {
			return
		}
		tasks, err := e.o.Custody.Tasks(e.ctx)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			c := e.index.Get(t.ID)
			switch {
			case t.Exec != "" || e.steps.Has(t.ID):
				continue
			case c == nil: // it may have ended already
				e.bg.Go(func() { e.strays.End(t) })
				continue
			case t.Exit != nil:
				continue
			}
			c.work.Post(func() { // not while it is being started
				if r := c.row(); t.Frozen && !r.Gone && r.Pid == t.Pid && r.Life.State == lifecycle.Running {
					// The former daemon had it frozen, and nobody was told.
					_ = e.o.Custody.Freeze(e.ctx, shim.Freeze{ID: c.id})
				}
				if r := c.row(); !r.Gone && r.Pid != t.Pid && !r.Life.State.Alive() {
					e.strays.End(t)
				}
			})
		}
	}
}

// sweepFiles removes the folders and writable layers of containers that have no record: half-made or half-removed ones.
func (e *Engine) sweepFiles() {
	entries, err := os.ReadDir(e.o.Root)
	if err != nil {
		e.o.Log.Warn("container folders not listed", "error", err)
	}
	for _, d := range entries {
		switch name := d.Name(); {
		case e.steps.Sweep(name):
		case len(name) == id.Len && id.Valid(name) && e.index.Get(name) == nil:
			if err := e.mounts.Abandon(e.ctx, name); err != nil {
				e.o.Log.Warn("volumes of a container that was never made not removed", "container", name, "error", err)
			}
			e.sweep(name)
		}
	}
	ids, err := e.o.Layers.Writables()
	if err != nil {
		e.o.Log.Warn("writable layers not listed", "error", err)
	}
	for _, w := range ids {
		if len(w) == id.Len && id.Valid(w) && e.index.Get(w) == nil {
			e.sweep(w)
		}
	}
}
