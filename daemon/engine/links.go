package engine

import (
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/links"
)

// book finds containers for legacy links.
type book struct{ e *Engine }

// Peer implements links.Book.
func (b book) Peer(ref string) (links.Peer, error) {
	c, err := b.e.index.Find(ref)
	if err != nil {
		return links.Peer{}, err
	}
	return c.row().Peer(), nil
}

// resolveLinks replaces names by identifiers. On networks that users made the links are the endpoint's.
func (e *Engine) resolveLinks(r *row) error {
	h := r.Host
	if !h.NetworkMode.IsUserDefined() || len(h.Links) == 0 {
		return links.Resolve(h, book{e})
	}
	if ep := r.Asked[string(h.NetworkMode)]; ep == nil {
		r.Asked = map[string]*network.EndpointSettings{string(h.NetworkMode): {Links: h.Links}}
	} else if len(ep.Links) == 0 {
		ep.Links = h.Links
	}
	return nil
}

// relink tells those that have a link to a container that has just started its new address. Each is told in its worker.
func (e *Engine) relink(c *ctr) {
	for _, parent := range e.index.LinkedTo(c.id) {
		parent.work.Post(func() {
			r, child := parent.row(), c.row().Peer()
			if !r.Life.State.Alive() || !child.Running {
				return
			}
			lines, names := links.Lines(r.Host.Links, child)
			if err := e.netfiles(r.ID).ReplaceHosts(names, lines); err != nil {
				e.o.Log.Warn("link not renewed", "container", r.ID, "to", child.ID, "error", err)
			}
		})
	}
}

// unlink removes the link called alias; a running container keeps what it knows.
func (e *Engine) unlink(c *ctr, alias string) (err error) {
	next := *c.row()
	if next.Host, err = links.Without(next.Name, alias, next.Host); err != nil {
		return err
	}
	return e.rewrite(c, &next)
}
