package link

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Interface is one device inside a namespace, its other end on a bridge.
type Interface struct {
	// Name inside the namespace ("eth0") and the bridge at home.
	Name, Bridge string
	// Port is the name of the outer end, by which RemoveInterface finds it; "" for a random one. PortName makes one.
	Port string
	MAC  net.HardwareAddr
	// MTU in bytes, 0 for the kernel's default.
	MTU       int
	Addresses []netip.Prefix
	// Hairpin lets the bridge send frames back to where they came from. Where the host filters bridged traffic
	// (br_netfilter), a container reaches its own published port only so. It comes into force shortly after
	// NewNamespace has returned.
	Hairpin bool
	// Announce tells everybody on the bridge which hardware address the IP addresses have now: needed where they may be
	// known with another one.
	Announce bool
}

// Sandbox describes a namespace to make.
type Sandbox struct {
	Interfaces []Interface
	// Gateways are the default routes, at most one of each family; none: no way out.
	Gateways []netip.Addr
	// Sysctls are written last, in the order of their names. Without them every port and ping is free for every user.
	Sysctls map[string]string
}

// NewNamespace makes a network namespace with its loopback up and all that s asks for. The caller owns the result:
// when it and every other reference (processes, sockets) are gone, the kernel removes the namespace and its links.
// On an error nothing stays. IPv6 is off on interfaces that get no IPv6 address; router advertisements are never
// accepted.
func (m *Manager) NewNamespace(s Sandbox) (*os.File, error) {
	defer m.spare.later(m.makeSpares)
	if len(s.Interfaces)+len(s.Gateways)+len(s.Sysctls) == 0 {
		if ns := m.spare.take(); ns != nil { // it is all that is asked for, and no thread need be woken
			return ns, nil
		}
	}
	var ns *os.File
	err := m.run(nil, func(t *thread) (err error) {
		ns, err = t.newNamespace(s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return ns, nil
}

func (t *thread) newNamespace(s Sandbox) (_ *os.File, err error) {
	masters := make([]int, len(s.Interfaces))
	for i, f := range s.Interfaces {
		if masters[i], err = t.index(f.Bridge); err != nil {
			return nil, err
		}
	}
	ns, err := t.fresh()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = ns.Close()
		}
	}()
	if err := t.furnish(ns, masters, s); err != nil {
		return nil, err
	}
	return ns, t.setAll(s.Sysctls)
}

// furnish makes the interfaces and routes of s in ns, which the thread is in.
func (t *thread) furnish(ns *os.File, masters []int, s Sandbox) error {
	if len(s.Interfaces)+len(s.Gateways) == 0 {
		return nil
	}
	inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer inside.Close()
	for i, f := range s.Interfaces {
		if err := t.addInterface(ns, inside, masters[i], f); err != nil {
			return fmt.Errorf("%s on %s: %w", f.Name, f.Bridge, err)
		}
	}
	for _, g := range s.Gateways {
		if err := inside.RouteAdd(&netlink.Route{Gw: g.AsSlice(), Dst: everything(g)}); err != nil {
			return fmt.Errorf("default route by %s: %w", g, err)
		}
	}
	return nil
}

// raiseLoopback brings up the loopback device, which every new namespace has as its first, in the thread's namespace.
func raiseLoopback() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1, Name: "lo"}}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	return nil
}

func (t *thread) setAll(sysctls map[string]string) error {
	names := make([]string, 0, len(sysctls))
	for name := range sysctls {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := t.set(name, sysctls[name]); err != nil {
			return err
		}
	}
	return nil
}

// addInterface makes the pair and its inner end's address. The thread is inside ns; t.routes works at home.
func (t *thread) addInterface(ns *os.File, inside *netlink.Handle, master int, f Interface) error {
	outer := f.Port
	if outer == "" {
		outer = PortName(rand.Text())
	}
	if err := addPair(t.sockets, ns, master, outer, f); err != nil {
		return err
	}
	if f.Hairpin {
		// Not waited for: the kernel's lock for links may be busy with namespaces that go away.
		go t.m.hairpin(outer)
	}
	inner, err := inside.LinkByName(f.Name)
	if err != nil {
		return err
	}
	if f.has6() {
		for _, c := range [...][2]string{{"accept_dad", "0"}, {"disable_ipv6", "0"}} {
			if err := t.set("net/ipv6/conf/"+f.Name+"/"+c[0], c[1]); err != nil {
				return err
			}
		}
	}
	for _, p := range f.Addresses {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // ours alone by allocation; without it the address is not usable for a second
		} else {
			a.Broadcast = net.IPv4zero.To4()
		}
		if err := inside.AddrAdd(inner, a); err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	if err := inside.LinkSetUp(inner); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	// Both ends have a carrier now, but the kernel acts on it from a work queue, which can lag behind by long when
	// other namespaces go away; a packet sent until then is lost, and the next follows a second later.
	if err := waitUp(inside, inner.Attrs().Index); err != nil {
		return err
	}
	port, err := t.routes.LinkByName(outer)
	if err != nil {
		return err
	}
	if port.Attrs().OperState != netlink.OperUp {
		if err := waitUp(t.routes, port.Attrs().Index); err != nil {
			return err
		}
	}
	if err := waitUp(t.routes, master); err != nil { // after its port, which may be its first
		return err
	}
	if f.MAC == nil {
		return nil
	}
	// The bridge may still know the address at the port of a namespace that is going away.
	if err := t.routes.NeighSet(&netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
		State: netlink.NUD_REACHABLE, HardwareAddr: f.MAC,
	}); err != nil {
		return fmt.Errorf("tell the bridge of %s: %w", f.MAC, err)
	}
	if f.Announce {
		if err := t.announce(inside, inner, f); err != nil {
			return fmt.Errorf("announce %s: %w", f.MAC, err)
		}
	}
	return nil
}

// announce has the kernel send what it sends when a hardware address changes: gratuitous ARP (RFC 5227, 3) and unsolicited
// neighbour advertisements (RFC 4861, 7.2.6), one for each IP address. The thread is inside the namespace. A packet socket
// of our own would do it too, but to close one takes tens of milliseconds.
func (t *thread) announce(inside *netlink.Handle, l netlink.Link, f Interface) error {
	keys := []string{"net/ipv4/conf/" + f.Name + "/arp_notify", "net/ipv6/conf/" + f.Name + "/ndisc_notify"}
	if !f.has6() {
		keys = keys[:1]
	}
	var err error
	for _, key := range keys {
		err = errors.Join(err, t.set(key, "1"))
	}
	if err == nil {
		err = inside.LinkSetHardwareAddr(l, f.MAC)
	}
	for _, key := range keys {
		err = errors.Join(err, t.set(key, "0"))
	}
	return err
}

// has6 reports whether f has an IPv6 address.
func (f *Interface) has6() bool {
	return slices.ContainsFunc(f.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// upLimit bounds waitUp, so that a link which somebody keeps down holds up nobody.
const upLimit = time.Second

// waitUp returns when the kernel has acted on the carrier of a link. To be asked makes it act at once since Linux 6.7;
// before, it is asked again.
func waitUp(in *netlink.Handle, index int) error {
	for deadline := time.Now().Add(upLimit); ; time.Sleep(time.Millisecond) {
		l, err := in.LinkByIndex(index)
		if err != nil || l.Attrs().OperState == netlink.OperUp || time.Now().After(deadline) {
			return err
		}
	}
}

// hairpin lets a port of a bridge send back what it received. A link that is gone already is no matter.
func (m *Manager) hairpin(name string) {
	_ = m.run(nil, func(t *thread) error {
		return t.routes.LinkSetHairpin(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}}, true)
	})
}

// addPair makes both ends in one message: the outer one at home, up and on its bridge, the inner one in ns, still down.
// The library's own way would take two messages more, each of which waits for the kernel's one lock for links.
func addPair(home map[int]*nl.SocketHandle, ns *os.File, master int, name string, f Interface) error {
	attr := func(kind int, data []byte) *nl.RtAttr { return nl.NewRtAttr(kind, data) }
	one := nl.Uint32Attr(1) // queues: the default is one per processor, each with its own sysfs entries
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.Sockets = home
	outer := nl.NewIfInfomsg(unix.AF_UNSPEC)
	outer.Flags, outer.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(outer)
	req.AddData(attr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(attr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
	req.AddData(attr(unix.IFLA_NUM_TX_QUEUES, one))
	req.AddData(attr(unix.IFLA_NUM_RX_QUEUES, one))

	info := attr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC) // not up: the kernel refuses (ENOTCONN) before the pair is whole
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(f.Name))
	peer.AddRtAttr(unix.IFLA_NUM_TX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_NUM_RX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns.Fd())))
	if f.MAC != nil {
		peer.AddRtAttr(unix.IFLA_ADDRESS, f.MAC)
	}
	if f.MTU > 0 {
		peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(f.MTU)))
		req.AddData(attr(unix.IFLA_MTU, nl.Uint32Attr(uint32(f.MTU))))
	}
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("add the pair %s: %w", name, err)
	}
	return nil
}

// portPrefix begins the names of all outer ends.
const portPrefix = "pv"

// PortName is the name of the outer end of the interface that seed, a random text, stands for. No seed serves twice: the
// name of a pair that is going away stays taken for some 40 ms.
func PortName(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return portPrefix + hex.EncodeToString(sum[:5])
}

func (t *thread) index(name string) (int, error) {
	l, err := t.routes.LinkByName(name)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return 0, errkind.New(errkind.NotFound, "no network interface %s", name)
		}
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return l.Attrs().Index, nil
}

func everything(gw netip.Addr) *net.IPNet {
	if gw.Is4() {
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
