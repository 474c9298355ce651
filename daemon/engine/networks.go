package engine

import (
	"context"
	"maps"

	"github.com/moby/moby/api/types/network"

	netroom "pier/daemon/network"
	"pier/lib/errkind"
)

// Endpoints are the containers' places on networks.
type Endpoints struct{ e *Engine }

// Endpoints returns the containers' places on networks.
func (e *Engine) Endpoints() *Endpoints { return &Endpoints{e} }

// Connect puts a container on one more network, at once where it runs. Forbidden, in Docker's words, where it is there
// already or its mode allows no second one.
func (p *Endpoints) Connect(ctx context.Context, ref, net string, asked *network.EndpointSettings) error {
	e := p.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	found, err := e.o.Networks.Get(net)
	if err != nil {
		return err
	}
	if asked == nil {
		asked = &network.EndpointSettings{}
	}
	return c.do(ctx, func() error {
		r := c.row()
		next, all := e.listed(r)
		if mode := r.Host.NetworkMode; mode.IsContainer() || mode.IsHost() || found.Driver == "host" || found.Driver == "null" {
			return errkind.New(errkind.Forbidden, "container sharing network namespace with another container or host cannot be connected to any other network")
		}
		if _, none := all[network.NetworkNone]; none {
			return errkind.New(errkind.Forbidden, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
		if _, there := all[found.Name]; there {
			return errkind.New(errkind.Forbidden, "endpoint with name %s already exists in network %s", r.Name, found.Name)
		}
		if !r.Life.State.Alive() {
			all[found.Name] = asked
			if len(r.Settings) > 0 {
				next.Settings[found.Name] = &network.EndpointSettings{IPAMConfig: asked.IPAMConfig, Links: asked.Links, Aliases: asked.Aliases,
					DriverOpts: asked.DriverOpts, NetworkID: found.ID}
			}
			return e.rewrite(c, next)
		}
		if err := e.beginRewiring(r, found.ID); err != nil {
			return err
		}
		change, err := e.o.Networks.Connect(ctx, r.JoinOptions(), net, asked)
		if err != nil {
			_ = e.save(r)
			return err
		}
		all[found.Name] = asked
		next.Settings[found.Name], next.Ports = change.Settings, change.Ports
		e.renew(r, change, true)
		if err := e.rewrite(c, next); err != nil {
			if _, undoErr := e.o.Networks.Disconnect(context.WithoutCancel(ctx), r.JoinOptions(), found.ID); undoErr == nil {
				e.renew(r, change, false)
			}
			return err
		}
		return nil
	})
}

// Disconnect takes a container off a network, at once where it runs. Forbidden where it is not on it, unless forced: then
// that is no error.
func (p *Endpoints) Disconnect(ctx context.Context, ref, net string, force bool) error {
	e := p.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	name := net
	found, err := e.o.Networks.Get(net)
	if err == nil {
		name = found.Name
	} else if !force {
		return err
	}
	return c.do(ctx, func() error {
		r := c.row()
		next, all := e.listed(r)
		if r.Host.NetworkMode.IsHost() || r.Host.NetworkMode.IsContainer() {
			return errkind.New(errkind.Forbidden, "container cannot be disconnected from host network or connected to host network")
		}
		if _, there := all[name]; !there {
			if force {
				return nil
			}
			return errkind.New(errkind.Forbidden, "container %s is not connected to network %s", r.ID, name)
		}
		delete(all, name)
		delete(next.Settings, name)
		if !r.Life.State.Alive() {
			return e.rewrite(c, next)
		}
		if err := e.beginRewiring(r, name); err != nil {
			return err
		}
		change, err := e.o.Networks.Disconnect(ctx, r.JoinOptions(), name)
		if err != nil {
			_ = e.save(r)
			return err
		}
		next.Ports = change.Ports
		e.renew(r, change, false)
		return e.rewrite(c, next)
	})
}

// beginRewiring notes which of a container's interfaces is about to come or go: a daemon that finds the note mends what was
// cut off. The next save of the record, without it, is the end.
func (e *Engine) beginRewiring(r *row, net string) error {
	next := *r
	next.Rewiring = net
	return e.save(&next)
}

// mend takes back what a former daemon had done of a connect or disconnect whose end is in no record.
func (e *Engine) mend(ctx context.Context, c *ctr) {
	r := c.row()
	change, err := e.o.Networks.Mend(ctx, r.JoinOptions(), r.Rewiring)
	switch {
	case errkind.Is(err, errkind.NotFound): // the network is gone, and the interface with it
		err = e.save(c.change(func(r *row) { r.Rewiring = "" }))
	case err == nil:
		e.renew(r, change, false)
		if change.Settings != nil {
			e.renew(r, change, true)
		}
		err = e.save(c.change(func(r *row) { r.Rewiring = "" }))
	}
	if err != nil {
		e.o.Log.Error("container's place on a network is not what its record says; disconnect it and connect it again", "container", c.id,
			"network", r.Rewiring, "error", err)
	}
}

// listed copies a row in which Asked lists all networks, by name; all is that list.
func (e *Engine) listed(r *row) (next *row, all map[string]*network.EndpointSettings) {
	copied := *r
	all = e.o.Networks.Resolved(r.Asked)
	if all == nil {
		all = map[string]*network.EndpointSettings{}
	}
	mode := string(r.Host.NetworkMode)
	if found, err := e.o.Networks.Get(mode); err == nil {
		mode = found.Name
	}
	if _, there := all[mode]; !there && !r.Only {
		all[mode] = &network.EndpointSettings{}
	}
	copied.Asked, copied.Only, copied.Settings = all, true, maps.Clone(r.Settings)
	if copied.Settings == nil {
		copied.Settings = map[string]*network.EndpointSettings{}
	}
	return &copied, all
}

// rewrite saves a row in the place of the container's present one. Only the worker calls it.
func (e *Engine) rewrite(c *ctr, next *row) error {
	if err := e.save(next); err != nil {
		return err
	}
	c.change(func(r *row) { *r = *next })
	return nil
}

// renew brings the container's own files up to date.
func (e *Engine) renew(r *row, change *netroom.Change, came bool) {
	files := e.netfiles(r.ID)
	edit := files.RemoveHosts
	if came {
		edit = files.AddHosts
	}
	if err := edit(change.Hosts); err != nil {
		e.o.Log.Warn("hosts not renewed", "container", r.ID, "error", err)
	}
	if change.ResolvConf == nil {
		return
	}
	if err := files.SetResolvConf(change.ResolvConf); err != nil {
		e.o.Log.Warn("resolv.conf not renewed", "container", r.ID, "error", err)
	}
}
