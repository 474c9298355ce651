package network

import (
	"io"
	"slices"

	api "github.com/moby/moby/api/types/network"

	"pier/kernel/link"
	"pier/kernel/nft"
	"pier/lib/errkind"
	"pier/lib/id"
)

// changePorts gives a running container other ports, see Networks.Publish. Nobody else changes its box meanwhile: that is
// connecting's affair, and its worker's.
func (s *state) changePorts(o JoinOptions, more bool) (api.PortMap, func(keep bool), error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	s.mu.Lock()
	old := s.boxes[o.ContainerID]
	s.mu.Unlock()
	if old == nil || !old.isolated() {
		return nil, nil, errkind.New(errkind.Conflict, "container %s has no network of its own to which a port could lead", id.Short(o.ContainerID))
	}
	if v4, _ := old.target(); s.table == nil || !v4.IsValid() {
		if more {
			return nil, nil, errkind.New(errkind.Conflict, "container %s is on no network that can be reached from outside; connect it to one, such as bridge",
				id.Short(o.ContainerID))
		}
		b := old.with(old.endpoints)
		b.forget(&o)
		s.swap(b)
		return clonePorts(b.ports), func(keep bool) {
			if !keep {
				s.swap(old)
			}
		}, nil
	}
	kept, gone := old.sort(&o)
	b := old.with(old.endpoints)
	b.published = nil
	s.vacate(b, gone) // first, so that a port can change hands in one step
	if err := s.publish(b, &o, kept); err != nil {
		s.takeBack(old, b, kept)
		return nil, nil, err
	}
	var came []published
	for _, p := range b.published {
		if _, was := kept[p.key()]; !was {
			came = append(came, p)
		}
	}
	if err := s.table.Swap(translated(gone), translated(came)); err != nil {
		s.takeBack(old, b, kept)
		return nil, nil, err
	}
	s.swap(b)
	s.hairpin(old, b)
	return clonePorts(b.ports), func(keep bool) {
		s.connecting.Lock()
		defer s.connecting.Unlock()
		if keep {
			s.vacated(b)
			s.cut(translated(gone))
			return
		}
		if err := s.table.Swap(translated(came), translated(gone)); err != nil {
			s.log.Error("network: a container's published ports are not what its record says; start it again", "container", id.Short(b.id), "error", err)
		}
		s.takeBack(old, b, kept)
	}, nil
}

// forget drops the bindings that are not among those of o, of a box that no port leads to.
func (b *box) forget(o *JoinOptions) {
	for port, list := range b.ports {
		b.ports[port] = slices.DeleteFunc(list, func(have api.PortBinding) bool { return !slices.Contains(o.Ports[port], have) })
		_, asked := o.Ports[port]
		if _, exposed := o.Exposed[port]; !asked && !exposed {
			delete(b.ports, port)
		}
	}
}

// vacate lets b, and nobody else, have ports that are its own for something else. They are free only with vacated: until then
// it can have them back.
func (s *state) vacate(b *box, ports []published) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving[b.id] = slices.Clone(ports)
	for _, p := range ports {
		if s.ports[p.key()] == b.id {
			delete(s.ports, p.key())
		}
	}
}

// vacated ends what vacate began.
func (s *state) vacated(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.leaving[b.id] {
		p.close()
	}
	delete(s.leaving, b.id)
}

// takeBack undoes vacate: b, which was to take the place of old, gives up what it has got but for what is kept.
func (s *state) takeBack(old, b *box, kept map[portKey]published) {
	s.unreserve(b, slices.DeleteFunc(slices.Clone(b.published), func(p published) bool { _, was := kept[p.key()]; return was }))
	was := old.with(old.endpoints)
	s.mu.Lock()
	held := map[portKey]io.Closer{}
	for _, p := range s.leaving[b.id] {
		held[p.key()] = p.hold
		s.ports[p.key()] = b.id
	}
	delete(s.leaving, b.id)
	s.mu.Unlock()
	for i, p := range was.published {
		hold, left := held[p.key()]
		if left && hold == nil { // its socket made room
			var err error
			if hold, err = s.hold(p); err != nil {
				s.log.Warn("network: a published port is not held", "container", id.Short(b.id), "port", p.from, "error", err)
			}
		}
		if left {
			was.published[i].hold = hold
		}
	}
	s.swap(was)
}

// sort tells the ports of b that are among those of o, each as it is and leading to where it leads, from the others.
func (b *box) sort(o *JoinOptions) (kept map[portKey]published, gone []published) {
	kept = map[portKey]published{}
	for _, p := range b.published {
		port, _ := api.PortFrom(p.to.Port(), p.proto)
		if slices.ContainsFunc(o.Ports[port], func(binding api.PortBinding) bool { return exactly(port, binding) == p.key() }) {
			kept[p.key()] = p
		} else {
			gone = append(gone, p)
		}
	}
	return kept, gone
}

// hairpin lets the container reach its own ports where that takes one, which only containers with ports have.
func (s *state) hairpin(old, b *box) {
	if len(old.published) > 0 || len(b.published) == 0 || !s.filtered() {
		return
	}
	for _, e := range b.endpoints {
		if err := s.links.Inside(b.netns).Hairpin(e.net.Bridge); err != nil {
			s.log.Warn("network: a container may not reach its own published ports", "container", id.Short(b.id), "error", err)
		}
	}
}

// cut ends the connections that the kernel still leads through ports that are closed.
func (s *state) cut(ports []nft.Port) {
	if len(ports) == 0 {
		return
	}
	var flows []link.Flow
	for _, p := range ports {
		flows = append(flows, link.Flow(p))
	}
	if err := s.links.Do(nil, func() error { return link.Forget(flows) }); err != nil {
		s.log.Warn("network: connections through closed ports go on until they are idle", "error", err)
	}
}
