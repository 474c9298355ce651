package link_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"pier/kernel/link"
)

// hostNamespace puts the test's thread into a fresh namespace, which plays the host, and returns a Manager at home
// there. The thread is thrown away with the test's goroutine.
func hostNamespace(t testing.TB) *link.Manager {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they make network namespaces")
	}
	if err := link.Isolate(); err != nil {
		t.Fatal(err)
	}
	m, err := link.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func bridge(t testing.TB, m *link.Manager) {
	t.Helper()
	b := link.Bridge{Name: "br0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/16")}, Loopback: true}
	for range 2 { // the second time it is there already
		if err := m.EnsureBridge(b); err != nil {
			t.Fatal(err)
		}
	}
}

func sandbox(addr string) link.Sandbox {
	return link.Sandbox{
		Interfaces: []link.Interface{{
			Name: "eth0", Bridge: "br0", MAC: net.HardwareAddr{2, 0x42, 10, 9, 0, 2},
			Addresses: []netip.Prefix{netip.MustParsePrefix(addr)},
		}},
		Gateways: []netip.Addr{netip.MustParseAddr("10.9.0.1")},
		Sysctls:  map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
	}
}

func names(t testing.TB, m *link.Manager, ns *os.File) (list []string) {
	t.Helper()
	if err := m.Do(ns, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			list = append(list, i.Name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNamespaceReachesBridgeAndLeavesNothing(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	ns, err := m.NewNamespace(sandbox("10.9.0.2/16"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names(t, m, ns), " "); got != "lo eth0" {
		t.Errorf("inside: %s", got)
	}
	if v, err := m.Sysctl(ns, "net.ipv6.conf.eth0.disable_ipv6"); err != nil || v != "1" {
		t.Errorf("disable_ipv6 = %q, %v", v, err)
	}
	if v, err := m.Sysctl(ns, "net.ipv4.ip_unprivileged_port_start"); err != nil || v != "0" {
		t.Errorf("own sysctl = %q, %v", v, err)
	}
	var l net.Listener
	if err := m.Do(ns, func() (err error) { l, err = net.Listen("tcp", "10.9.0.2:80"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := m.Do(nil, func() error {
		c, err := net.DialTimeout("tcp", "10.9.0.2:80", time.Minute)
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	l.Close()
	ns.Close()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if got := strings.Join(names(t, m, nil), " "); got == "lo br0" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("left at home: %s", got)
		}
	}
	if err := m.DeleteBridge("br0"); err != nil {
		t.Error(err)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	s := sandbox("10.9.0.2/16")
	s.Gateways = []netip.Addr{netip.MustParseAddr("10.10.0.1")} // unreachable
	if _, err := m.NewNamespace(s); err == nil {
		t.Fatal("want an error")
	}
	s.Interfaces[0].Bridge = "nosuch"
	if _, err := m.NewNamespace(s); err == nil {
		t.Fatal("want an error")
	}
	if _, err := m.NewNamespace(link.Sandbox{}); err != nil { // the thread is home and well
		t.Error(err)
	}
}

func TestSysctlNames(t *testing.T) {
	m := hostNamespace(t)
	for _, bad := range []string{"kernel.core_pattern", "net", "net..x", "net/../kernel/core_pattern", "net.ipv4.+x", "net/ipv4/\x00"} {
		if err := m.SetSysctl(nil, bad, "1"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if err := m.SetSysctl(nil, "net.ipv4.ip_forward", "1\n0"); err == nil {
		t.Error("a value of two lines was accepted")
	}
}

func BenchmarkNamespace(b *testing.B) {
	m := hostNamespace(b)
	bridge(b, m)
	for b.Loop() {
		ns, err := m.NewNamespace(sandbox("10.9.0.2/16"))
		if err != nil {
			b.Fatal(err)
		}
		ns.Close()
	}
}

// A packet sent before the kernel has taken notice of a new link is lost, and the next follows a second later.
func TestReachableAtOnceWhileOthersGo(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	for i := range 30 {
		// Every other time with the address of one that is going away.
		addr := netip.AddrFrom4([4]byte{10, 9, 1, byte(i/2 + 1)})
		s := sandbox(addr.String() + "/16")
		s.Interfaces[0].MAC[5] = byte(i/2 + 1)
		ns, err := m.NewNamespace(s)
		if err != nil {
			t.Fatal(err)
		}
		l, err := m.ListenTCP(ns, "tcp4", "0.0.0.0:80")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		c, err := m.Dial("tcp", netip.AddrPortFrom(addr, 80), time.Minute)
		for i%2 == 1 && err != nil && strings.Contains(err.Error(), "refused") && time.Since(begin) < time.Minute {
			// The one that is going away has answered: it has the same address, and nobody listens there any more.
			c, err = m.Dial("tcp", netip.AddrPortFrom(addr, 80), time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 900*time.Millisecond && sentAgain(t, c) {
			t.Errorf("connected after %v, by a second packet", took)
		}
		c.Close()
		l.Close()
		ns.Close()
	}
}

// sentAgain reports whether a part of what went through a connection was sent more than once.
func sentAgain(t *testing.T, c net.Conn) (again bool) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, infoErr := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if infoErr != nil {
			t.Error(infoErr)
			return
		}
		again = info.Total_retrans > 0
	}); err != nil {
		t.Fatal(err)
	}
	return again
}

// TestInside adds an interface to a namespace that is in use, leads the way out through it, and takes it away again.
func TestInside(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	ns, err := m.NewNamespace(sandbox("10.9.0.2/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	second := link.Bridge{Name: "br1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/16")}}
	if err := m.EnsureBridge(second); err != nil {
		t.Fatal(err)
	}
	mac, address := net.HardwareAddr{2, 0x42, 10, 8, 0, 2}, netip.MustParseAddr("10.8.0.2")
	f := link.Interface{Bridge: "br1", Port: link.PortName("second"), MAC: mac, Addresses: []netip.Prefix{netip.PrefixFrom(address, 16)}}
	in := m.Inside(ns)
	if name, err := in.AddInterface(f); err != nil || name != "eth1" {
		t.Fatalf("%q, %v", name, err)
	}
	if _, err := in.AddInterface(link.Interface{Bridge: "nosuch"}); err == nil {
		t.Error("an interface on a bridge that does not exist")
	}
	way := func() (v string) {
		if err := m.Do(ns, func() error {
			b, err := os.ReadFile("/proc/thread-self/net/route")
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); f[1] == "00000000" {
					v += f[0]
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, step := range []struct {
		gateway netip.Addr
		want    string
	}{{netip.MustParseAddr("10.8.0.1"), "eth1"}, {netip.MustParseAddr("10.9.0.1"), "eth0"}, {netip.Addr{}, ""}} {
		if err := in.SetGateways(step.gateway, netip.Addr{}); err != nil || way() != step.want {
			t.Errorf("by %s: %q, %v", step.gateway, way(), err)
		}
	}
	other, err := m.NewNamespace(sandbox("10.9.0.3/16")) // whose interface is on a bridge of these, and none of ours
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for bridge, want := range map[string]string{"br0": "eth0 02:42:0a:09:00:02 10.9.0.2/16", "br1": "eth1 02:42:0a:08:00:02 10.8.0.2/16"} {
		list, err := in.OnBridge(bridge, "")
		if err != nil || len(list) != 1 || len(list[0].Addresses) != 1 ||
			fmt.Sprintf("%s %s %s", list[0].Name, list[0].MAC, list[0].Addresses[0]) != want {
			t.Errorf("on %s: %+v, %v, want %s", bridge, list, err, want)
		}
	}
	for range 2 { // the second time it is gone
		if err := in.RemoveInterface("br1", f.Port); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(names(t, m, ns), " "); got != "lo eth0" {
		t.Errorf("inside: %s", got)
	}
}

// What a container has made of its interfaces does not lead to the wrong one.
func TestRemoveInterfaceFindsTheOneMeant(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	if err := m.EnsureBridge(link.Bridge{Name: "br1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/16")}}); err != nil {
		t.Fatal(err)
	}
	s := sandbox("10.9.0.2/16")
	second := link.Interface{Bridge: "br1", Port: link.PortName("one"), MAC: s.Interfaces[0].MAC, // of both
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/16")}}
	nested, err := m.NewNamespace(link.Sandbox{Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer nested.Close()
	for name, change := range map[string]func(*netlink.Handle, netlink.Link) error{
		"as it was": func(*netlink.Handle, netlink.Link) error { return nil },
		"renamed": func(h *netlink.Handle, l netlink.Link) error {
			return errors.Join(h.LinkSetDown(l), h.LinkSetName(l, "lan"))
		},
		"moved": func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetNsFd(l, int(nested.Fd())) },
		"another address": func(h *netlink.Handle, l netlink.Link) error {
			return h.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 0, 1})
		},
	} {
		for _, port := range []string{second.Port, ""} { // "": all that is known is the bridge
			if port == "" && name == "moved" {
				continue // to where nothing tells whose it is
			}
			ns, err := m.NewNamespace(s)
			if err != nil {
				t.Fatal(err)
			}
			in := m.Inside(ns)
			if _, err := in.AddInterface(second); err != nil {
				t.Fatal(err)
			}
			if err := m.Do(ns, func() error {
				h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
				if err != nil {
					return err
				}
				defer h.Close()
				l, err := h.LinkByName("eth1")
				if err != nil {
					return err
				}
				return change(h, l)
			}); err != nil {
				t.Fatal(name, err)
			}
			if list, err := in.OnBridge("br1", port); err != nil || len(list) != 1 || list[0].Port != second.Port {
				t.Errorf("%s: %+v, %v", name, list, err)
			}
			if err := in.RemoveInterface("br1", port); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := strings.Join(append(names(t, m, ns), names(t, m, nested)...), " "); got != "lo eth0 lo" {
				t.Errorf("%s: inside: %s", name, got)
			}
			ns.Close()
		}
	}
}
