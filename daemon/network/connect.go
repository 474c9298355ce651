package network

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/kernel/link"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Change is what became of a running container's network.
type Change struct {
	// Name is the network's.
	Name string
	// Settings is the new endpoint, or the one that is gone.
	Settings *api.EndpointSettings
	// Ports are the published ports, which may lead to another endpoint now.
	Ports api.PortMap
	// Hosts are the lines of /etc/hosts that came or went.
	Hosts []byte
	// ResolvConf is what /etc/resolv.conf has to say from now on, nil where it stays as it is.
	ResolvConf []byte
}

func (s *state) connect(_ context.Context, o JoinOptions, ref string, asked *api.EndpointSettings) (_ *Change, err error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	s.managing.Lock() // nothing shows yet that the network is in use
	defer s.managing.Unlock()
	old, e, err := s.newEndpoint(&o, ref, asked)
	if err != nil {
		return nil, err
	}
	b := old.with(append(slices.Clone(old.endpoints), e))
	defer func() {
		if err != nil {
			s.giveBack(e)
			err = fmt.Errorf("failed to set up container networking: %w", err)
		}
	}()
	if _, err := s.links.Inside(b.netns).AddInterface(s.interfaceOf(e, len(b.published) > 0)); err != nil {
		return nil, err
	}
	undo := func() {
		_ = s.reroute(b, old)
		_ = s.links.Inside(b.netns).RemoveInterface(e.net.Bridge, e.port())
	}
	if err := s.reroute(old, b); err != nil {
		undo()
		return nil, err
	}
	c := &Change{Name: e.net.Network.Name, Settings: e.settings.Copy(), Hosts: ownLines(&o, e)}
	if b.resolver == nil && b.named() {
		if err := s.resolve(b); err != nil {
			undo()
			return nil, err
		}
		c.ResolvConf = containerResolver(s.hostResolver(), &o, true, netip.Addr{}, false).text()
	}
	s.remap(old, b)
	c.Ports = clonePorts(b.ports)
	s.swap(b)
	s.tell(e.net, events.ActionConnect, "container", b.id)
	return c, nil
}

// newEndpoint checks that a container may have one more network, and takes addresses for it.
func (s *state) newEndpoint(o *JoinOptions, ref string, asked *api.EndpointSettings) (*box, *endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[o.ContainerID]
	if b == nil {
		return nil, nil, errkind.New(errkind.Conflict, "container %s has no network of its own now", id.Short(o.ContainerID))
	}
	n, err := s.find(ref)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range b.endpoints {
		if e.net == n {
			return nil, nil, errkind.New(errkind.Forbidden, "endpoint with name %s already exists in network %s", b.name, n.Network.Name)
		}
	}
	if err := combinable(b, n); err != nil {
		return nil, nil, err
	}
	e := &endpoint{net: n, settings: asked.Copy()}
	if e.settings == nil {
		e.settings = &api.EndpointSettings{}
	}
	if err := e.fill(o); err != nil {
		e.release()
		return nil, nil, err
	}
	return b, e, nil
}

// combinable reports why n cannot be a further network of b, in Docker's words.
func combinable(b *box, n *network) error {
	if b.netns == nil {
		return errkind.New(errkind.Forbidden, "container sharing network namespace with another container or host cannot be connected to any other network")
	}
	for _, e := range append(slices.Clone(b.endpoints), &endpoint{net: n}) {
		switch e.net.Network.Driver {
		case "host":
			return errkind.New(errkind.Forbidden, "container cannot be connected to host network or disconnected from host network")
		case "null":
			return errkind.New(errkind.Forbidden, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
	}
	return nil
}

func (s *state) disconnect(_ context.Context, o JoinOptions, ref string) (*Change, error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	s.mu.Lock()
	old := s.boxes[o.ContainerID]
	n, err := s.find(ref)
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case n.Network.Driver == "host":
		return nil, errkind.New(errkind.Forbidden, "container cannot be disconnected from host network or connected to host network")
	case old == nil:
		return nil, errkind.New(errkind.Conflict, "container %s has no network of its own now", id.Short(o.ContainerID))
	}
	at := slices.IndexFunc(old.endpoints, func(e *endpoint) bool { return e.net == n })
	if at < 0 {
		return nil, errkind.New(errkind.Forbidden, "container %s is not connected to network %s", o.Name, n.Network.Name)
	}
	e := old.endpoints[at]
	b := old.with(slices.Delete(slices.Clone(old.endpoints), at, at+1))
	// The interface goes last: connections by it end only when nothing leads to it any more.
	s.remap(old, b)
	if err := s.reroute(old, b); err != nil {
		return nil, err
	}
	if e.net.Bridge != "" {
		if err := s.links.Inside(b.netns).RemoveInterface(e.net.Bridge, e.port()); err != nil {
			return nil, err
		}
	}
	s.swap(b)
	s.giveBack(e)
	s.tell(n, events.ActionDisconnect, "container", b.id)
	return &Change{Name: n.Network.Name, Settings: e.settings.Copy(), Ports: clonePorts(b.ports), Hosts: ownLines(&o, e)}, nil
}

// mend makes what the kernel has of b on one network what the record says.
func (s *state) mend(o JoinOptions, ref string) (*Change, error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	s.mu.Lock()
	b := s.boxes[o.ContainerID]
	n, err := s.find(ref)
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case b == nil || b.netns == nil || n.Bridge == "":
		return nil, errkind.New(errkind.Conflict, "container %s has no network of its own now", id.Short(o.ContainerID))
	}
	inside := s.links.Inside(b.netns)
	port := ""
	at := slices.IndexFunc(b.endpoints, func(e *endpoint) bool { return e.net == n })
	if at >= 0 {
		port = b.endpoints[at].port()
	}
	found, err := inside.OnBridge(n.Bridge, port)
	if err != nil {
		return nil, err
	}
	c := &Change{Name: n.Network.Name, Ports: clonePorts(b.ports)}
	if at >= 0 {
		e := b.endpoints[at]
		if len(found) == 0 {
			_, err = inside.AddInterface(s.interfaceOf(e, len(b.published) > 0))
		}
		c.Settings, c.Hosts = e.settings.Copy(), ownLines(&o, e)
	} else {
		var own []netip.Addr
		for _, f := range found {
			for _, a := range f.Addresses {
				own = append(own, a.Addr())
			}
		}
		err = inside.RemoveInterface(n.Bridge, port)
		c.Hosts = nameLines(&o, own)
		_, gateway6 := b.gateways()
		host := s.hostResolver()
		c.ResolvConf = containerResolver(host, &o, b.resolver != nil, s.names.fallback(b, host), gateway6.IsValid()).text()
	}
	if err == nil {
		v4, v6 := b.gateways()
		err = inside.SetGateways(v4, v6)
	}
	return c, err
}

// with is b on other networks. What it holds is b's, so only one of the two may be closed.
func (b *box) with(endpoints []*endpoint) *box {
	next := *b
	next.endpoints, next.published, next.ports = endpoints, slices.Clone(b.published), clonePorts(b.ports)
	return &next
}

// swap puts b in the place of what was known of its container.
func (s *state) swap(b *box) {
	if b.resolver != nil {
		b.resolver.box.Store(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes[b.id] = b
}

// reroute changes the way out where it is another one on the new networks.
func (s *state) reroute(old, b *box) error {
	was4, was6 := old.gateways()
	v4, v6 := b.gateways()
	if was4 == v4 && was6 == v6 {
		return nil
	}
	return s.links.Inside(b.netns).SetGateways(v4, v6)
}

// remap leads the published ports to where the container is reached now.
func (s *state) remap(old, b *box) {
	was4, was6 := old.target()
	v4, v6 := b.target()
	if was4 == v4 && was6 == v6 || len(b.ports) == 0 {
		return
	}
	if s.table != nil {
		if ports := old.forwarded(); len(ports) > 0 {
			s.table.Remove(ports...)
		}
	}
	s.vacate(b, b.published) // not free for others meanwhile
	b.published = nil
	s.republish(b)
	s.vacated(b)
}

func (s *state) giveBack(e *endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.release()
}

// release gives the addresses of e back; the lock is held.
func (e *endpoint) release() {
	for _, p := range e.net.pools {
		p.give(e.settings.IPAddress, e.strange())
		p.give(e.settings.GlobalIPv6Address, false) // announced in any case
	}
}

// strange reports whether the IPv4 address of e has not the hardware address that it mostly has, the one made of it.
func (e *endpoint) strange() bool {
	set := e.settings
	return set.IPAddress.IsValid() && !bytes.Equal(set.MacAddress, usualMAC(set.IPAddress))
}

// port is the name of e's end at home: the same as long as e is.
func (e *endpoint) port() string { return link.PortName(e.settings.EndpointID) }

// interfaceOf describes e's interface to the kernel, but for its name.
func (s *state) interfaceOf(e *endpoint, published bool) link.Interface {
	f := link.Interface{Bridge: e.net.Bridge, Port: e.port(), MAC: net.HardwareAddr(e.settings.MacAddress), MTU: s.mtu, Hairpin: published && s.filtered(),
		Announce: e.wasStrange || e.strange() || e.settings.GlobalIPv6Address.IsValid(), Addresses: []netip.Prefix{prefix(e.settings.IPAddress, e.settings.IPPrefixLen)}}
	if e.settings.GlobalIPv6Address.IsValid() {
		f.Addresses = append(f.Addresses, prefix(e.settings.GlobalIPv6Address, e.settings.GlobalIPv6PrefixLen))
	}
	if c := e.settings.IPAMConfig; c != nil {
		for _, a := range c.LinkLocalIPs {
			f.Addresses = append(f.Addresses, prefix(a, map[bool]int{true: 16, false: 64}[a.Is4()]))
		}
	}
	return f
}

// filtered reports whether the host filters bridged traffic.
func (s *state) filtered() bool {
	v, err := s.links.Sysctl(nil, "net.bridge.bridge-nf-call-iptables")
	return err == nil && v != "0"
}

// Resolved returns the networks that were asked for under the names they are known by. A network that is gone keeps the
// name it was asked for by.
func (n *Networks) Resolved(asked map[string]*api.EndpointSettings) map[string]*api.EndpointSettings {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	out := maps.Clone(asked)
	for ref, e := range asked {
		if net, err := n.state.find(ref); err == nil && net.Network.Name != ref {
			delete(out, ref)
			out[net.Network.Name] = e
		}
	}
	return out
}
