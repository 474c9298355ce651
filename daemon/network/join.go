package network

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/kernel/link"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/lib/id"
)

// embeddedDNS is where the name service answers inside containers on networks of their own, as with Docker.
var embeddedDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// box is the network side of one container. Its fields do not change once it is in state.boxes.
type box struct {
	id, name  string
	netns     *os.File // nil in mode host
	endpoints []*endpoint
	published []published
	ports     api.PortMap
	dns       []netip.Addr // the container's own upstream servers
	resolver  *listener    // the name service inside, nil if it has none
}

// endpoint is one interface of a box.
type endpoint struct {
	net        *network
	settings   *api.EndpointSettings
	wasStrange bool // an address may be known with the hardware address of its last owner
}

func (b *box) close() {
	b.resolver.close()
	for _, p := range b.published {
		p.close()
	}
	if b.netns != nil {
		_ = b.netns.Close()
	}
}

func (s *state) join(ctx context.Context, o JoinOptions) (_ *Sandbox, err error) {
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	if other, ok := strings.CutPrefix(o.Mode, "container:"); ok {
		return s.share(other)
	}
	b := &box{id: o.ContainerID, name: o.Name, dns: o.DNS}
	defer func() {
		if err != nil {
			s.undo(b)
			err = fmt.Errorf("failed to set up container networking: %w", err)
		}
	}()
	if err := s.attach(b, &o); err != nil {
		return nil, err
	}
	if err := s.publish(b, &o, nil); err != nil {
		return nil, err
	}
	if b.isolated() {
		if b.netns, err = s.links.NewNamespace(s.sandbox(b, &o)); err != nil {
			return nil, err
		}
	}
	if err := s.forward(b); err != nil {
		return nil, err
	}
	if err := s.resolve(b); err != nil {
		return nil, err
	}
	if err := s.enter(b); err != nil {
		return nil, err
	}
	return s.result(b, &o)
}

// isolated reports whether b has a network namespace of its own.
func (b *box) isolated() bool {
	return len(b.endpoints) != 1 || b.endpoints[0].net.Network.Driver != "host"
}

// named reports whether the name service answers for b: it is on a network that is not predefined.
func (b *box) named() bool {
	return slices.ContainsFunc(b.endpoints, func(e *endpoint) bool { return !predefined(e.net.Network.Name) })
}

// attach finds the networks and takes the addresses.
func (s *state) attach(b *box, o *JoinOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[o.ContainerID] != nil {
		return errkind.New(errkind.Conflict, "container %s has joined its network already", id.Short(o.ContainerID))
	}
	mode := cmp.Or(o.Mode, api.NetworkBridge)
	if s.bridge == noBridge && (mode == api.NetworkBridge || mode == api.NetworkDefault) && len(o.Endpoints) == 0 {
		mode = api.NetworkNone
	}
	first, err := s.find(mode)
	if err != nil && !o.Only {
		return err
	}
	asked := map[*network]*api.EndpointSettings{}
	if !o.Only {
		asked[first] = nil
	} else if len(o.Endpoints) == 0 {
		return nil
	}
	for ref, e := range o.Endpoints {
		n, err := s.find(ref)
		if err != nil {
			return err
		}
		asked[n] = e
	}
	nets := slices.SortedFunc(maps.Keys(asked), func(a, b *network) int {
		if a == first || b == first {
			return map[bool]int{true: -1, false: 1}[a == first]
		}
		return cmp.Compare(a.Network.Name, b.Network.Name)
	})
	for _, n := range nets {
		if len(nets) > 1 && n.Bridge == "" {
			return errkind.New(errkind.Invalid, "container cannot be connected to network endpoints: %s network cannot be combined with others", n.Network.Name)
		}
		e := &endpoint{net: n, settings: asked[n].Copy()}
		if e.settings == nil {
			e.settings = &api.EndpointSettings{}
		}
		if n == first && len(o.MacAddress) > 0 {
			e.settings.MacAddress = slices.Clone(o.MacAddress)
		}
		b.endpoints = append(b.endpoints, e)
		if err := e.fill(o); err != nil {
			return err
		}
	}
	return nil
}

// fill takes addresses for e and writes them into its settings; the lock is held. What was taken before an error is in
// the settings and goes back with them.
func (e *endpoint) fill(o *JoinOptions) error {
	n, set := e.net, e.settings
	set.NetworkID, set.EndpointID = n.Network.ID, id.New()
	set.IPAddress, set.GlobalIPv6Address, set.Gateway, set.IPv6Gateway = netip.Addr{}, netip.Addr{}, netip.Addr{}, netip.Addr{}
	set.DNSNames = nil
	if n.Bridge == "" {
		return nil
	}
	var want api.EndpointIPAMConfig
	if set.IPAMConfig != nil {
		want = *set.IPAMConfig
	}
	for _, a := range want.LinkLocalIPs {
		if !a.IsLinkLocalUnicast() {
			return errkind.New(errkind.Invalid, "invalid link local IP address: %s", a)
		}
	}
	for option := range set.DriverOpts {
		return errkind.New(errkind.Unsupported, "endpoint option %q is not supported: connect the container without it", option)
	}
	if predefined(n.Network.Name) {
		if want.IPv4Address.IsValid() || want.IPv6Address.IsValid() {
			return errkind.New(errkind.Invalid, "user specified IP address is supported on user defined networks only")
		}
		if len(set.Aliases) > 0 {
			return errkind.New(errkind.Invalid, "network-scoped alias is supported only for containers in user defined networks")
		}
	} else {
		set.DNSNames = dnsNames(o, set.Aliases)
	}
	earlier := o.Earlier[n.Network.Name]
	for i, p := range n.pools {
		fixed, before := want.IPv4Address, earlier.IPv4
		if p.subnet.Addr().Is6() {
			fixed, before = want.IPv6Address, earlier.IPv6
		}
		if p.subnet.Addr().Is4() && set.IPAddress.IsValid() || p.subnet.Addr().Is6() && set.GlobalIPv6Address.IsValid() {
			continue // several ranges of one family: the first that fits
		}
		if fixed.IsValid() && !p.subnet.Contains(fixed) {
			continue
		}
		a, err := fixed, error(nil)
		if fixed.IsValid() {
			err = p.claim(fixed)
		} else {
			a, err = p.takeAgain(before)
		}
		if err != nil {
			return err
		}
		gateway := n.Network.IPAM.Config[i].Gateway
		if n.Network.Internal {
			gateway = netip.Addr{}
		}
		e.wasStrange = p.wasStrange(a) || e.wasStrange
		if a.Is4() {
			set.IPAddress, set.IPPrefixLen, set.Gateway = a, p.subnet.Bits(), gateway
		} else {
			set.GlobalIPv6Address, set.GlobalIPv6PrefixLen, set.IPv6Gateway = a, p.subnet.Bits(), gateway
		}
	}
	if want.IPv4Address.IsValid() && !set.IPAddress.IsValid() || want.IPv6Address.IsValid() && !set.GlobalIPv6Address.IsValid() {
		return errkind.New(errkind.Invalid, "invalid endpoint settings: no configured subnet or ip-range contain the IP address %s",
			map[bool]netip.Addr{true: want.IPv4Address, false: want.IPv6Address}[want.IPv4Address.IsValid() && !set.IPAddress.IsValid()])
	}
	if !set.IPAddress.IsValid() {
		return errkind.New(errkind.Exhausted, "network %s has no IPv4 address range", n.Network.Name)
	}
	if len(set.MacAddress) == 0 && set.IPAddress == earlier.IPv4 {
		set.MacAddress = slices.Clone(earlier.MAC)
	}
	if len(set.MacAddress) == 0 {
		set.MacAddress = usualMAC(set.IPAddress)
	} else if len(set.MacAddress) != 6 || set.MacAddress[0]&1 != 0 {
		return errkind.New(errkind.Invalid, "invalid MAC address %s: not the address of one host", set.MacAddress)
	}
	return nil
}

// usualMAC is the hardware address of who has an IPv4 address and asks for none.
func usualMAC(ip netip.Addr) api.HardwareAddr {
	a := ip.As4()
	return api.HardwareAddr{0x02, 0x42, a[0], a[1], a[2], a[3]}
}

// dnsNames are the names under which a container is known on a network.
func dnsNames(o *JoinOptions, aliases []string) (names []string) {
	for _, name := range append(append([]string{o.Name}, aliases...), id.Short(o.ContainerID), o.Hostname) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// sandbox describes b's namespace to the kernel.
func (s *state) sandbox(b *box, o *JoinOptions) link.Sandbox {
	l := link.Sandbox{Sysctls: o.Sysctls}
	gateway4, gateway6 := b.gateways()
	hairpin := len(b.published) > 0 && s.filtered()
	for i, e := range b.endpoints {
		if e.net.Bridge == "" {
			continue
		}
		f := s.interfaceOf(e, false)
		f.Name, f.Hairpin = fmt.Sprintf("eth%d", i), hairpin
		l.Interfaces = append(l.Interfaces, f)
	}
	for _, g := range []netip.Addr{gateway4, gateway6} {
		if g.IsValid() {
			l.Gateways = append(l.Gateways, g)
		}
	}
	return l
}

// gateways returns the way out for each family: by the endpoint of the highest priority, then by name.
func (b *box) gateways() (v4, v6 netip.Addr) {
	order := slices.SortedStableFunc(slices.Values(b.endpoints), func(a, b *endpoint) int {
		return cmp.Or(cmp.Compare(b.settings.GwPriority, a.settings.GwPriority), cmp.Compare(a.net.Network.Name, b.net.Network.Name))
	})
	for _, e := range order {
		if !v4.IsValid() {
			v4 = e.settings.Gateway
		}
		if !v6.IsValid() {
			v6 = e.settings.IPv6Gateway
		}
	}
	return v4, v6
}

// share joins the namespace of another container.
func (s *state) share(other string) (*Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[other]
	if b == nil {
		return nil, errkind.New(errkind.Conflict, "cannot join network of a non running container: %s", other)
	}
	box := &Sandbox{Settings: map[string]*api.EndpointSettings{}}
	if b.netns == nil {
		return box, nil
	}
	var err error
	box.Netns, err = duplicate(b.netns)
	return box, err
}

// enter puts b among the others and tells so.
func (s *state) enter(b *box) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errkind.New(errkind.Unavailable, "networks are closed")
	}
	s.boxes[b.id] = b
	for _, e := range b.endpoints {
		s.tell(e.net, events.ActionConnect, "container", b.id)
	}
	return nil
}

func (s *state) leave(containerID string) {
	s.mu.Lock()
	b := s.boxes[containerID]
	delete(s.boxes, containerID)
	s.mu.Unlock()
	if b == nil {
		return
	}
	s.undo(b)
	for _, e := range b.endpoints {
		s.tell(e.net, events.ActionDisconnect, "container", b.id)
	}
}

// undo gives back all that b has: closing the last reference of the namespace removes the links.
func (s *state) undo(b *box) {
	if s.table != nil {
		if ports := b.forwarded(); len(ports) > 0 {
			s.table.Remove(ports...)
		}
	}
	b.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range b.published {
		if s.ports[p.key()] == b.id {
			delete(s.ports, p.key())
		}
	}
	for _, e := range b.endpoints {
		e.release()
	}
}

// result is what Join returns: copies, and files for the container.
func (s *state) result(b *box, o *JoinOptions) (*Sandbox, error) {
	r := &Sandbox{Settings: map[string]*api.EndpointSettings{}, Ports: clonePorts(b.ports)}
	var own []netip.Addr
	for _, e := range b.endpoints {
		r.Settings[e.net.Network.Name] = e.settings.Copy()
		for _, a := range []netip.Addr{e.settings.IPAddress, e.settings.GlobalIPv6Address} {
			if a.IsValid() {
				own = append(own, a)
			}
		}
	}
	host := s.hostResolver()
	if b.netns == nil {
		r.Hosts, r.ResolvConf = hostModeFiles(s.resolvConf, o)
		return r, nil
	}
	gateway, gateway6 := b.gateways()
	r.Hosts = hostsFile(o, own, gateway)
	r.ResolvConf = containerResolver(host, o, b.resolver != nil, s.names.fallback(b, host), gateway6.IsValid()).text()
	var err error
	r.Netns, err = duplicate(b.netns)
	return r, err
}

func clonePorts(m api.PortMap) api.PortMap {
	out := make(api.PortMap, len(m))
	for k, v := range m {
		out[k] = slices.Clone(v)
	}
	return out
}

func (s *state) adopt(ctx context.Context, o AdoptOptions) (err error) {
	if strings.HasPrefix(o.Mode, "container:") {
		return nil
	}
	b := &box{id: o.ContainerID, name: o.Name, dns: o.DNS, ports: clonePorts(o.Assigned)}
	s.mu.Lock()
	if s.boxes[b.id] != nil {
		s.mu.Unlock()
		return nil
	}
	for ref, set := range o.Settings {
		n := s.nets[set.NetworkID]
		if n == nil {
			if n, err = s.find(ref); err != nil {
				s.mu.Unlock()
				return fmt.Errorf("take up the network of container %s: %w", id.Short(b.id), err)
			}
		}
		b.endpoints = append(b.endpoints, &endpoint{net: n, settings: set.Copy()})
		for _, p := range n.pools {
			_ = p.claim(set.IPAddress) // it has the address, whatever the range has become
			if set.GlobalIPv6Address.IsValid() {
				_ = p.claim(set.GlobalIPv6Address)
			}
		}
	}
	s.mu.Unlock()
	slices.SortFunc(b.endpoints, func(a, b *endpoint) int { return cmp.Compare(a.net.Network.Name, b.net.Network.Name) })
	defer func() {
		if err != nil {
			s.undo(b)
			err = fmt.Errorf("take up the network of container %s: %w", id.Short(b.id), err)
		}
	}()
	if b.isolated() {
		if b.netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", o.Pid)); err != nil {
			return err
		}
		// Looked at after the namespace was opened: so it is that of this process, and of no other that has got the number.
		if began, startErr := pidfd.StartTime(o.Pid); startErr != nil || o.StartTime != 0 && began != o.StartTime {
			return errkind.New(errkind.NotFound, "its process %d has just ended", o.Pid)
		}
	}
	s.republish(b)
	if err := s.resolve(b); err != nil {
		s.log.Warn("network: the name service of a container is not back", "container", b.id, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes[b.id] = b
	return nil
}
