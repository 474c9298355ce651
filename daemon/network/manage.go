package network

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/api/docker"
	"pier/lib/errkind"
	"pier/lib/id"
)

func (s *state) list() []api.Inspect {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]api.Inspect, 0, len(s.nets))
	for _, n := range s.nets {
		list = append(list, s.inspect(n))
	}
	slices.SortFunc(list, func(a, b api.Inspect) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

func (s *state) get(ref string) (api.Inspect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.find(ref)
	if err != nil {
		return api.Inspect{}, err
	}
	return s.inspect(n), nil
}

// find looks a network up; s.mu is held.
func (s *state) find(ref string) (*network, error) {
	if ref == "default" {
		ref = api.NetworkBridge
	}
	if n := s.nets[ref]; n != nil {
		return n, nil
	}
	var found *network
	for _, n := range s.nets {
		if n.Network.Name == ref {
			return n, nil
		}
	}
	if id.Valid(ref) {
		for _, n := range s.nets {
			if strings.HasPrefix(n.Network.ID, ref) {
				if found != nil {
					return nil, errkind.New(errkind.Invalid, "network %s is ambiguous (2 matches found on ID prefix)", ref)
				}
				found = n
			}
		}
	}
	if found == nil {
		return nil, errkind.New(errkind.NotFound, "network %s not found", ref)
	}
	return found, nil
}

// inspect copies what the caller may keep; s.mu is held.
func (s *state) inspect(n *network) api.Inspect {
	i := api.Inspect{Network: n.Network, Containers: map[string]api.EndpointResource{}}
	i.Options, i.Labels = maps.Clone(n.Network.Options), maps.Clone(n.Network.Labels)
	i.IPAM.Config = slices.Clone(n.Network.IPAM.Config)
	for _, b := range s.boxes {
		for _, e := range b.endpoints {
			if e.net == n {
				i.Containers[b.id] = api.EndpointResource{
					Name: b.name, EndpointID: e.settings.EndpointID, MacAddress: e.settings.MacAddress,
					IPv4Address: prefix(e.settings.IPAddress, e.settings.IPPrefixLen),
					IPv6Address: prefix(e.settings.GlobalIPv6Address, e.settings.GlobalIPv6PrefixLen),
				}
			}
		}
	}
	return i
}

func prefix(a netip.Addr, bits int) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

func predefined(name string) bool {
	return name == api.NetworkBridge || name == api.NetworkHost || name == api.NetworkNone || name == api.NetworkDefault
}

func (s *state) create(ctx context.Context, r api.CreateRequest) (api.CreateResponse, error) {
	var none api.CreateResponse
	switch {
	case predefined(r.Name):
		return none, errkind.New(errkind.Forbidden, "operation is not permitted on predefined %s network", r.Name)
	case len(r.Name) > 255 || !docker.IsName(r.Name):
		return none, errkind.New(errkind.Invalid, "invalid network name %q, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed", r.Name)
	case r.Driver != "" && r.Driver != "bridge":
		return none, errkind.New(errkind.Unsupported, "create network %s: no driver %q; use bridge", r.Name, r.Driver)
	case r.ConfigOnly || r.ConfigFrom != nil && r.ConfigFrom.Network != "" || r.Ingress || r.Scope == "swarm":
		return none, errkind.New(errkind.Unsupported, "create network %s: only local bridge networks are supported", r.Name)
	}
	s.managing.Lock()
	defer s.managing.Unlock()
	s.mu.Lock()
	rows := map[string]row{}
	for _, n := range s.nets {
		rows[n.Network.Name] = n.row
	}
	s.mu.Unlock()
	if _, ok := rows[r.Name]; ok {
		return none, errkind.New(errkind.Conflict, "network with name %s already exists", r.Name)
	}
	n := s.newRow(r.Name, "bridge")
	n.Bridge = "br-" + id.Short(n.Network.ID)
	if name := r.Options["com.docker.network.bridge.name"]; name != "" {
		if err := checkLinkName(name); err != nil {
			return none, err
		}
		if slices.ContainsFunc(slices.Collect(maps.Values(rows)), func(o row) bool { return o.Bridge == name }) {
			return none, errkind.New(errkind.Conflict, "bridge %s belongs to another network", name)
		}
		n.Bridge = name
	}
	n.Network.Internal, n.Network.Attachable = r.Internal, r.Attachable
	n.Network.EnableIPv6 = r.EnableIPv6 != nil && *r.EnableIPv6
	if r.EnableIPv4 != nil && !*r.EnableIPv4 {
		return none, errkind.New(errkind.Unsupported, "create network %s: networks without IPv4 are not supported", r.Name)
	}
	maps.Copy(n.Network.Options, r.Options)
	maps.Copy(n.Network.Labels, r.Labels)
	if err := s.plan(&n, r.IPAM, rows); err != nil {
		return none, err
	}
	if err := s.raise(n); err != nil {
		return none, err
	}
	err := s.records.Put(ctx, n.Network.ID, n)
	if err == nil && s.table != nil {
		err = s.table.SetNetworks(s.walls())
	}
	if err != nil {
		s.mu.Lock()
		delete(s.nets, n.Network.ID)
		s.mu.Unlock()
		_ = s.links.DeleteBridge(n.Bridge)
		_ = s.records.Delete(context.WithoutCancel(ctx), n.Network.ID)
		return none, err
	}
	s.tell(&network{row: n}, events.ActionCreate)
	return api.CreateResponse{ID: n.Network.ID}, nil
}

// plan fills in the address ranges of n: those asked for, checked, and chosen ones for families that lack one.
func (s *state) plan(n *row, asked *api.IPAM, rows map[string]row) error {
	taken, err := s.taken(rows)
	if err != nil {
		return err
	}
	var have4, have6 bool
	if asked != nil {
		if asked.Driver != "" && asked.Driver != "default" {
			return errkind.New(errkind.Unsupported, "create network %s: no IPAM driver %q; use default", n.Network.Name, asked.Driver)
		}
		n.Network.IPAM.Options = maps.Clone(asked.Options)
		for _, c := range asked.Config {
			if !c.Subnet.IsValid() {
				if c.Gateway.IsValid() || c.IPRange.IsValid() {
					return errkind.New(errkind.Invalid, "create network %s: a gateway or an ip-range needs a subnet", n.Network.Name)
				}
				continue
			}
			if err := checkRange(&c, taken); err != nil {
				return err
			}
			if c.Subnet.Addr().Is6() && !n.Network.EnableIPv6 {
				return errkind.New(errkind.Invalid, "create network %s: subnet %s needs IPv6 to be enabled", n.Network.Name, c.Subnet)
			}
			have4, have6 = have4 || c.Subnet.Addr().Is4(), have6 || c.Subnet.Addr().Is6()
			taken = append(taken, c.Subnet)
			n.Network.IPAM.Config = append(n.Network.IPAM.Config, c)
		}
	}
	if !have4 {
		subnet, err := free(candidates(hash(s.bridge)), taken)
		if err != nil {
			return err
		}
		n.Network.IPAM.Config = append(n.Network.IPAM.Config, api.IPAMConfig{Subnet: subnet, Gateway: subnet.Addr().Next()})
	}
	if n.Network.EnableIPv6 && !have6 {
		// A unique local range (RFC 4193) from the network's own random ID.
		b := [16]byte{0xfd}
		copy(b[1:], n.Network.ID[:7])
		subnet := netip.PrefixFrom(netip.AddrFrom16(b), 64).Masked()
		n.Network.IPAM.Config = append(n.Network.IPAM.Config, api.IPAMConfig{Subnet: subnet, Gateway: subnet.Addr().Next()})
	}
	return nil
}

func checkRange(c *api.IPAMConfig, taken []netip.Prefix) error {
	c.Subnet = c.Subnet.Masked()
	if limit := map[bool]int{true: 30, false: 126}[c.Subnet.Addr().Is4()]; c.Subnet.Bits() > limit || c.Subnet.Bits() < 8 {
		return errkind.New(errkind.Invalid, "invalid subnet %s: the prefix length must be between 8 and %d", c.Subnet, limit)
	}
	if a := c.Subnet.Addr(); a.IsMulticast() || a.IsLoopback() || a.Is4In6() || a.IsLinkLocalUnicast() {
		return errkind.New(errkind.Invalid, "invalid subnet %s: not for hosts", c.Subnet)
	}
	if !c.Gateway.IsValid() {
		c.Gateway = c.Subnet.Addr().Next()
	}
	if !c.Subnet.Contains(c.Gateway) || c.Gateway == c.Subnet.Addr() {
		return errkind.New(errkind.Invalid, "invalid gateway %s: it is no address of subnet %s", c.Gateway, c.Subnet)
	}
	if c.IPRange.IsValid() && (!c.Subnet.Contains(c.IPRange.Addr()) || c.IPRange.Bits() < c.Subnet.Bits()) {
		return errkind.New(errkind.Invalid, "invalid ip-range %s: it is not part of subnet %s", c.IPRange, c.Subnet)
	}
	for name, a := range c.AuxAddress {
		if !c.Subnet.Contains(a) {
			return errkind.New(errkind.Invalid, "invalid auxiliary address %s=%s: it is not part of subnet %s", name, a, c.Subnet)
		}
	}
	if overlapsAny(c.Subnet, taken) {
		return errkind.New(errkind.Forbidden, "invalid pool request: Pool overlaps with other one on this address space: %s", c.Subnet)
	}
	return nil
}

func (s *state) remove(ctx context.Context, ref string) error {
	s.managing.Lock()
	defer s.managing.Unlock()
	s.mu.Lock()
	n, err := s.find(ref)
	if err == nil {
		err = s.removable(n)
	}
	if err == nil {
		delete(s.nets, n.Network.ID)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.records.Delete(ctx, n.Network.ID); err != nil {
		s.mu.Lock()
		s.nets[n.Network.ID] = n
		s.mu.Unlock()
		return err
	}
	if s.table != nil {
		if err := s.table.SetNetworks(s.walls()); err != nil {
			return err
		}
	}
	s.names.retire(n)
	if err := s.links.DeleteBridge(n.Bridge); err != nil {
		return err
	}
	s.tell(n, events.ActionDestroy)
	return nil
}

// removable reports why n must stay; s.mu is held.
func (s *state) removable(n *network) error {
	if predefined(n.Network.Name) {
		return errkind.New(errkind.Forbidden, "%s is a pre-defined network and cannot be removed", n.Network.Name)
	}
	for _, b := range s.boxes {
		for _, e := range b.endpoints {
			if e.net == n {
				return errkind.New(errkind.Forbidden, "error while removing network: network %s has active endpoints (name:%q id:%q)",
					n.Network.Name, b.name, id.Short(e.settings.EndpointID))
			}
		}
	}
	return nil
}
