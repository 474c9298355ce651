// Package links keeps legacy links (docker run --link): another container on the default bridge, whose address is in
// /etc/hosts and whose ports and variables are in the environment. On networks that users made a link is a name of the
// name service, and the network room's. A record's link is "ID:ALIAS".
//
// Start reading at At.
package links

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/container"

	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Peer is a container that others have links to.
type Peer struct {
	ID, Name string // name without slash
	Config   *container.Config
	Host     *container.HostConfig
	Running  bool
	Address  netip.Addr // on the default bridge; invalid: not there
}

// Book finds containers.
type Book interface {
	Peer(ref string) (Peer, error)
}

// names are those by which a linked container is known.
func (p Peer) names(alias string) []string {
	names := []string{alias}
	for _, n := range []string{p.Config.Hostname, p.Name} {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Resolve replaces the names in h's links by identifiers, so that renaming changes nothing.
func Resolve(h *container.HostConfig, book Book) error {
	for i, s := range h.Links {
		l, err := settings.ParseLink(s)
		if err != nil {
			return err
		}
		child, err := book.Peer(l.Ref)
		if err != nil {
			return errkind.New(errkind.Invalid, "could not get container for %s: %w", l.Ref, err)
		}
		if child.Host.NetworkMode.IsHost() {
			return errkind.New(errkind.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		h.Links[i] = child.ID + ":" + l.Alias
	}
	return nil
}

// Set is what links say at the start of the container that has them.
type Set struct {
	Hosts []string // name:address
	env   []string
}

// At collects the links of the container called name. Conflict where one leads to a container that does not run.
func At(name string, h *container.HostConfig, book Book) (out Set, err error) {
	if h.NetworkMode.IsUserDefined() {
		return out, nil
	}
	for _, s := range h.Links {
		l, err := settings.ParseLink(s)
		if err != nil {
			return out, err
		}
		child, err := book.Peer(l.Ref)
		switch {
		case err != nil:
			return out, err
		case !child.Running:
			return out, errkind.New(errkind.Conflict, "Cannot link to a non running container: /%s AS /%s/%s", child.Name, name, l.Alias)
		case !child.Address.IsValid():
			return out, errkind.New(errkind.Invalid, "Cannot link to /%s, as it does not belong to the default network", child.Name)
		}
		for _, n := range child.names(l.Alias) {
			out.Hosts = append(out.Hosts, fmt.Sprintf("%s:%s", n, child.Address))
		}
		out.env = append(out.env, settings.LinkEnv(name, l.Alias, child.Address, child.Config)...)
	}
	return out, nil
}

// Config is c with the variables of the links before its own, which win.
func (s Set) Config(c *container.Config) *container.Config {
	if len(s.env) == 0 {
		return c
	}
	with := *c
	with.Env = slices.Concat(s.env, c.Env)
	return &with
}

// Lines are the lines of /etc/hosts for one linked container, and the names in them.
func Lines(links []string, child Peer) (lines []byte, names []string) {
	var text bytes.Buffer
	for _, s := range links {
		if l, err := settings.ParseLink(s); err == nil && l.Ref == child.ID {
			for _, n := range child.names(l.Alias) {
				names = append(names, n)
				fmt.Fprintf(&text, "%s\t%s\n", child.Address, n)
			}
		}
	}
	return text.Bytes(), names
}

// Without returns h without the link called alias of the container called name. NotFound where it has none.
func Without(name, alias string, h *container.HostConfig) (*container.HostConfig, error) {
	next := *h
	next.Links = slices.DeleteFunc(slices.Clone(h.Links), func(s string) bool {
		l, err := settings.ParseLink(s)
		return err == nil && l.Alias == alias
	})
	if len(next.Links) == len(h.Links) {
		return nil, errkind.New(errkind.NotFound, "Cannot get parent /%s for link /%s/%s: no such link", name, name, alias)
	}
	return &next, nil
}

// Shown is h as inspect has it: links by name.
func Shown(name string, h *container.HostConfig, book Book) *container.HostConfig {
	if len(h.Links) == 0 || h.NetworkMode.IsUserDefined() {
		return h
	}
	shown := *h
	shown.Links = nil
	for _, s := range h.Links {
		l, err := settings.ParseLink(s)
		if err != nil {
			continue
		}
		if child, err := book.Peer(l.Ref); err == nil {
			shown.Links = append(shown.Links, fmt.Sprintf("/%s:/%s/%s", child.Name, name, l.Alias))
		}
	}
	return &shown
}

// Targets are the identifiers of the containers that h, of a record, has links to.
func Targets(h *container.HostConfig) (ids []string) {
	for _, s := range h.Links {
		if l, err := settings.ParseLink(s); err == nil {
			ids = append(ids, l.Ref)
		}
	}
	return ids
}
