package settings

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

// publishing is a binding that was asked for, and what it has become where the container runs.
type publishing struct {
	asked network.PortBinding
	now   []network.PortBinding
}

// Publish changes the ports of a container that exists: bindings that fit those of remove go, then those of add come. exposed
// are its exposed ports, now what is published of it, nil where it does not run. h is the caller's to keep after an error
// too: it is then half changed. wanted is all that is to be published then: what stays as now has it, what comes as asked.
func Publish(h *container.HostConfig, exposed network.PortSet, now, add, remove network.PortMap) (wanted network.PortMap, err error) {
	if h.NetworkMode.IsContainer() || h.NetworkMode.IsHost() {
		return nil, errkind.New(errkind.Conflict, "Conflicting options: a container with the network mode %q has no ports of its own to publish", h.NetworkMode)
	}
	if h.PortBindings == nil {
		h.PortBindings = network.PortMap{}
	}
	if h.PublishAllPorts { // from now on every one is named
		h.PublishAllPorts = false
		for port := range exposed {
			if len(h.PortBindings[port]) == 0 {
				h.PortBindings[port] = []network.PortBinding{{}}
			}
		}
	}
	all := map[network.Port][]publishing{}
	for port, bindings := range h.PortBindings {
		all[port] = pair(bindings, now[port])
	}
	for _, port := range sorted(remove) {
		for _, which := range orAny(remove[port]) {
			left := slices.DeleteFunc(slices.Clone(all[port]), func(p publishing) bool { return p.fits(which) })
			if len(left) == len(all[port]) {
				return nil, errkind.New(errkind.Conflict, "%s is not published, so it cannot be removed: `pier port` lists what is", describe(port, which))
			}
			all[port] = left
		}
	}
	for _, port := range sorted(add) {
		if err := checkPort(port); err != nil {
			return nil, err
		}
		for _, b := range orAny(add[port]) {
			if err := checkHostPort(b.HostPort); err != nil || port.Num() == 0 {
				return nil, refuse("invalid port specification: %q", describe(port, b))
			}
			if !chosen(b) && slices.ContainsFunc(all[port], func(p publishing) bool { return p.same(b) }) {
				return nil, errkind.New(errkind.Conflict, "%s is published already", describe(port, b))
			}
			all[port] = append(all[port], publishing{asked: b})
		}
	}
	clear(h.PortBindings)
	wanted = network.PortMap{}
	for port, list := range all {
		for _, p := range list {
			h.PortBindings[port] = append(h.PortBindings[port], p.asked)
			if p.now == nil {
				p.now = []network.PortBinding{p.asked}
			}
			wanted[port] = append(wanted[port], p.now...)
		}
	}
	return wanted, nil
}

// pair finds for each binding of one port what it has become: one of now for each address, in the same order.
func pair(asked, now []network.PortBinding) (list []publishing) {
	now = slices.Clone(now)
	for _, b := range asked {
		p := publishing{asked: b}
		number := ""
		now = slices.DeleteFunc(now, func(n network.PortBinding) bool {
			own := within(n.HostPort, b.HostPort) && (number == "" || number == n.HostPort) && len(p.now) < 2
			if b.HostIP.IsValid() {
				own = own && n.HostIP.Unmap() == b.HostIP.Unmap() && len(p.now) == 0
			} else {
				own = own && n.HostIP.IsUnspecified() && (len(p.now) == 0 || n.HostIP.Is4() != p.now[0].HostIP.Is4())
			}
			if own {
				number = n.HostPort
				p.now = append(p.now, n)
			}
			return own
		})
		list = append(list, p)
	}
	return list
}

// within reports whether a host port is one of those that were asked for: a number, a range or any.
func within(number, asked string) bool {
	if asked == "" || asked == "0" {
		return true
	}
	low, high, ranged := strings.Cut(asked, "-")
	if !ranged {
		high = low
	}
	n, err := strconv.Atoi(number)
	first, err1 := strconv.Atoi(low)
	last, err2 := strconv.Atoi(high)
	return err == nil && err1 == nil && err2 == nil && first <= n && n <= last
}

// fits reports whether p is one of those that which means.
func (p publishing) fits(which network.PortBinding) bool {
	ip := which.HostIP.Unmap()
	if ip.IsValid() && ip != p.asked.HostIP.Unmap() && (p.asked.HostIP.IsValid() || !ip.IsUnspecified()) {
		return false
	}
	return which.HostPort == "" || which.HostPort == "0" || which.HostPort == p.asked.HostPort ||
		slices.ContainsFunc(p.now, func(n network.PortBinding) bool { return n.HostPort == which.HostPort })
}

// same reports whether p is the binding b, or has become it.
func (p publishing) same(b network.PortBinding) bool {
	equal := func(o network.PortBinding) bool {
		return o.HostPort == b.HostPort && o.HostIP.Unmap() == b.HostIP.Unmap()
	}
	return equal(p.asked) || slices.ContainsFunc(p.now, equal)
}

// chosen reports whether the host port of b is the daemon's choice.
func chosen(b network.PortBinding) bool {
	return b.HostPort == "" || b.HostPort == "0" || strings.Contains(b.HostPort, "-")
}

// orAny is the bindings of one port; without any, that of any host port.
func orAny(list []network.PortBinding) []network.PortBinding {
	if len(list) == 0 {
		return []network.PortBinding{{}}
	}
	return list
}

// sorted lists the ports of m in a fixed order, so that the first error is always the same.
func sorted(m network.PortMap) []network.Port {
	return slices.SortedFunc(maps.Keys(m), func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	})
}

// describe writes a binding as users do.
func describe(port network.Port, b network.PortBinding) string {
	out := port.String()
	if b.HostPort != "" || b.HostIP.IsValid() {
		out = b.HostPort + ":" + out
	}
	switch {
	case b.HostIP.Is6():
		out = fmt.Sprintf("[%s]:%s", b.HostIP, out)
	case b.HostIP.IsValid():
		out = fmt.Sprintf("%s:%s", b.HostIP, out)
	}
	return out
}
