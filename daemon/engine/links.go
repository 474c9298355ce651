package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Legacy links (docker run --link) name another container on the default bridge: its address is in /etc/hosts and its
// ports and variables are in the environment. On networks that users made they are names of the name service, and the
// network room's. A record's link is "ID:ALIAS".

// resolveLinks replaces the names in links by identifiers, so that renaming changes nothing. On networks that users made
// the links are the endpoint's.
func (e *Engine) resolveLinks(r *row) error {
	h := r.Host
	if len(h.Links) == 0 {
		return nil
	}
	if h.NetworkMode.IsUserDefined() {
		if ep := r.Asked[string(h.NetworkMode)]; ep == nil {
			r.Asked = map[string]*network.EndpointSettings{string(h.NetworkMode): {Links: h.Links}}
		} else if len(ep.Links) == 0 {
			ep.Links = h.Links
		}
		return nil
	}
	for i, s := range h.Links {
		l, err := settings.ParseLink(s)
		if err != nil {
			return err
		}
		child, err := e.index.find(l.Ref)
		if err != nil {
			return errkind.New(errkind.Invalid, "could not get container for %s: %w", l.Ref, err)
		}
		if child.row().Host.NetworkMode.IsHost() {
			return errkind.New(errkind.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		h.Links[i] = child.id + ":" + l.Alias
	}
	return nil
}

// linked is what a container's links say at its start: lines for /etc/hosts and variables.
type linked struct{ hosts, env []string }

func (e *Engine) links(r *row) (out linked, err error) {
	if len(r.Host.Links) == 0 || r.Host.NetworkMode.IsUserDefined() {
		return out, nil
	}
	for _, s := range r.Host.Links {
		l, err := settings.ParseLink(s)
		if err != nil {
			return out, err
		}
		child, err := e.index.find(l.Ref)
		if err != nil {
			return out, err
		}
		c := child.row()
		if !c.Life.State.Alive() {
			return out, errkind.New(errkind.Conflict, "Cannot link to a non running container: /%s AS /%s/%s", c.Name, r.Name, l.Alias)
		}
		address := bridgeAddress(c)
		if !address.IsValid() {
			return out, errkind.New(errkind.Invalid, "Cannot link to /%s, as it does not belong to the default network", c.Name)
		}
		for _, name := range linkNames(l, c) {
			out.hosts = append(out.hosts, fmt.Sprintf("%s:%s", name, address))
		}
		out.env = append(out.env, settings.LinkEnv(r.Name, l.Alias, address, c.Config)...)
	}
	return out, nil
}

func bridgeAddress(r *row) netip.Addr {
	if ep := r.Settings[network.NetworkBridge]; ep != nil {
		return ep.IPAddress
	}
	return netip.Addr{}
}

// linkNames are the names by which a linked container is known.
func linkNames(l settings.Link, child *row) []string {
	names := []string{l.Alias}
	for _, n := range []string{child.Config.Hostname, child.Name} {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// env puts the variables of links before the container's own, which win.
func (l linked) config(c *container.Config) *container.Config {
	if len(l.env) == 0 {
		return c
	}
	with := *c
	with.Env = slices.Concat(l.env, c.Env)
	return &with
}

// relink tells those that have a link to a container that has just started its new address. Each is told in its worker.
func (e *Engine) relink(c *ctr) {
	for _, parent := range e.index.linkedTo(c.id) {
		parent.work.post(func() {
			r, child := parent.row(), c.row()
			if !r.Life.State.Alive() || !child.Life.State.Alive() {
				return
			}
			if err := e.relinkHosts(r, child); err != nil {
				e.o.Log.Warn("link not renewed", "container", r.ID, "to", child.ID, "error", err)
			}
		})
	}
}

func (e *Engine) relinkHosts(r, child *row) error {
	name := filepath.Join(e.dir(r.ID), "hosts")
	old, err := readBounded(name, maxHosts)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range r.Host.Links {
		if l, err := settings.ParseLink(s); err == nil && l.Ref == child.ID {
			names = append(names, linkNames(l, child)...)
		}
	}
	var text bytes.Buffer
	for line := range strings.Lines(string(old)) {
		if words := strings.Fields(line); len(words) != 2 || !slices.Contains(names, words[1]) {
			text.WriteString(line)
		}
	}
	for _, n := range names {
		fmt.Fprintf(&text, "%s\t%s\n", bridgeAddress(child), n)
	}
	return os.WriteFile(name, text.Bytes(), 0o644)
}

// unlink removes the link "PARENT/ALIAS"; a running container keeps what it knows.
func (e *Engine) unlink(c *ctr, alias string) error {
	next := *c.row()
	host, err := settings.Clone(next.Host)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(host.Links, func(s string) bool {
		l, err := settings.ParseLink(s)
		return err == nil && l.Alias == alias
	})
	if at < 0 {
		return errkind.New(errkind.NotFound, "Cannot get parent /%s for link /%s/%s: no such link", next.Name, next.Name, alias)
	}
	host.Links = slices.Delete(host.Links, at, at+1)
	next.Host = host
	return e.rewrite(c, &next)
}

// shownHost is the container's HostConfig as inspect has it: links by name.
func (e *Engine) shownHost(r *row) *container.HostConfig {
	if len(r.Host.Links) == 0 || r.Host.NetworkMode.IsUserDefined() {
		return r.Host
	}
	shown := *r.Host
	shown.Links = nil
	for _, s := range r.Host.Links {
		l, err := settings.ParseLink(s)
		child := e.index.get(l.Ref)
		if err != nil || child == nil {
			continue
		}
		shown.Links = append(shown.Links, fmt.Sprintf("/%s:/%s/%s", child.row().Name, r.Name, l.Alias))
	}
	return &shown
}
