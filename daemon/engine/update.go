package engine

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/api/docker"
	"pier/api/shim"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Update changes limits, the restart policy and the published ports of a container, at once where it runs. Fields that are
// not set stay. A limit that does not go with the others or that the kernel refuses, or a port that is taken (Conflict; where
// a container has it the error says which), leaves everything as it was.
func (rs *Resources) Update(ctx context.Context, ref string, u docker.Update) (warnings []string, err error) {
	e := rs.e
	c, err := e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	change := func() error {
		next := *c.row()
		if next.Host, err = settings.Clone(next.Host); err != nil {
			return err
		}
		if warnings, err = settings.Update(next.Host, u.UpdateConfig, e.host); err != nil {
			return err
		}
		if len(u.PierPublishAdd)+len(u.PierPublishRemove) == 0 {
			return e.enact(ctx, c, &next, true)
		}
		settle, err := e.publish(ctx, &next, u)
		if err != nil {
			return err
		}
		err = e.enact(ctx, c, &next, !reflect.ValueOf(u.UpdateConfig).IsZero())
		settle(err == nil)
		return err
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

// enact gives a container that runs the limits of next, where there are new ones, and records that.
func (e *Engine) enact(ctx context.Context, c *ctr, next *row, limits bool) error {
	r := c.row()
	limits = limits && r.Life.State.Alive()
	if limits {
		// A crash between the two leaves limits that no record says: the next daemon then sets them again.
		before := *r
		before.Limiting = true
		if err := e.save(&before); err != nil {
			return err
		}
		if err := e.limit(ctx, c.id, next.Host); err != nil {
			_ = e.save(r)
			if errkind.Is(err, errkind.Conflict) || errkind.Is(err, errkind.NotFound) {
				return &endedError{err}
			}
			return err
		}
	}
	if err := e.save(next); err != nil {
		if limits {
			_ = e.limit(ctx, c.id, r.Host)
		}
		return err
	}
	c.change(func(r *row) { r.Host, r.Ports = next.Host, next.Ports })
	e.say(c, "update", nil)
	return nil
}

// publish changes the ports of next, and those that are open where the container runs. settle, once it is known whether next
// is recorded, ends the connections through closed ports, or undoes it all. A crash before next is recorded undoes it too: the
// next daemon opens what the record says, and nothing else.
func (e *Engine) publish(ctx context.Context, next *row, u docker.Update) (settle func(keep bool), err error) {
	alive := next.Life.State.Alive()
	o := next.JoinOptions()
	o.PublishAll = false
	var now network.PortMap
	if alive {
		now = next.Ports
	}
	if o.Ports, err = settings.Publish(next.Host, next.Config.ExposedPorts, now, u.PierPublishAdd, u.PierPublishRemove); err != nil || !alive {
		return func(bool) {}, err
	}
	if next.Ports, settle, err = e.o.Networks.Publish(ctx, o, len(u.PierPublishAdd) > 0); err != nil {
		kind := errkind.Of(err)
		if kind == errkind.Exhausted {
			kind = errkind.Conflict
		}
		return nil, errkind.New(kind, "Cannot update container %s: %w", next.ID, err)
	}
	return settle, nil
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
