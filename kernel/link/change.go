package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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
		if err := t.addInterface(i.ns, inside, master, f); err != nil {
			if l, found := inside.LinkByName(f.Name); found == nil {
				_ = inside.LinkDel(l)
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

// OnBridge lists the interfaces of a namespace whose other end is a port of bridge, with what AddInterface gave them or what
// the container has made of that: name, hardware address, IP addresses.
func (i Inside) OnBridge(bridge string) (list []Interface, err error) {
	err = i.m.run(i.ns, func(t *thread) error {
		master, err := t.index(bridge)
		if err != nil {
			return err
		}
		ports, err := settled(t.routes.LinkList)
		if err != nil {
			return err
		}
		// How the namespace is known at home, since that list at the latest; none means that nothing there leads into it.
		id, err := t.routes.GetNetNsIdByFd(int(i.ns.Fd()))
		if err != nil || id < 0 {
			return err
		}
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		defer inside.Close()
		for _, p := range ports {
			if a := p.Attrs(); p.Type() != "veth" || a.MasterIndex != master || a.NetNsID != id {
				continue
			}
			l, err := inside.LinkByIndex(p.Attrs().ParentIndex)
			if err != nil {
				return err
			}
			f := Interface{Name: l.Attrs().Name, Bridge: bridge, MAC: l.Attrs().HardwareAddr}
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
			list = append(list, f)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for interfaces on %s: %w", bridge, err)
	}
	return list, nil
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

// RemoveInterface removes the interface of a namespace that has the hardware address or, where the container has changed
// that, the IP address. One that is not there is no error.
func (i Inside) RemoveInterface(mac net.HardwareAddr, a netip.Addr) error {
	err := i.m.run(i.ns, func(*thread) error {
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		defer inside.Close()
		links, err := settled(inside.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Type() == "veth" && bytes.Equal(l.Attrs().HardwareAddr, mac) {
				return inside.LinkDel(l)
			}
		}
		for _, l := range links {
			if l.Type() != "veth" {
				continue
			}
			addresses, err := settled(func() ([]netlink.Addr, error) { return inside.AddrList(l, unix.AF_UNSPEC) })
			if err != nil {
				return err
			}
			for _, own := range addresses {
				if own.IP.Equal(a.AsSlice()) {
					return inside.LinkDel(l)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove the interface of %s: %w", a, err)
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
