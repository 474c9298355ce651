package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/daemon/store/record"
	"pier/kernel/link"
	"pier/kernel/nft"
	"pier/lib/clock"
	"pier/lib/errkind"
	"pier/lib/feed"
	"pier/lib/id"
)

// row is one network on disk.
type row struct {
	Network api.Network `json:"network"`
	// Bridge is the link's name, "" for the networks "host" and "none".
	Bridge string `json:"bridge,omitempty"`
}

// network is one network at work. The row never changes once it is in state.nets; pools are guarded by state.mu.
type network struct {
	row
	pools []*pool
}

// state is what Networks hides.
//
// Locks: mu guards nets, boxes and all that hangs on them, and is never held while the kernel works; managing
// serialises what creates and removes networks, and is taken before mu; connecting does so for containers that change
// networks while they run, and is taken before managing.
type state struct {
	records    *record.Table[row]
	feed       *feed.Feed[events.Message]
	links      *link.Manager
	table      *nft.Table // nil without NAT
	bridge     string
	mtu        int
	resolvConf string
	dns        []netip.Addr
	clock      clock.Clock
	log        *slog.Logger
	names      *nameService

	settled atomic.Bool // adoption is over; set under managing

	connecting sync.Mutex // one change of a running container's networks at a time; taken before managing

	managing sync.Mutex
	mu       sync.Mutex
	nets     map[string]*network    // by ID
	boxes    map[string]*box        // by container ID
	ports    map[portKey]string     // container ID by published port
	leaving  map[string][]published // by container ID: ports that it gives up once what takes their place is sure
	closed   bool
}

func open(ctx context.Context, o Options) (_ *Networks, err error) {
	n := &Networks{state{
		records: record.NewTable[row](o.Records, "networks"), feed: o.Events, bridge: o.Bridge, mtu: o.MTU,
		resolvConf: o.ResolvConf, dns: o.DNS, clock: o.Clock, log: o.Log,
		nets: map[string]*network{}, boxes: map[string]*box{}, ports: map[portKey]string{}, leaving: map[string][]published{},
	}}
	s := &n.state
	if s.bridge == "" {
		s.bridge = "pier0"
	}
	if s.resolvConf == "" {
		s.resolvConf = "/etc/resolv.conf"
	}
	if s.clock == nil {
		s.clock = clock.Real{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := checkLinkName(s.bridge); err != nil {
		return nil, err
	}
	if s.links, err = link.New(); err != nil {
		return nil, fmt.Errorf("open networks: %w", err)
	}
	s.names = newNameService(s)
	if out, err := s.links.OutwardMTU(); err == nil && s.mtu == 0 && out >= 1280 && out < 1500 {
		s.mtu = out
	}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	if !o.DisableNAT {
		if s.table, err = nft.Open(tableName(s.bridge), func(f func() error) error { return s.links.Do(nil, f) }, s.log); err != nil {
			return nil, fmt.Errorf("open networks: %w", err)
		}
		if err := s.links.SetSysctl(nil, "net.ipv4.ip_forward", "1"); err != nil {
			return nil, fmt.Errorf("open networks: let the host forward packets: %w", err)
		}
	}
	if err := s.load(ctx, o.BIP); err != nil {
		return nil, fmt.Errorf("open networks: %w", err)
	}
	return n, nil
}

// noBridge is the bridge's name that asks for none.
const noBridge = "none"

// tableName names the nftables table of the daemon that owns bridge.
func tableName(bridge string) string {
	if bridge == "pier0" {
		return "pier"
	}
	return "pier-" + bridge
}

func checkLinkName(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '"' || r == '%'
	}) {
		return errkind.New(errkind.Invalid, "bridge %q: not a name for a link of at most 15 characters", name)
	}
	return nil
}

// load brings the recorded networks to life and adds the predefined ones that are missing.
func (s *state) load(ctx context.Context, bip string) error {
	rows, err := s.records.All()
	if err != nil {
		return err
	}
	byName := map[string]row{}
	for _, r := range rows {
		byName[r.Network.Name] = r
	}
	for _, name := range []string{api.NetworkHost, api.NetworkNone} {
		r, ok := byName[name]
		if !ok {
			r = s.newRow(name, map[string]string{api.NetworkHost: "host", api.NetworkNone: "null"}[name])
			if err := s.records.Put(ctx, r.Network.ID, r); err != nil {
				return err
			}
		}
		s.nets[r.Network.ID] = &network{row: r}
		delete(byName, name)
	}
	if s.bridge != noBridge {
		r, err := s.defaultRow(ctx, byName[api.NetworkBridge], byName, bip)
		if err != nil {
			return err
		}
		if err := s.raise(r); err != nil {
			return err
		}
	}
	delete(byName, api.NetworkBridge) // its record stays for the day when it is wanted again
	for _, r := range byName {
		// A range that the host has meanwhile taken for itself must not keep the daemon from starting.
		if err := s.raise(r); err != nil {
			s.log.Error("network: cannot bring up", "network", r.Network.Name, "error", err)
		}
	}
	return nil
}

// defaultRow returns the record of the network "bridge": the one there is, unless the daemon's options say otherwise.
func (s *state) defaultRow(ctx context.Context, old row, others map[string]row, bip string) (row, error) {
	r := old
	if r.Network.ID == "" {
		r = s.newRow(api.NetworkBridge, "bridge")
	}
	var own netip.Prefix
	if c := r.Network.IPAM.Config; len(c) == 1 {
		own = netip.PrefixFrom(c[0].Gateway, c[0].Subnet.Bits())
	}
	switch {
	case bip != "":
		p, err := netip.ParsePrefix(bip)
		if err != nil || !p.Addr().Is4() || p.Bits() > 30 || p.Addr() == p.Masked().Addr() {
			return row{}, errkind.New(errkind.Invalid, "bip %q: not the IPv4 address of a host with its prefix length, as in 172.30.0.1/16", bip)
		}
		own = p
	case !own.IsValid():
		if have, err := s.links.BridgeAddresses(s.bridge); err == nil { // a bridge that outlived its record
			if i := slices.IndexFunc(have, func(p netip.Prefix) bool { return p.Addr().Is4() && p.Bits() <= 30 }); i >= 0 {
				own = have[i]
			}
		}
	}
	if !own.IsValid() {
		taken, err := s.taken(others)
		if err != nil {
			return row{}, err
		}
		subnet, err := free(candidates(hash(s.bridge)), taken)
		if err != nil {
			return row{}, err
		}
		own = netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	}
	r.Bridge = s.bridge
	r.Network.EnableIPv4 = true
	r.Network.IPAM.Config = []api.IPAMConfig{{Subnet: own.Masked(), Gateway: own.Addr()}}
	r.Network.Options = map[string]string{
		"com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": "true",
		"com.docker.network.bridge.enable_ip_masquerade": "true", "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
		"com.docker.network.bridge.name": s.bridge, "com.docker.network.driver.mtu": fmt.Sprint(s.mtuOr(1500)),
	}
	if old.Network.ID != "" && old.Bridge == r.Bridge && len(old.Network.IPAM.Config) == 1 &&
		old.Network.IPAM.Config[0].Gateway == own.Addr() && old.Network.IPAM.Config[0].Subnet == own.Masked() {
		return r, nil
	}
	return r, s.records.Put(ctx, r.Network.ID, r)
}

func (s *state) mtuOr(otherwise int) int {
	if s.mtu > 0 {
		return s.mtu
	}
	return otherwise
}

func hash(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()
}

// taken lists the ranges that a new network must not overlap.
func (s *state) taken(rows map[string]row) ([]netip.Prefix, error) {
	list, err := s.links.Taken("")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		for _, c := range r.Network.IPAM.Config {
			list = append(list, c.Subnet)
		}
	}
	for _, a := range s.hostResolver().servers { // reached by the default route, hence by no range listed so far
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list, nil
}

func (s *state) newRow(name, driver string) row {
	return row{Network: api.Network{
		Name: name, ID: id.New(), Created: s.clock.Now().UTC(), Scope: "local", Driver: driver, EnableIPv4: true,
		IPAM: api.IPAM{Driver: "default"}, Options: map[string]string{}, Labels: map[string]string{},
	}}
}

// raise makes the bridge of r and puts the network in its place.
func (s *state) raise(r row) error {
	n := &network{row: r}
	b := link.Bridge{Name: r.Bridge, MTU: s.mtu, Loopback: s.table != nil && !r.Network.Internal}
	for _, c := range r.Network.IPAM.Config {
		reserved := []netip.Addr{c.Gateway}
		for _, a := range c.AuxAddress {
			reserved = append(reserved, a)
		}
		n.pools = append(n.pools, newPool(c.Subnet, c.IPRange, reserved...))
		b.Addresses = append(b.Addresses, netip.PrefixFrom(c.Gateway, c.Subnet.Bits()))
	}
	if err := s.links.EnsureBridge(b); err != nil {
		return err
	}
	if r.Network.EnableIPv6 && s.table != nil {
		if err := s.links.SetSysctl(nil, "net.ipv6.conf.all.forwarding", "1"); err != nil {
			return fmt.Errorf("let the host forward IPv6 packets: %w", err)
		}
	}
	s.mu.Lock()
	s.nets[r.Network.ID] = n
	s.mu.Unlock()
	return nil
}

// walls describes all bridges to the kernel's filter.
func (s *state) walls() (list []nft.Network) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nets {
		if n.Bridge == "" {
			continue
		}
		w := nft.Network{
			Bridge: n.Bridge, Internal: n.Network.Internal,
			Masquerade: n.Network.Options["com.docker.network.bridge.enable_ip_masquerade"] != "false",
			Separate:   n.Network.Options["com.docker.network.bridge.enable_icc"] == "false",
		}
		for _, c := range n.Network.IPAM.Config {
			w.Subnets = append(w.Subnets, c.Subnet)
		}
		list = append(list, w)
	}
	return list
}

func (s *state) settle(context.Context) error {
	if s.table == nil || s.settled.Load() {
		return nil
	}
	s.managing.Lock()
	defer s.managing.Unlock()
	if s.settled.Load() {
		return nil
	}
	s.mu.Lock()
	var ports []nft.Port
	for _, b := range s.boxes {
		ports = append(ports, b.forwarded()...)
	}
	s.mu.Unlock()
	if err := s.table.Replace(s.walls(), ports); err != nil {
		return fmt.Errorf("settle networks: %w", err)
	}
	s.settled.Store(true)
	return nil
}

func (s *state) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	boxes := slices.Collect(maps.Values(s.boxes))
	s.boxes = map[string]*box{}
	s.mu.Unlock()
	for _, b := range boxes {
		b.close()
	}
	s.names.close()
	var err error
	if s.table != nil {
		err = s.table.Close()
	}
	return errors.Join(err, s.links.Close())
}

func (s *state) destroy(ctx context.Context) error {
	var errs []error
	if s.table != nil {
		errs = append(errs, s.table.Delete())
	}
	s.mu.Lock()
	var bridges []string
	for _, n := range s.nets {
		if n.Bridge != "" {
			bridges = append(bridges, n.Bridge)
		}
	}
	s.mu.Unlock()
	for _, b := range bridges {
		errs = append(errs, s.links.DeleteBridge(b))
	}
	return errors.Join(append(errs, s.close())...)
}

// tell publishes an event. Attributes are name, type and what more says.
func (s *state) tell(n *network, action events.Action, more ...string) {
	if s.feed == nil {
		return
	}
	attributes := map[string]string{"name": n.Network.Name, "type": n.Network.Driver}
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	now := s.clock.Now()
	s.feed.Publish(events.Message{
		Type: events.NetworkEventType, Action: action, Actor: events.Actor{ID: n.Network.ID, Attributes: attributes},
		Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
	})
}

// duplicate returns a second descriptor of f.
func duplicate(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}
