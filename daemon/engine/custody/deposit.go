package custody

import (
	"context"
	"os"
	"slices"

	"pier/api/shim"
	"pier/kernel/fdsock"
)

// beginning is a Start or Exec that is under way.
type beginning struct {
	stream *stream // joined with the process itself; nil: none is
	ref    shim.TaskRef

	// Custodian.mu guards what follows.

	// keep is our end of its deposit: what a supervisor and a new process put away for the time in which only they know of each
	// other (see shim.Launch). It keeps the content open, unread. nil: there is none.
	keep *os.File
	// forgotten is set where the task has ended and was deleted meanwhile: its exit is still known, for this one to see.
	forgotten bool
}

// enroll makes known that a task is about to begin. The caller strikes it off.
func (c *Custodian) enroll(ref shim.TaskRef) *beginning {
	b := &beginning{ref: ref}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begins[b] = struct{}{}
	return b
}

func (c *Custodian) strike(b *beginning) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.begins, b)
	b.empty()
	if b.forgotten {
		c.forgetExit(b.ref)
	}
}

// forgetExit forgets how a task has ended, unless somebody is about to ask what became of it: then he does it, later. An exec
// may be over, announced and deleted by who heard of it before the one who has begun it gets to ask the next supervisor. mu
// is held.
func (c *Custodian) forgetExit(ref shim.TaskRef) {
	for b := range c.begins {
		if b.ref == ref {
			b.forgotten = true
			return
		}
	}
	delete(c.ended, ref)
}

// empty lets go of what is in the deposit. mu is held.
func (b *beginning) empty() {
	if b.keep != nil {
		b.keep.Close()
		b.keep = nil
	}
}

// ask sends the Start or Exec of b, with its stream, and with a new deposit where inc takes one.
func (c *Custodian) ask(ctx context.Context, inc *incarnation, b *beginning, r *shim.Request, files []*os.File) (*response, error) {
	launch := &shim.Launch{}
	if r.Start != nil {
		if launch = &r.Start.Launch; r.Start.Restore != nil && !inc.hello.Checkpoints {
			return nil, tooOld()
		}
	} else if r.Exec != nil {
		launch = &r.Exec.Launch
	}
	if b.stream != nil {
		joined, end, err := b.stream.join(ctx, inc)
		if err != nil {
			return nil, err
		}
		if r.Exec.Joined = joined; joined != nil {
			defer end.Close()
			files = append(slices.Clip(files), end)
		}
	}
	if launch.HasDeposit = inc.hello.Deposits; launch.HasDeposit {
		keep, put, err := fdsock.NewDeposit()
		if err != nil {
			return nil, err
		}
		defer put.Close()
		c.mu.Lock()
		b.empty() // nothing of the last attempt is left
		b.keep = keep
		c.mu.Unlock()
		files = append(slices.Clip(files), put)
	}
	return inc.call(ctx, r, files...)
}

// copyDeposit returns a copy of a task's deposit, nil where there is none. mu is held.
func (c *Custodian) copyDeposit(ref shim.TaskRef) *os.File {
	for b := range c.begins {
		if b.ref == ref && b.keep != nil {
			f, err := fdsock.Copy(b.keep)
			if err != nil {
				c.log.Error("hand on what was put away of a task", "task", ref, "err", err)
			}
			return f
		}
	}
	return nil
}
