package nft

import (
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Bits of a connection's state (enum nft_ct_keys, ct state) and status (enum ip_conntrack_status).
const (
	stateInvalid     = 1
	stateEstablished = 2
	stateRelated     = 4
	statusDstNAT     = 1 << 5
)

// The functions of this file are the words of which rules are made.

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

func equal(reg uint32, data []byte) []expr.Any {
	return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}}
}

func inIs(link string) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1}}, equal(reg1, ifname(link))...)
}

func outIs(link string) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1}}, equal(reg1, ifname(link))...)
}

func outIsNot(link string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: ifname(link)},
	}
}

func family(f byte) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1}}, equal(reg1, []byte{f})...)
}

func header(reg, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func daddr4() []expr.Any { return []expr.Any{header(reg1, 16, 4)} }
func daddr6() []expr.Any { return []expr.Any{header(reg1, 24, 16)} }

// within compares the masked reg1 with the range p.
func within(p netip.Prefix) []expr.Any {
	size := p.Addr().BitLen() / 8
	return append([]expr.Any{&expr.Bitwise{
		SourceRegister: reg1, DestRegister: reg1, Len: uint32(size),
		Mask: net.CIDRMask(p.Bits(), size*8), Xor: make([]byte, size),
	}}, equal(reg1, p.Masked().Addr().AsSlice())...)
}

func loopback() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) }

func toLoopback() []expr.Any {
	return append(append(family(unix.NFPROTO_IPV4), daddr4()...), within(loopback())...)
}

func fromLoopback() []expr.Any { return from(loopback()) }

func from(p netip.Prefix) []expr.Any {
	if p.Addr().Is4() {
		return append(append(family(unix.NFPROTO_IPV4), header(reg1, 12, 4)), within(p)...)
	}
	return append(append(family(unix.NFPROTO_IPV6), header(reg1, 8, 16)), within(p)...)
}

// notForHost fits packets whose destination is no address of the host.
func notForHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(unix.RTN_LOCAL)},
	}
}

func proto(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}}
}

func dport(reg uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

// lookup replaces the key that starts in reg1 by the map's value, or ends the rule.
func lookup(name string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: name}}
}

func dnat(family uint32, portReg uint32) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: reg1, RegProtoMin: portReg, Specified: true}}
}

func state(bits uint32) []expr.Any { return conntrack(expr.CtKeySTATE, bits) }

// translated fits connections whose destination was rewritten: what came by a published port.
func translated() []expr.Any { return conntrack(expr.CtKeySTATUS, statusDstNAT) }

func conntrack(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(0)},
	}
}
