package network_test

import (
	"net/netip"
	"strings"
	"testing"

	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
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
