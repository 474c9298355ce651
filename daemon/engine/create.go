package engine

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/daemon/engine/internal/links"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/secrets"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image/layer"
	"pier/kernel/quota"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Containers are the containers and what can be done to them. Every ref is an identifier, the beginning of one, or a
// name; an unknown one is an error of kind NotFound, "No such container: ref". Refusals have Docker's words. An
// operation that has begun is carried out even if its context ends.
type Containers struct{ e *Engine }

// Create makes a container from an image, which must be here already (NotFound: "No such image: ..."). A bad request is
// Invalid; a name that is taken is Conflict. Nothing stays of a container that could not be made.
func (cs *Containers) Create(ctx context.Context, req CreateRequest) (container.CreateResponse, error) {
	e := cs.e
	none := container.CreateResponse{}
	r, warnings, err := e.plan(req)
	if err != nil {
		return none, err
	}
	if err := e.nameIt(r, req.Name); err != nil {
		return none, err
	}
	if err := e.build(ctx, r, req.Secrets); err != nil {
		e.index.Unreserve(r.Name, r.ID)
		return none, err
	}
	c := newCtr(r)
	e.index.Add(r.ID, c, links.Targets(r.Host))
	e.say(c, "create", nil)
	if warnings == nil {
		warnings = []string{}
	}
	return container.CreateResponse{ID: r.ID, Warnings: warnings}, nil
}

// plan makes the record of the request, checked and complete but for its name. It changes nothing.
func (e *Engine) plan(req CreateRequest) (*row, []string, error) {
	if req.Config == nil {
		return nil, nil, errkind.New(errkind.Invalid, "config cannot be empty in order to create a container")
	}
	if req.Config.Image == "" {
		return nil, nil, errkind.New(errkind.Invalid, "no image specified: name one to make a container from")
	}
	img, err := e.o.Images.Get(req.Config.Image)
	if err != nil {
		return nil, nil, err
	}
	foreign, err := settings.CheckPlatform(req.Config.Image, req.Platform, img.Config.OS, img.Config.Architecture)
	if err != nil {
		return nil, nil, err
	}
	config, err := settings.Clone(req.Config)
	if err != nil {
		return nil, nil, err
	}
	host, err := settings.Clone(req.HostConfig)
	if err != nil {
		return nil, nil, err
	}
	if err := settings.Merge(config, img.Config.Config); err != nil {
		return nil, nil, err
	}
	r := &row{
		ID: id.New(), Created: e.o.Clock.Now().UTC(), Image: img.ID, Chain: img.Chain, Platform: "linux",
		Config: config, Host: host,
	}
	root := func() (*os.File, error) { return e.o.Layers.Mount(r.Chain, nil, layer.MountOptions{ReadOnly: true}) }
	if err := process.CompleteSystem(config, host, root); err != nil {
		return nil, nil, err
	}
	warnings, err := settings.Complete(config, host, r.ID, e.host)
	if err != nil {
		return nil, nil, err
	}
	if err := settings.ResolveRefs(host, e.identify); err != nil {
		return nil, nil, err
	}
	r.Mounts, err = settings.Mounts(host, config.Volumes, settings.MountSources{
		Exists: func(p string) bool { _, err := os.Lstat(p); return err == nil },
		From: func(ref string) ([]settings.Mount, error) {
			c, err := e.index.Find(ref)
			if err != nil {
				return nil, err
			}
			from := c.row()
			return settings.Inherited(from.Host, from.Mounts), nil
		},
	})
	if err != nil {
		return nil, nil, err
	}
	if r.Secrets, err = secrets.Check(req.Secrets, r.Mounts); err != nil {
		return nil, nil, err
	}
	if req.NetworkingConfig != nil && len(req.NetworkingConfig.EndpointsConfig) > 0 {
		asked, err := settings.Clone(req.NetworkingConfig)
		if err != nil {
			return nil, nil, err
		}
		r.Asked = asked.EndpointsConfig
		if err := settings.CheckEndpoints(host.NetworkMode, r.Asked); err != nil {
			return nil, nil, err
		}
		settings.NameDefault(r.Asked)
	}
	if err := e.resolveLinks(r); err != nil {
		return nil, nil, err
	}
	if foreign != "" {
		warnings = append(warnings, foreign)
	}
	return r, warnings, nil
}

// nameIt reserves the name, or makes one up.
func (e *Engine) nameIt(r *row, name string) error {
	if name != "" {
		name = strings.TrimPrefix(name, "/")
		r.Name = name
		if err := settings.CheckName(name); err != nil {
			return err
		}
		return e.index.Reserve(name, r.ID)
	}
	for try := range 8 {
		r.Name = settings.MakeName(r.ID, try)
		if e.index.Reserve(r.Name, r.ID) == nil {
			return nil
		}
	}
	r.Name = id.Short(r.ID)
	return e.index.Reserve(r.Name, r.ID)
}

// build makes what belongs to the container and then its record. Without a record, whatever is left of an attempt that
// a crash interrupts is swept at the next Open.
func (e *Engine) build(ctx context.Context, r *row, hidden []docker.NewSecret) (err error) {
	if err := e.o.Images.Hold(r.ID, r.Image); err != nil {
		return err
	}
	// An image can be removed by force while a container that is stopped needs its layers.
	if r.Chain != "" {
		if err := e.o.Layers.Hold(r.ID, r.Chain); err != nil {
			e.o.Images.Release(r.ID)
			return err
		}
	}
	undo := func() {} // what Take made
	defer func() {
		if err != nil {
			e.o.Images.Release(r.ID)
			e.o.Layers.Release(r.ID)
			e.o.Volumes.Release(r.ID)
			undo()
			e.sweep(r.ID)
		}
	}()
	if err := os.Mkdir(e.dir(r.ID), 0o710); err != nil && !errors.Is(err, os.ErrExist) {
		return errkind.New(errkind.Internal, "container %s: %w", r.ID, err)
	}
	if err := secrets.Keep(e.dir(r.ID), hidden, r.Host.AutoRemove); err != nil {
		return err
	}
	if undo, err = e.mounts.Take(ctx, r.ID, r.Mounts); err != nil {
		return err
	}
	up, err := e.o.Layers.NewWritable(r.ID)
	if err != nil {
		return err
	}
	if size, _ := settings.StorageSize(r.Host.StorageOpt); size > 0 { // checked before
		if err := quota.Limit(r.ID, size, up.Work, up.Upper); err != nil {
			return errkind.New(errkind.Of(err), "--storage-opt size=%s: %w", r.Host.StorageOpt["size"], err)
		}
	}
	return e.table(r).Put(ctx, r.ID, *r)
}
