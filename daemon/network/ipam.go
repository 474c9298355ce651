package network

import (
	"net"
	"net/netip"

	"pier/lib/errkind"
)

// pool hands out the addresses of one range. It is guarded by the lock of its owner.
//
// Addresses are given in turn, not the lowest free one first: the interface that had an address lives on for some tens
// of milliseconds after its container, and must not answer in the name of the next.
type pool struct {
	subnet netip.Prefix // network address and length
	within netip.Prefix // the part from which addresses are chosen: subnet, or ip-range
	last   netip.Addr   // given most recently
	used   map[netip.Addr]bool
	// strange are free IPv4 addresses whose last owner had a hardware address of its own choice, which others may remember.
	strange map[netip.Addr]bool
}

// newPool returns a pool without the addresses in reserved (gateway, auxiliary ones).
func newPool(subnet, within netip.Prefix, reserved ...netip.Addr) *pool {
	if !within.IsValid() {
		within = subnet
	}
	p := &pool{subnet: subnet.Masked(), within: within.Masked(), used: map[netip.Addr]bool{}, strange: map[netip.Addr]bool{}}
	p.last = p.within.Addr().Prev()
	if p.within.Addr() == p.subnet.Addr() {
		p.last = p.within.Addr() // the network's own address
		p.used[p.within.Addr()] = true
	}
	if p.subnet.Addr().Is4() && p.subnet.Bits() < 31 {
		p.used[broadcast(p.subnet)] = true
	}
	for _, a := range reserved {
		if a.IsValid() {
			p.used[a] = true
		}
	}
	return p
}

// take returns a free address. Exhausted if there is none.
func (p *pool) take() (netip.Addr, error) {
	a := p.last
	// Of len(used)+1 different addresses one is free, if the range has as many.
	for range len(p.used) + 2 {
		if a = a.Next(); !a.IsValid() || !p.within.Contains(a) {
			a = p.within.Addr()
		}
		if !p.used[a] {
			p.used[a], p.last = true, a
			return a, nil
		}
	}
	return netip.Addr{}, errkind.New(errkind.Exhausted, "no available IPv%c addresses on this network's address pools: %s",
		familyDigit(p.within.Addr()), p.within)
}

// takeAgain returns a certain address where it is free and of this range, else another. An invalid one is any.
func (p *pool) takeAgain(a netip.Addr) (netip.Addr, error) {
	if a.IsValid() && p.claim(a) == nil {
		return a, nil
	}
	return p.take()
}

// claim takes one certain address.
func (p *pool) claim(a netip.Addr) error {
	switch {
	case !p.subnet.Contains(a):
		return errkind.New(errkind.Invalid, "invalid address %s: It does not belong to any of this network's subnets", a)
	case p.used[a]:
		return errkind.New(errkind.Conflict, "Address already in use: %s", a)
	}
	p.used[a] = true
	return nil
}

// give returns an address. An unknown one is ignored.
func (p *pool) give(a netip.Addr, strange bool) {
	if strange && p.used[a] {
		p.strange[a] = true
	}
	delete(p.used, a)
}

// wasStrange reports, once, whether the last owner of an address left it strange.
func (p *pool) wasStrange(a netip.Addr) bool {
	was := p.strange[a]
	delete(p.strange, a)
	return was
}

func familyDigit(a netip.Addr) byte {
	if a.Is4() {
		return '4'
	}
	return '6'
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	mask := net.CIDRMask(p.Bits(), 32)
	for i := range b {
		b[i] |= ^mask[i]
	}
	return netip.AddrFrom4(b)
}

// candidates yields the ranges from which those of networks are chosen, in order, beginning somewhere that depends on
// seed: several daemons that choose at the same time, and other engines that begin at 172.17, then seldom meet.
func candidates(seed uint32) (list []netip.Prefix) {
	for i := range 14 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(18 + (uint32(i)+seed)%14), 0, 0}), 16))
	}
	for i := range 16 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte((uint32(i) + seed) % 16 * 16), 0}), 20))
	}
	for i := range 2048 {
		n := (uint32(i) + seed) % 2048
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + n/16), byte(n % 16 * 16), 0}), 20))
	}
	return list
}

// free returns the first candidate that overlaps none of taken.
func free(list, taken []netip.Prefix) (netip.Prefix, error) {
	for _, c := range list {
		if !overlapsAny(c, taken) {
			return c, nil
		}
	}
	return netip.Prefix{}, errkind.New(errkind.Exhausted,
		"could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network; name one (--subnet, --bip)")
}

func overlapsAny(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.Overlaps(p) {
			return true
		}
	}
	return false
}
