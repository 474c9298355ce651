// Package index finds containers by identifier and by name, and those that have links to one.
//
// Start reading at Index.Find.
package index

import (
	"slices"
	"strings"
	"sync"

	"pier/lib/errkind"
	"pier/lib/id"
)

// Index finds containers, whatever stands for one. Its lock is held for map accesses only, never across anything that can
// wait, and no other lock is taken under it. Safe for concurrent use.
type Index[C any] struct {
	mu    sync.RWMutex
	byID  map[string]C
	links map[string][]string // identifier -> those that have, or had, a legacy link to it
	names map[string]string   // name without slash -> identifier; a name is here from before its container exists
}

// New returns an empty index.
func New[C any]() *Index[C] {
	return &Index[C]{byID: map[string]C{}, links: map[string][]string{}, names: map[string]string{}}
}

// Reserve takes name, without slash, for id, so that of several creators of one name exactly one goes on; the others get
// Conflict, in Docker's words.
func (x *Index[C]) Reserve(name, id string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if owner, taken := x.names[name]; taken {
		return errkind.New(errkind.Conflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, owner)
	}
	x.names[name] = id
	return nil
}

// Unreserve gives name back, where it is id's.
func (x *Index[C]) Unreserve(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names[name] == id {
		delete(x.names, name)
	}
}

// Add puts in a container that has links to the containers in linked, all by identifier. Its name was reserved before.
func (x *Index[C]) Add(id string, c C, linked []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[id] = c
	for _, to := range linked {
		x.links[to] = append(x.links[to], id)
	}
}

// LinkedTo lists the containers that have a legacy link to id.
func (x *Index[C]) LinkedTo(id string) (list []C) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, parent := range x.links[id] {
		if c, ok := x.byID[parent]; ok {
			list = append(list, c)
		}
	}
	return list
}

// Remove takes a container out, and gives its name back.
func (x *Index[C]) Remove(id, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, id)
	delete(x.links, id)
	for to, parents := range x.links {
		if parents = slices.DeleteFunc(parents, func(parent string) bool { return parent == id }); len(parents) > 0 {
			x.links[to] = parents
		} else {
			delete(x.links, to)
		}
	}
	if x.names[name] == id {
		delete(x.names, name)
	}
}

// Find resolves an identifier, a name with or without its slash, or the beginning of an identifier, in this order.
// Invalid for the beginning of several; else NotFound.
func (x *Index[C]) Find(ref string) (C, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c, ok := x.byID[ref]; ok {
		return c, nil
	}
	if c, ok := x.byID[x.names[strings.TrimPrefix(ref, "/")]]; ok {
		return c, nil
	}
	var found C
	hits := 0
	if id.Valid(ref) {
		for full, c := range x.byID {
			if strings.HasPrefix(full, ref) {
				found = c
				hits++
			}
		}
	}
	switch hits {
	case 1:
		return found, nil
	case 0:
		return found, NotFound(ref)
	}
	var none C
	return none, errkind.New(errkind.Invalid, "multiple IDs found with provided prefix: %s", ref)
}

// NotFound is the error for a container that does not exist, in Docker's words.
func NotFound(ref string) error { return errkind.New(errkind.NotFound, "No such container: %s", ref) }

// Get returns the container with that identifier, C's zero value where there is none.
func (x *Index[C]) Get(id string) C {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

// All lists the containers, in no order.
func (x *Index[C]) All() []C {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]C, 0, len(x.byID))
	for _, c := range x.byID {
		list = append(list, c)
	}
	return list
}
