package network_test

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/kernel/link"
)

// own makes a network with a range of its own.
func (r *rig) own(name, subnet string) {
	r.t.Helper()
	_, err := r.n.Create(r.t.Context(), api.CreateRequest{Name: name, IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: netip.MustParsePrefix(subnet)}}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A container may have the same hardware address on two networks: who leaves one keeps the other.
func TestDisconnectWithOneHardwareAddress(t *testing.T) {
	r := newRig(t)
	mac := api.HardwareAddr{2, 0, 0, 0, 0, 7}
	asked := map[string]*api.EndpointSettings{}
	for name, subnet := range map[string]string{"a": "10.41.0.0/24", "b": "10.42.0.0/24", "c": "10.43.0.0/24"} {
		r.own(name, subnet)
		asked[name] = &api.EndpointSettings{MacAddress: mac}
	}
	for _, leaves := range []string{"a", "b", "c"} {
		o := network.JoinOptions{ContainerID: "twins-" + leaves, Name: "twins", Mode: "a", Endpoints: map[string]*api.EndpointSettings{"a": asked["a"], "b": asked["b"]}}
		c := r.join(o)
		if _, err := r.n.Connect(t.Context(), o, "c", asked["c"]); err != nil {
			t.Fatal(err)
		}
		if _, err := r.n.Disconnect(t.Context(), o, leaves); err != nil {
			t.Fatal(err)
		}
		addresses := run(t, r, c.Netns, "ip", "-4", "-o", "address", "show")
		for name, start := range map[string]string{"a": "inet 10.41.", "b": "inet 10.42.", "c": "inet 10.43."} {
			if strings.Contains(addresses, start) == (name == leaves) {
				t.Errorf("without %s:\n%s", leaves, addresses)
			}
		}
		r.n.Leave(o.ContainerID)
	}
}

// trusting lets the host and peer, who is on n, believe what they know of others without asking whether it still holds.
func (r *rig) trusting(n api.CreateResponse, peer *container) {
	r.t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		for link, ns := range map[string]*os.File{"br-" + n.ID[:12]: nil, "eth0": peer.Netns} {
			if err := r.m.SetSysctl(ns, "net."+family+".neigh."+link+".delay_first_probe_time", "600"); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// An IPv6 address of a small range that comes round goes over to another hardware address.
func TestIPv6AddressComesRound(t *testing.T) {
	r := newRig(t)
	six := true
	made := must(r.n.Create(t.Context(), api.CreateRequest{Name: "a", EnableIPv6: &six, IPAM: &api.IPAM{Config: []api.IPAMConfig{
		{Subnet: netip.MustParsePrefix("10.41.0.0/24")}, {Subnet: netip.MustParsePrefix("fd41::/126")}}}}))(t)
	peer := r.join(network.JoinOptions{Name: "peer", Mode: "a"})
	r.trusting(made, peer)
	for range 2 {
		c := r.join(network.JoinOptions{Name: "c", Mode: "a"})
		set := c.Settings["a"]
		if got := set.GlobalIPv6Address.String(); got != "fd41::3" {
			t.Fatalf("the only address that is free is %s", got)
		}
		for _, from := range []*os.File{nil, peer.Netns} {
			if _, err := r.askFor(from, "tcp", "[fd41::3]:80", time.Minute); !link.Refused(err) { // nobody listens, which is an answer
				t.Errorf("%s: %v", set.MacAddress, err)
			}
			if text := run(t, r, from, "ip", "neighbour", "show", "fd41::3"); !strings.Contains(text, set.MacAddress.String()) {
				t.Errorf("it has %s, believed is %s", set.MacAddress, text)
			}
		}
		r.n.Leave(c.id)
		c.Netns.Close()
	}
}

// An address that goes over to another hardware address is reached at once by all who knew the former one.
func TestAddressWithAnotherHardwareAddress(t *testing.T) {
	r := newRig(t)
	for _, six := range []bool{false, true} {
		want := []string{"10.41.0.9"}
		create := api.CreateRequest{Name: "a", EnableIPv6: &six, IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: netip.MustParsePrefix("10.41.0.0/24")}}}}
		fixed := api.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.41.0.9")}
		if six {
			want = append(want, "fd41::9")
			create.IPAM.Config = append(create.IPAM.Config, api.IPAMConfig{Subnet: netip.MustParsePrefix("fd41::/64")})
			fixed.IPv6Address = netip.MustParseAddr("fd41::9")
		}
		made := must(r.n.Create(t.Context(), create))(t)
		peer := r.join(network.JoinOptions{Name: "peer", Mode: "a"})
		other := r.join(network.JoinOptions{Name: "other"})
		r.trusting(made, peer)
		for i, mac := range []string{"", "02:00:00:00:00:07", "", "02:00:00:00:00:09"} {
			e := &api.EndpointSettings{IPAMConfig: &fixed}
			if mac != "" {
				if err := e.MacAddress.UnmarshalText([]byte(mac)); err != nil {
					t.Fatal(err)
				}
			}
			o := network.JoinOptions{Name: "moves", Mode: "a", Endpoints: map[string]*api.EndpointSettings{"a": e}}
			c := other
			if i < 3 {
				c = r.join(o)
			} else { // the last one by a connect to a container that runs
				o.ContainerID = other.id
				must(r.n.Connect(t.Context(), o, "a", e))(t)
			}
			for _, from := range []*os.File{nil, peer.Netns} {
				for _, address := range want {
					if i > 0 {
						eventually(t, "the new hardware address of "+address, func() bool {
							return strings.Contains(run(t, r, from, "ip", "neighbour", "show", address), " "+cmp.Or(mac, "02:42:0a:29:00:09")+" ")
						})
					}
				}
			}
			for _, address := range want {
				for _, from := range []*os.File{nil, peer.Netns} { // nobody listens, which is an answer
					if _, err := r.askFor(from, "tcp", net.JoinHostPort(address, "80"), time.Minute); !link.Refused(err) {
						t.Errorf("%s: %v", address, err)
					}
				}
			}
			for _, key := range []string{"net.ipv4.conf.eth0.arp_notify", "net.ipv6.conf.eth0.ndisc_notify"} {
				if v, err := r.m.Sysctl(c.Netns, key); err != nil || v != "0" {
					t.Errorf("%s = %q, %v", key, v, err)
				}
			}
			r.n.Leave(c.id)
			c.Netns.Close()
		}
		r.n.Leave(peer.id)
		if err := r.n.Remove(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
	}
}
