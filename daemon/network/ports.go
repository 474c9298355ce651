package network

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	api "github.com/moby/moby/api/types/network"

	"pier/kernel/nft"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Ports that nobody asked for by number come from this range, the kernel's own default for outgoing connections.
const (
	ephemeralFirst = 32768
	ephemeralLast  = 60999
)

// portKey is one host port of one address.
type portKey struct {
	proto api.IPProtocol
	at    netip.AddrPort
}

// published is one host port that leads to a container.
type published struct {
	proto    api.IPProtocol
	from, to netip.AddrPort
	// hold keeps other programs off the port. For IPv6 addresses of the host it is a relay, which also carries what
	// the kernel cannot translate: everything if the container has only IPv4, else connections to ::1.
	hold io.Closer
}

func (p published) key() portKey { return portKey{p.proto, p.from} }

// meets reports whether a host cannot have both k and other.
func (k portKey) meets(other portKey) bool {
	a, b := k.at.Addr(), other.at.Addr()
	return k.proto == other.proto && k.at.Port() == other.at.Port() && a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

func (p published) close() {
	if p.hold != nil {
		_ = p.hold.Close()
	}
}

// forwarded lists what the kernel translates.
func (b *box) forwarded() []nft.Port { return translated(b.published) }

// translated lists those ports that the kernel translates.
func translated(ports []published) (list []nft.Port) {
	numbers := map[api.IPProtocol]uint8{api.TCP: nft.TCP, api.UDP: nft.UDP, api.SCTP: nft.SCTP}
	for _, p := range ports {
		if p.from.Addr().Is4() == p.to.Addr().Is4() {
			list = append(list, nft.Port{Proto: numbers[p.proto], From: p.from, To: p.to})
		}
	}
	return list
}

// target is where published ports of b lead: its addresses on the network that is its way out.
func (b *box) target() (v4, v6 netip.Addr) {
	gateway4, gateway6 := b.gateways()
	for _, e := range b.endpoints {
		if gateway4.IsValid() && e.settings.Gateway == gateway4 {
			v4 = e.settings.IPAddress
		}
		if gateway6.IsValid() && e.settings.IPv6Gateway == gateway6 {
			v6 = e.settings.GlobalIPv6Address
		}
	}
	return v4, v6
}

// publish chooses and reserves the host ports of b. What is in held it has already.
func (s *state) publish(b *box, o *JoinOptions, held map[portKey]published) error {
	v4, v6 := b.target()
	b.ports = api.PortMap{}
	if !b.isolated() || s.table == nil {
		return nil
	}
	wanted := clonePorts(o.Ports)
	for port := range o.Exposed {
		if _, ok := wanted[port]; !ok {
			wanted[port] = nil
		}
		if o.PublishAll && len(wanted[port]) == 0 {
			wanted[port] = []api.PortBinding{{}}
		}
	}
	// In a fixed order, so that the same request gets its ports in the same order of numbers.
	keys := make([]api.Port, 0, len(wanted))
	for port := range wanted {
		keys = append(keys, port)
	}
	slices.SortFunc(keys, func(a, b api.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	})
	for _, port := range keys {
		b.ports[port] = nil
		if !v4.IsValid() {
			continue // no way in: mode none, or internal networks only
		}
		if p := port.Proto(); p != api.TCP && p != api.UDP && p != api.SCTP || port.Num() == 0 {
			return errkind.New(errkind.Invalid, "invalid containerPort: %s", port)
		}
		for _, binding := range wanted[port] {
			if p, ok := held[exactly(port, binding)]; ok && p.to.Port() == port.Num() {
				b.published = append(b.published, p)
				b.ports[port] = append(b.ports[port], binding)
				continue
			}
			bound, err := s.bind(b, port, binding, v4, v6)
			if err != nil {
				return fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", b.name, b.endpoints[0].settings.EndpointID, err)
			}
			b.ports[port] = append(b.ports[port], bound...)
		}
	}
	return nil
}

// hostPorts parses PortBinding.HostPort: "" and "0" are the ephemeral range.
func hostPorts(text string) (first, last uint16, err error) {
	if text == "" || text == "0" {
		return ephemeralFirst, ephemeralLast, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 16)
	z, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || a == 0 || z < a {
		return 0, 0, errkind.New(errkind.Invalid, "invalid port specification: %q", text)
	}
	return uint16(a), uint16(z), nil
}

// exactly is the one port of one address that a binding means; of one that leaves the choice no port is the key.
func exactly(port api.Port, binding api.PortBinding) portKey {
	number, _ := strconv.ParseUint(binding.HostPort, 10, 16)
	return portKey{port.Proto(), netip.AddrPortFrom(binding.HostIP.Unmap(), uint16(number))}
}

// bind reserves one binding, with the same number for all its addresses, and records it in b.
func (s *state) bind(b *box, port api.Port, binding api.PortBinding, v4, v6 netip.Addr) ([]api.PortBinding, error) {
	first, last, err := hostPorts(binding.HostPort)
	if err != nil {
		return nil, err
	}
	hosts := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if a := binding.HostIP.Unmap(); a.IsValid() {
		hosts = []netip.Addr{a}
	}
	count := int(last-first) + 1
	start := 0
	if first == ephemeralFirst && last == ephemeralLast {
		start = rand.IntN(count)
	}
	for i := range count {
		number := first + uint16((start+i)%count)
		var got []published
		got, err = s.reserve(b, port, hosts, number, v4, v6)
		if err == nil {
			b.published = append(b.published, got...)
			bound := make([]api.PortBinding, 0, len(got))
			for _, p := range got {
				bound = append(bound, api.PortBinding{HostIP: p.from.Addr(), HostPort: strconv.Itoa(int(number))})
			}
			return bound, nil
		}
		if !errkind.Is(err, errkind.Exhausted) {
			return nil, err
		}
	}
	if count > 1 {
		return nil, errkind.New(errkind.Exhausted, "all ports of %s are allocated: %w", cmp.Or(binding.HostPort, "the ephemeral range"), err)
	}
	return nil, err
}

// reserve takes one port number on all hosts, or on none.
func (s *state) reserve(b *box, port api.Port, hosts []netip.Addr, number uint16, v4, v6 netip.Addr) (got []published, err error) {
	defer func() {
		if err != nil {
			s.unreserve(b, got)
			got = nil
		}
	}()
	for _, h := range hosts {
		p := published{proto: port.Proto(), from: netip.AddrPortFrom(h, number), to: netip.AddrPortFrom(v4, port.Num())}
		if h.Is6() && v6.IsValid() {
			p.to = netip.AddrPortFrom(v6, port.Num())
		}
		if err := s.claimPort(b, p.key()); err != nil {
			return got, err
		}
		got = append(got, p)
		hold, err := s.hold(p)
		if err != nil {
			if len(hosts) > 1 && h.Is6() && errkind.Is(err, errkind.Invalid) {
				s.unreserve(b, got[len(got)-1:]) // a host without IPv6
				got = got[:len(got)-1]
				continue
			}
			if errkind.Is(err, errkind.Conflict) {
				return got, errkind.New(errkind.Exhausted, "failed to bind host port for %s:%s/%s: address already in use", p.from, p.to, p.proto)
			}
			return got, err
		}
		got[len(got)-1].hold = hold
	}
	return got, nil
}

func (s *state) unreserve(b *box, list []published) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range list {
		p.close()
		if s.ports[p.key()] == b.id {
			delete(s.ports, p.key())
		}
	}
}

// claimPort notes b as the owner of a port, unless another container has it. A socket by which b itself holds what it is about
// to give up makes room.
func (s *state) claimPort(b *box, k portKey) error {
	unspecified := k.at.Addr().IsUnspecified()
	s.mu.Lock()
	defer s.mu.Unlock()
	holder := ""
	if unspecified { // every address of the family counts
		for other, owner := range s.ports {
			if k.meets(other) {
				holder = owner
			}
		}
	} else {
		all := netip.IPv6Unspecified()
		if k.at.Addr().Is4() {
			all = netip.IPv4Unspecified()
		}
		holder = cmp.Or(s.ports[k], s.ports[portKey{k.proto, netip.AddrPortFrom(all, k.at.Port())}])
	}
	for owner, ports := range s.leaving {
		if holder == "" && owner != b.id && slices.ContainsFunc(ports, func(p published) bool { return k.meets(p.key()) }) {
			holder = owner
		}
	}
	if holder != "" {
		name := "container " + id.Short(holder)
		if other := s.boxes[holder]; other != nil {
			name += " (" + other.name + ")"
		}
		return errkind.New(errkind.Exhausted, "Bind for %s failed: port is already allocated: %s has it", k.at, name)
	}
	s.ports[k] = b.id
	for i, p := range s.leaving[b.id] {
		if k.meets(p.key()) {
			p.close()
			s.leaving[b.id][i].hold = nil
		}
	}
	return nil
}

// hold keeps the port from other programs: by a silent socket, or by the relay that serves it.
func (s *state) hold(p published) (io.Closer, error) {
	if p.from.Addr().Is6() && p.proto != api.SCTP {
		return s.relay(p)
	}
	f, err := s.links.Reserve(string(p.proto), p.from)
	if f == nil || err != nil {
		return nil, err
	}
	return f, nil
}

// forward lets the kernel translate the ports of b.
func (s *state) forward(b *box) error {
	ports := b.forwarded()
	if s.table == nil || len(ports) == 0 {
		return nil
	}
	return s.table.Add(ports...)
}

// republish takes up the ports of a container that was adopted. A port that another program has taken meanwhile keeps
// leading to the container, because rules come before sockets. One that another container has is that one's alone.
func (s *state) republish(b *box) {
	v4, v6 := b.target()
	if s.table == nil || !v4.IsValid() {
		return
	}
	for port, bindings := range b.ports {
		for _, binding := range bindings {
			number, err := strconv.ParseUint(binding.HostPort, 10, 16)
			if err != nil || !binding.HostIP.IsValid() {
				continue
			}
			p := published{proto: port.Proto(), from: netip.AddrPortFrom(binding.HostIP.Unmap(), uint16(number)), to: netip.AddrPortFrom(v4, port.Num())}
			if p.from.Addr().Is6() && v6.IsValid() {
				p.to = netip.AddrPortFrom(v6, port.Num())
			}
			if err := s.claimPort(b, p.key()); err != nil {
				s.log.Error("network: a published port does not lead to its container any more", "container", id.Short(b.id), "port", p.from, "error", err)
				continue
			}
			if p.hold, err = s.hold(p); err != nil {
				s.log.Warn("network: a published port is not held", "container", id.Short(b.id), "port", p.from, "error", err)
			}
			b.published = append(b.published, p)
		}
	}
	if err := s.forward(b); err != nil {
		s.log.Error("network: published ports are not back", "container", id.Short(b.id), "error", err)
	}
}
