package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/describe"
	"pier/daemon/engine/internal/selection"
)

// List describes the containers that the options select, newest first. It never waits for one of them. An unknown filter
// or value is Invalid; a before or since that does not exist is NotFound.
func (cs *Containers) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	e := cs.e
	f, err := selection.Parse(o.Filters, !o.All && o.Limit <= 0, selection.Sources{Images: e.o.Images, Created: e.created})
	if err != nil {
		return nil, err
	}
	all := e.index.All()
	slices.SortFunc(all, func(a, b *ctr) int {
		if d := b.row().Created.Compare(a.row().Created); d != 0 {
			return d
		}
		return strings.Compare(a.id, b.id)
	})
	names := describe.Names(e.o.Images.List(ctx))
	out := []container.Summary{}
	for _, c := range all {
		r := c.row()
		ok, stop := f.Match(&selection.Subject{ID: r.ID, Name: r.Name, Created: r.Created, Life: r.Life, Image: r.Image, Config: r.Config,
			Mounts: r.Mounts, Annotations: r.Host.Annotations, Health: c.health.Health(), Ports: r.Ports, Networks: r.NetworkNames})
		if stop || o.Limit > 0 && len(out) == o.Limit {
			break
		}
		if ok {
			s := c.describe(r).Summary(e.o.Clock.Now(), names)
			if o.Size {
				s.SizeRw = e.sizeRw(r)
				s.SizeRootFs = s.SizeRw + e.imageSize(r)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func (e *Engine) created(ref string) (time.Time, error) {
	c, err := e.index.Find(ref)
	if err != nil {
		return time.Time{}, err
	}
	return c.row().Created, nil
}

// describe is what there is to say of the container as r has it.
func (c *ctr) describe(r *row) *describe.Container {
	return &describe.Container{ID: r.ID, Name: r.Name, Image: r.Image.String(), Created: r.Created, Config: r.Config, Host: r.Host,
		Life: r.Life, Health: c.health.Health(), Mounts: r.Mounts, Ports: r.Ports, Pid: r.Pid, Asked: r.Asked, Networks: r.NetworkNames}
}
