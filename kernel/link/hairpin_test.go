package link_test

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestHairpin lets the ports that lead into one namespace send back what they received, and no others.
func TestHairpin(t *testing.T) {
	m := hostNamespace(t)
	bridge(t, m)
	ns, err := m.NewNamespace(sandbox("10.9.0.2/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	other, err := m.NewNamespace(sandbox("10.9.0.3/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := m.Inside(ns).Hairpin("br0"); err != nil {
		t.Fatal(err)
	}
	list, err := m.Inside(ns).OnBridge("br0", "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	err = m.Do(nil, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Type() != "veth" {
				continue
			}
			info, infoErr := netlink.LinkGetProtinfo(l)
			err = errors.Join(err, infoErr)
			if name := l.Attrs().Name; info.Hairpin != (name == list[0].Port) {
				t.Errorf("%s: %+v; %s leads into the namespace", name, info, list[0].Port)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
