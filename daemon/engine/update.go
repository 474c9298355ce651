package engine

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Update changes limits and the restart policy of a container, at once where it runs. Fields that are not set stay. A
// limit that does not go with the others, or that the kernel refuses, leaves everything as it was.
func (rs *Resources) Update(ctx context.Context, ref string, u container.UpdateConfig) (warnings []string, err error) {
	e := rs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	change := func() error {
		r := c.row()
		host, err := settings.Clone(r.Host)
		if err != nil {
			return err
		}
		if warnings, err = settings.Update(host, u, e.host); err != nil {
			return err
		}
		next := *r
		next.Host = host
		if r.Life.State.Alive() {
			// A crash between the two leaves limits that no record says: the next daemon then sets them again.
			before := *r
			before.Limiting = true
			if err := e.save(&before); err != nil {
				return err
			}
			if err := e.limit(ctx, c.id, host); err != nil {
				_ = e.save(r)
				if errkind.Is(err, errkind.Conflict) || errkind.Is(err, errkind.NotFound) {
					return &endedError{err}
				}
				return err
			}
		}
		if err := e.save(&next); err != nil {
			if r.Life.State.Alive() {
				_ = e.limit(ctx, c.id, r.Host)
			}
			return err
		}
		c.change(func(r *row) { r.Host = host })
		e.say(c, "update", nil)
		return nil
	}
	for range 100 { // its end may be about to be recorded: then there is nothing left to limit
		err = c.do(ctx, change)
		if ended := (*endedError)(nil); !errors.As(err, &ended) || ctx.Err() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	return warnings, nil
}

// endedError is what a container answers that ended a moment ago, whose record does not say so yet.
type endedError struct{ error }

func (e *endedError) Unwrap() error { return e.error }

// limit gives the cgroup of a container that runs all its limits.
func (e *Engine) limit(ctx context.Context, id string, h *container.HostConfig) error {
	limits, err := process.Limits(h)
	if err != nil {
		return err
	}
	body, err := json.Marshal(limits)
	if err != nil {
		return errkind.New(errkind.Internal, "container %s: %w", id, err)
	}
	if err := e.o.Custody.Update(context.WithoutCancel(ctx), shim.Update{ID: id, Resources: body}); err != nil {
		return errkind.New(errkind.Of(err), "Cannot update container %s: %w", id, err)
	}
	return nil
}
