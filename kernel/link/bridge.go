package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Bridge describes a bridge at home.
type Bridge struct {
	Name string
	// Addresses of the host on it, with the prefix length of its range.
	Addresses []netip.Prefix
	// MTU in bytes, 0 for the kernel's default.
	MTU int
	// Loopback lets the host's own connections to 127.0.0.0/8 be translated to containers (route_localnet). The
	// caller must then filter what containers send to such addresses.
	Loopback bool
}

// EnsureBridge makes the bridge, or brings one that is there to the state described; other addresses of it are
// removed. Conflict where the name belongs to a link of another kind. Router advertisements are not accepted on it.
func (m *Manager) EnsureBridge(b Bridge) error {
	err := m.run(nil, func(t *thread) error { return t.ensureBridge(b) })
	if err != nil {
		return fmt.Errorf("bridge %s: %w", b.Name, err)
	}
	return nil
}

func (t *thread) ensureBridge(b Bridge) error {
	l, err := t.routes.LinkByName(b.Name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = b.Name, b.MTU
		attrs.HardwareAddr = randomMAC() // without one of its own a bridge changes its address with its ports
		if err := t.routes.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("add: %w", err)
		}
		if l, err = t.routes.LinkByName(b.Name); err != nil {
			return err
		}
	case err != nil:
		return err
	case l.Type() != "bridge":
		return errkind.New(errkind.Conflict, "a link of kind %s has that name", l.Type())
	}
	v6 := slices.ContainsFunc(b.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() })
	conf := [][2]string{
		{"ipv6/conf/%s/accept_ra", "0"},
		{"ipv6/conf/%s/accept_dad", "0"}, // its addresses are ours alone, and must serve at once
		{"ipv6/conf/%s/disable_ipv6", oneIf(!v6)},
		{"ipv4/conf/%s/route_localnet", oneIf(b.Loopback)},
	}
	for _, c := range conf {
		err := t.set("net/"+fmt.Sprintf(c[0], b.Name), c[1])
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	have, err := settled(func() ([]netlink.Addr, error) { return t.routes.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	want := slices.Clone(b.Addresses)
	for _, a := range have {
		p, ok := prefixOf(a.IPNet)
		if i := slices.Index(want, p); ok && i >= 0 {
			want = slices.Delete(want, i, i+1)
		} else if ok && !p.Addr().IsLinkLocalUnicast() {
			if err := t.routes.AddrDel(l, &a); err != nil {
				return fmt.Errorf("remove address %s: %w", p, err)
			}
		}
	}
	for _, p := range want {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := t.routes.AddrAdd(l, a); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return t.routes.LinkSetUp(l)
}

func oneIf(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// randomMAC returns a locally administered unicast address.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	return mac
}

// DeleteBridge removes a bridge at home. A missing one is no error. It takes tens of milliseconds.
func (m *Manager) DeleteBridge(name string) error {
	return m.run(nil, func(t *thread) error {
		l, err := t.routes.LinkByName(name)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return nil
		}
		if err == nil && l.Type() != "bridge" {
			err = errkind.New(errkind.Conflict, "it is of kind %s", l.Type())
		}
		if err == nil {
			err = t.routes.LinkDel(l)
		}
		if err != nil {
			return fmt.Errorf("delete bridge %s: %w", name, err)
		}
		return nil
	})
}

// BridgeAddresses returns the addresses of a link at home, link-local ones left out. NotFound if there is none.
func (m *Manager) BridgeAddresses(name string) (prefixes []netip.Prefix, err error) {
	err = m.run(nil, func(t *thread) error {
		i, err := t.index(name)
		if err != nil {
			return err
		}
		list, err := settled(func() ([]netlink.Addr, error) {
			return t.routes.AddrList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: i}}, netlink.FAMILY_ALL)
		})
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", name, err)
		}
		for _, a := range list {
			if p, ok := prefixOf(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
				prefixes = append(prefixes, p)
			}
		}
		return nil
	})
	return prefixes, err
}

// Taken returns every address range that home has an address in or a route to, default routes left out; ranges of the
// link named except are left out too.
func (m *Manager) Taken(except string) (ranges []netip.Prefix, err error) {
	err = m.run(nil, func(t *thread) error {
		skip := 0
		if except != "" {
			skip, _ = t.index(except)
		}
		addrs, err := settled(func() ([]netlink.Addr, error) { return t.routes.AddrList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a.IPNet); ok && (skip == 0 || a.LinkIndex != skip) {
				ranges = append(ranges, p.Masked())
			}
		}
		routes, err := settled(func() ([]netlink.Route, error) { return t.routes.RouteList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if p, ok := prefixOf(r.Dst); ok && p.Bits() > 0 && (skip == 0 || r.LinkIndex != skip) {
				ranges = append(ranges, p.Masked())
			}
		}
		return nil
	})
	return ranges, err
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	if a.Is4() && bits == 128 {
		ones -= 96
	}
	return netip.PrefixFrom(a, ones), ones >= 0
}

// OutwardMTU returns the smallest MTU, in bytes, among home's links that have a default route; 0 if there is none.
func (m *Manager) OutwardMTU() (mtu int, err error) {
	err = m.run(nil, func(t *thread) error {
		routes, err := settled(func() ([]netlink.Route, error) { return t.routes.RouteList(nil, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if p, ok := prefixOf(r.Dst); r.Dst != nil && (!ok || p.Bits() > 0) {
				continue
			}
			if l, err := t.routes.LinkByIndex(r.LinkIndex); err == nil && (mtu == 0 || l.Attrs().MTU < mtu) {
				mtu = l.Attrs().MTU
			}
		}
		return nil
	})
	return mtu, err
}
