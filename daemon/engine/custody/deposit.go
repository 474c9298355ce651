package custody

import (
	"context"
	"os"
	"slices"

	"pier/api/shim"
	"pier/kernel/fdsock"
)

// deposit is our end of what a supervisor and a new process put away for the time in which only they know of each other (see
// shim.Launch). Its content is kept open by keep, unread.
type deposit struct {
	ref  shim.TaskRef
	keep *os.File // guarded by Custodian.mu
}

// ask sends a Start or Exec, with a new deposit where inc takes one. It is kept until the caller empties d.
func (c *Custodian) ask(ctx context.Context, inc *incarnation, d *deposit, r *shim.Request, files []*os.File) (*response, error) {
	launch := &shim.Launch{}
	if r.Start != nil {
		launch = &r.Start.Launch
	} else if r.Exec != nil {
		launch = &r.Exec.Launch
	}
	c.empty(d) // nothing of the last attempt is left
	if launch.HasDeposit = inc.deposits; inc.deposits {
		keep, put, err := fdsock.NewDeposit()
		if err != nil {
			return nil, err
		}
		defer put.Close()
		c.mu.Lock()
		d.keep = keep
		c.deposits[d] = struct{}{}
		c.mu.Unlock()
		files = append(slices.Clip(files), put)
	}
	return inc.call(ctx, r, files...)
}

// empty lets go of what is in d.
func (c *Custodian) empty(d *deposit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.keep != nil {
		delete(c.deposits, d)
		d.keep.Close()
		d.keep = nil
	}
}

// copyDeposit returns a copy of a task's deposit, nil where there is none. Custodian.mu is held.
func (c *Custodian) copyDeposit(ref shim.TaskRef) *os.File {
	for d := range c.deposits {
		if d.ref == ref {
			f, err := fdsock.Copy(d.keep)
			if err != nil {
				c.log.Error("hand on what was put away of a task", "task", ref, "err", err)
			}
			return f
		}
	}
	return nil
}
