package network

import (
	"slices"

	api "github.com/moby/moby/api/types/network"

	"pier/kernel/link"
	"pier/kernel/nft"
	"pier/lib/errkind"
	"pier/lib/id"
)

// changePorts gives a running container other ports. Nobody else changes its box meanwhile: that is connecting's affair, and
// its worker's.
func (s *state) changePorts(o JoinOptions) (api.PortMap, error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	s.mu.Lock()
	old := s.boxes[o.ContainerID]
	s.mu.Unlock()
	if old == nil || !old.isolated() {
		return nil, errkind.New(errkind.Conflict, "container %s has no network of its own to which a port could lead", id.Short(o.ContainerID))
	}
	if v4, _ := old.target(); s.table == nil || !v4.IsValid() {
		return nil, errkind.New(errkind.Conflict, "container %s is on no network that can be reached from outside; connect it to one, such as bridge",
			id.Short(o.ContainerID))
	}
	kept, gone := old.sort(&o)
	b := old.with(old.endpoints)
	b.published = nil
	s.unreserve(old, gone) // first, so that a port can change hands in one step
	back := func(err error) (api.PortMap, error) {
		s.unreserve(b, slices.DeleteFunc(b.published, func(p published) bool { _, was := kept[p.key()]; return was }))
		was := old.with(old.endpoints)
		for i, p := range was.published {
			if _, held := kept[p.key()]; !held {
				was.published[i] = s.reclaim(was, p)
			}
		}
		s.swap(was)
		return nil, err
	}
	if err := s.publish(b, &o, kept); err != nil {
		return back(err)
	}
	var came []published
	for _, p := range b.published {
		if _, was := kept[p.key()]; !was {
			came = append(came, p)
		}
	}
	if err := s.table.Swap(translated(gone), translated(came)); err != nil {
		return back(err)
	}
	s.swap(b)
	s.hairpin(old, b)
	s.cut(translated(gone))
	return clonePorts(b.ports), nil
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

// reclaim takes a port back that was given up a moment ago. One that another program has taken since is the container's all
// the same, because rules come before sockets.
func (s *state) reclaim(b *box, p published) published {
	err := s.claimPort(b, p.key())
	if err == nil {
		p.hold, err = s.hold(p)
	}
	if err != nil {
		p.hold = nil
		s.log.Warn("network: a published port is not held", "container", id.Short(b.id), "port", p.from, "error", err)
	}
	return p
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
