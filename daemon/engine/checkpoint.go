package engine

import (
	"context"
	"fmt"
	"time"

	"pier/api/shim"
	"pier/daemon/engine/internal/checkpoint"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Checkpoints are what containers were at some moment, on the disk, and containers that go on from one.
type Checkpoints struct{ e *Engine }

// Checkpoints returns the containers' checkpoints.
func (e *Engine) Checkpoints() *Checkpoints { return &Checkpoints{e} }

// CheckpointOptions are those of POST /containers/{id}/checkpoints.
type CheckpointOptions struct {
	Name string
	Dir  string // an absolute path of the host, "" for the container's own folder
	Exit bool   // the container ends with it
}

func (e *Engine) checkpointsOf(c *ctr, ref, dir string) checkpoint.Place {
	return checkpoint.Place{Own: e.dir(c.id), Ref: ref, Dir: dir}
}

// List returns the names of a container's checkpoints in a folder, see CheckpointOptions.
func (cs *Checkpoints) List(_ context.Context, ref, dir string) ([]string, error) {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	return cs.e.checkpoints.List(cs.e.checkpointsOf(c, ref, dir))
}

// Remove removes a checkpoint from a folder. NotFound where there is none of that name.
func (cs *Checkpoints) Remove(_ context.Context, ref, dir, name string) error {
	c, err := cs.e.index.Find(ref)
	if err != nil {
		return err
	}
	return cs.e.checkpoints.Remove(cs.e.checkpointsOf(c, ref, dir), name)
}

// Create writes a checkpoint of a running container, which stands still meanwhile. With Exit the container has ended when
// Create returns, by SIGKILL and for good: its restart policy rests, as after a stop. It ends only once the checkpoint has its
// name, so that no crash can take both. Conflict where the container does not run or has a checkpoint of that name.
func (cs *Checkpoints) Create(ctx context.Context, ref string, o CheckpointOptions) error {
	e := cs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	if err := checkpoint.CheckName(o.Name); err != nil {
		return err
	}
	switch r := c.row(); {
	case !r.Life.State.Alive():
		return errkind.New(errkind.Conflict, "Container %s is not running", ref)
	case o.Exit && o.Dir == "" && r.Host.AutoRemove:
		return errkind.New(errkind.Conflict, "cannot checkpoint container %s: it was created with --rm, and would take its checkpoint along when it ends: "+
			"name a folder (--checkpoint-dir), or leave it running (--leave-running)", ref)
	}
	ctx = context.WithoutCancel(ctx) // who goes away does not stop it
	draft, err := e.checkpoints.Begin(e.checkpointsOf(c, ref, o.Dir), o.Name)
	if err != nil {
		return fmt.Errorf("cannot checkpoint container %s: %w", ref, err)
	}
	paused := false // by us
	var r *row
	err = c.do(ctx, func() error {
		if c.row().Life.State != lifecycle.Paused {
			if err := e.apply(c, lifecycle.Input{Kind: lifecycle.Pause, Brief: true}, ref); err != nil {
				return err
			}
			paused = true
		}
		r = c.row()
		c.released.Add(1) // it is neither started again nor swept while something is written
		return nil
	})
	if err != nil {
		draft.Discard()
		return err
	}
	switch err = e.write(c, r, draft); {
	case err != nil:
		err = fmt.Errorf("Cannot checkpoint container %s: %w", ref, err)
	case o.Exit:
		e.say(c, "checkpoint", nil)
		return e.endDumped(ctx, c, r, ref)
	default:
		e.say(c, "checkpoint", nil)
	}
	if paused {
		if thawErr := e.thaw(ctx, c, r, ref); err == nil {
			err = thawErr
		}
	}
	return err
}

// write makes draft a checkpoint of the run r of c. What it leaves of one that fails is removed before c is released, whose
// folder may go then.
func (e *Engine) write(c *ctr, r *row, draft *checkpoint.Draft) error {
	defer c.released.Done()
	defer draft.Discard()
	if err := draft.Dump(e.ctx, e.o.Custody, c.id); err != nil {
		return err
	}
	return draft.Finish(checkpoint.Manifest{Container: r.ID, Name: r.Name, Image: r.Config.Image, Created: e.o.Clock.Now().UTC(),
		Networks: checkpoint.AddressesOf(r.Settings)})
}

// thawTries is how often, a second after the other, a container is let go on that is still being dumped.
const thawTries = 600

// thaw ends the pause of Create, where the container still stands still for that and is the same run: somebody else may have
// let it go on, or ended it. Where that is not possible yet, because criu has outlived the supervisor that it worked for, it is
// tried again after the return, which has the error.
func (e *Engine) thaw(ctx context.Context, c *ctr, r *row, ref string) error {
	try := func(ctx context.Context) error {
		err := c.do(ctx, func() error {
			if !c.runs(r) || !c.row().Life.Brief {
				return nil
			}
			return e.apply(c, lifecycle.Input{Kind: lifecycle.Unpause}, ref)
		})
		if errkind.Is(err, errkind.NotFound) {
			return nil
		}
		return err
	}
	err := try(ctx)
	if errkind.Is(err, errkind.Timeout) {
		e.bg.Go(func() {
			again := err
			for n := 0; errkind.Is(again, errkind.Timeout) && n < thawTries; n++ {
				if !e.strays.Pause(time.Second) {
					return
				}
				again = try(e.ctx)
			}
			if again != nil {
				e.o.Log.Warn("container stands still after its checkpoint", "container", c.id, "error", again)
			}
		})
	}
	return err
}

// recoverCheckpoints removes what a daemon that died has left of a checkpoint that was being made or removed.
func (e *Engine) recoverCheckpoints(id string) {
	if err := e.checkpoints.Recover(e.dir(id)); err != nil {
		e.o.Log.Warn("what is left of a checkpoint not removed", "container", id, "error", err)
	}
}

// endDumped ends a container of whose run r there is a checkpoint. Another run is left alone.
func (e *Engine) endDumped(ctx context.Context, c *ctr, r *row, ref string) error {
	var end *waiter
	err := c.do(ctx, func() error {
		if !c.runs(r) {
			return nil
		}
		end = c.awaitEnd()
		err := e.o.Custody.Signal(ctx, shim.Signal{TaskRef: shim.TaskRef{ID: c.id}, Signal: settings.SIGKILL})
		if err != nil && !errkind.Is(err, errkind.NotFound) && !errkind.Is(err, errkind.Conflict) { // it has just ended
			return err
		}
		return e.apply(c, lifecycle.Input{Kind: lifecycle.Kill, Ends: true}, ref)
	})
	if end == nil {
		return err
	}
	defer end.Forget()
	if err != nil {
		return err
	}
	if ended, err := end.Within(ctx, killPatience); ended || err != nil {
		return err
	}
	return immortal("checkpoint", ref, c)
}

// Start starts a container that does not run from a checkpoint: its own, or that of another container. The errors are those of
// Containers.Start; NotFound for the checkpoint.
func (cs *Checkpoints) Start(ctx context.Context, ref, dir, name string) error {
	e := cs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	return c.do(ctx, func() error {
		r := c.row()
		in := lifecycle.Input{Kind: lifecycle.Start}
		if _, _, err := lifecycle.Step(r.Life, r.Rules(), in, ref, "/"+r.Name); err != nil {
			return err
		}
		kept, err := e.checkpoints.Open(e.checkpointsOf(c, ref, dir), name)
		if err != nil {
			return err
		}
		defer kept.Close()
		c.from = kept
		defer func() { c.from = nil }()
		return e.apply(c, in, ref)
	})
}
