package engine

import (
	"slices"
	"strings"
	"sync"

	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
	"pier/lib/id"
)

// index finds containers by identifier and name. Its lock is held for map accesses only, never across anything that
// can wait, and no other lock is taken under it.
type index struct {
	mu    sync.RWMutex
	byID  map[string]*ctr
	links map[string][]string // identifier -> those that have, or had, a legacy link to it
	names map[string]string   // name without slash -> identifier; a name is here from before its container exists
}

func newIndex() *index { return &index{byID: map[string]*ctr{}, names: map[string]string{}} }

// reserve takes name for id, so that of several creators of one name exactly one goes on.
func (x *index) reserve(name, id string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if owner, taken := x.names[name]; taken {
		return errkind.New(errkind.Conflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, owner)
	}
	x.names[name] = id
	return nil
}

func (x *index) unreserve(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names[name] == id {
		delete(x.names, name)
	}
}

func (x *index) add(c *ctr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[c.id] = c
	for _, s := range c.row().Host.Links {
		if l, err := settings.ParseLink(s); err == nil {
			if x.links == nil {
				x.links = map[string][]string{}
			}
			x.links[l.Ref] = append(x.links[l.Ref], c.id)
		}
	}
}

// linkedTo lists the containers that have a legacy link to id.
func (x *index) linkedTo(id string) (list []*ctr) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, parent := range x.links[id] {
		if c := x.byID[parent]; c != nil {
			list = append(list, c)
		}
	}
	return list
}

func (x *index) remove(c *ctr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, c.id)
	delete(x.links, c.id)
	for to, parents := range x.links {
		if parents = slices.DeleteFunc(parents, func(id string) bool { return id == c.id }); len(parents) > 0 {
			x.links[to] = parents
		} else {
			delete(x.links, to)
		}
	}
	if name := c.row().Name; x.names[name] == c.id {
		delete(x.names, name)
	}
}

// find resolves an identifier, a name with or without its slash, or the beginning of an identifier, in this order.
func (x *index) find(ref string) (*ctr, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c := x.byID[ref]; c != nil {
		return c, nil
	}
	if c := x.byID[x.names[strings.TrimPrefix(ref, "/")]]; c != nil {
		return c, nil
	}
	var found *ctr
	if id.Valid(ref) {
		for full, c := range x.byID {
			if !strings.HasPrefix(full, ref) {
				continue
			}
			if found != nil {
				return nil, errkind.New(errkind.Invalid, "multiple IDs found with provided prefix: %s", ref)
			}
			found = c
		}
	}
	if found == nil {
		return nil, errkind.New(errkind.NotFound, "No such container: %s", ref)
	}
	return found, nil
}

func (x *index) get(id string) *ctr {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

func (x *index) all() []*ctr {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]*ctr, 0, len(x.byID))
	for _, c := range x.byID {
		list = append(list, c)
	}
	return list
}

// identify returns the identifier that ref means.
func (e *Engine) identify(ref string) (string, error) {
	c, err := e.index.find(ref)
	if err != nil {
		return "", err
	}
	return c.id, nil
}
