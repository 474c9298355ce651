package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// maxNamed bounds the numbers that AddInterface tries.
const maxNamed = 1024

// Inside is a namespace that is in use, and is changed from outside.
type Inside struct {
	m  *Manager
	ns *os.File
}

// Inside returns the namespace ns to be changed. ns is borrowed.
func (m *Manager) Inside(ns *os.File) Inside { return Inside{m, ns} }

// AddInterface adds one interface to a namespace that is in use, under the first free name of eth0, eth1 and so on, which
// it returns; f.Name is not looked at. On an error nothing stays.
func (i Inside) AddInterface(f Interface) (name string, err error) {
	err = i.m.run(i.ns, func(t *thread) error {
		master, err := t.index(f.Bridge)
		if err != nil {
			return err
		}
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		defer inside.Close()
		if f.Name, err = freeName(inside); err != nil {
			return err
		}
		name = f.Name
		if f.Port == "" {
			f.Port = PortName(rand.Text())
		}
		if err := t.addInterface(i.ns, inside, master, f); err != nil {
			if l, found := t.routes.LinkByName(f.Port); found == nil {
				_ = t.routes.LinkDel(l)
			}
			return err
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("add an interface on %s: %w", f.Bridge, err)
	}
	return name, nil
}

func freeName(inside *netlink.Handle) (string, error) {
	for n := range maxNamed {
		name := fmt.Sprintf("eth%d", n)
		var missing netlink.LinkNotFoundError
		if _, err := inside.LinkByName(name); errors.As(err, &missing) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", errkind.New(errkind.Exhausted, "the namespace has %d interfaces", maxNamed)
}

// OnBridge lists the interfaces of a namespace whose other end is on bridge, with what AddInterface gave them or what the
// container has made of that: name, port, hardware address, IP addresses. The one whose port has the name port is among
// them, with no more than that, where the container has moved it to another namespace.
func (i Inside) OnBridge(bridge, port string) (list []Interface, err error) {
	err = i.m.run(i.ns, func(t *thread) error {
		ports, id, err := t.ports(i.ns, bridge, port)
		if err != nil || len(ports) == 0 {
			return err
		}
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		defer inside.Close()
		for _, p := range ports {
			f := Interface{Bridge: bridge, Port: p.Attrs().Name}
			if p.Attrs().NetNsID == id {
				if err := f.describe(inside, p.Attrs().ParentIndex); err != nil {
					return err
				}
			}
			list = append(list, f)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for interfaces on %s: %w", bridge, err)
	}
	return list, nil
}

// Hairpin does what Interface.Hairpin says to the interfaces of a namespace on bridge that is in use.
func (i Inside) Hairpin(bridge string) error {
	err := i.m.run(nil, func(t *thread) error {
		ports, _, err := t.ports(i.ns, bridge, "")
		for _, p := range ports {
			err = errors.Join(err, t.routes.LinkSetHairpin(p, true))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("let %s send back what it received: %w", bridge, err)
	}
	return nil
}

// ports lists the outer ends, of those that addInterface makes, that are on bridge and lead into the namespace ns, or have the
// name port. id is how ns is known at home, negative where nothing leads into it. A missing bridge has none.
func (t *thread) ports(ns *os.File, bridge, port string) (list []netlink.Link, id int, err error) {
	master, err := t.index(bridge)
	if err != nil && !errkind.Is(err, errkind.NotFound) {
		return nil, 0, err
	}
	all, err := settled(t.routes.LinkList)
	if err != nil {
		return nil, 0, err
	}
	// Known since that list at the latest.
	if id, err = t.routes.GetNetNsIdByFd(int(ns.Fd())); err != nil {
		return nil, 0, err
	}
	for _, l := range all {
		a := l.Attrs()
		leads := id >= 0 && a.NetNsID == id && master > 0 && a.MasterIndex == master
		if l.Type() == "veth" && strings.HasPrefix(a.Name, portPrefix) && (leads || a.Name == port) {
			list = append(list, l)
		}
	}
	return list, id, nil
}

// describe fills f with what the link of that index is now.
func (f *Interface) describe(inside *netlink.Handle, index int) error {
	l, err := inside.LinkByIndex(index)
	if err != nil {
		return err
	}
	f.Name, f.MAC = l.Attrs().Name, l.Attrs().HardwareAddr
	addresses, err := settled(func() ([]netlink.Addr, error) { return inside.AddrList(l, unix.AF_UNSPEC) })
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.IsLinkLocalUnicast() {
			bits, _ := a.Mask.Size()
			f.Addresses = append(f.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
		}
	}
	return nil
}

// dumps bounds how often a list is asked for that changes while the kernel writes it down.
const dumps = 200

// settled returns a list that did not change meanwhile. Elsewhere on the machine links come and go at any time.
func settled[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumps {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
		time.Sleep(time.Millisecond)
	}
	return all, err
}

// RemoveInterface removes what OnBridge lists. It is found by its outer end, which is out of a container's reach: the names and
// addresses of the inner one may be anything. Nothing there is no error.
func (i Inside) RemoveInterface(bridge, port string) error {
	err := i.m.run(nil, func(t *thread) error {
		ports, _, err := t.ports(i.ns, bridge, port)
		for _, p := range ports {
			var missing netlink.LinkNotFoundError
			if gone := t.routes.LinkDel(p); gone != nil && !errors.Is(gone, unix.ENODEV) && !errors.As(gone, &missing) {
				err = errors.Join(err, fmt.Errorf("%s: %w", p.Attrs().Name, gone))
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the interface on %s: %w", bridge, err)
	}
	return nil
}

// SetGateways makes the default routes of a namespace lead to these addresses, one for each family; an invalid one: no
// way out.
func (i Inside) SetGateways(v4, v6 netip.Addr) error {
	err := i.m.run(i.ns, func(*thread) error {
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		defer inside.Close()
		for _, family := range []struct {
			number int
			way    netip.Addr
		}{{unix.AF_INET, v4}, {unix.AF_INET6, v6}} {
			// Default ones alone: a container may have made any number of others.
			routes, err := settled(func() ([]netlink.Route, error) {
				return inside.RouteListFiltered(family.number, &netlink.Route{}, netlink.RT_FILTER_DST)
			})
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Gw == nil {
					continue
				}
				if err := inside.RouteDel(&r); err != nil {
					return fmt.Errorf("default route by %s: %w", r.Gw, err)
				}
			}
			if !family.way.IsValid() {
				continue
			}
			if err := inside.RouteAdd(&netlink.Route{Gw: family.way.AsSlice(), Dst: everything(family.way)}); err != nil {
				return fmt.Errorf("default route by %s: %w", family.way, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change the way out: %w", err)
	}
	return nil
}
