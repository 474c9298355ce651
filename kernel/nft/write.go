package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of 4 bytes: an address of 4 bytes at addr, one of 16 bytes over addr..addr+3.
const (
	reg1 = 1 // 16 bytes, the same as reg32 and the three after it
	reg2 = 2
	// reg9, reg10: the second and third 4 bytes of reg1. reg13: the second 4 bytes of reg2.
	reg9, reg10, reg13 = 9, 10, 13
)

// perMessage bounds the elements of one message, whose length field has 16 bits.
const perMessage = 256

// portMap is one of the four maps of published ports.
type portMap struct {
	name      string
	key, data nftables.SetDatatype
	id        uint32
}

func portMaps() [4]portMap {
	c := nftables.MustConcatSetType
	addr4, addr6, proto, port := nftables.TypeIPAddr, nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService
	return [...]portMap{
		{"any4", c(proto, port), c(addr4, port), 1},
		{"named4", c(addr4, proto, port), c(addr4, port), 2},
		{"any6", c(proto, port), c(addr6, port), 3},
		{"named6", c(addr6, proto, port), c(addr6, port), 4},
	}
}

func (m portMap) set(table *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: table, Name: m.name, ID: m.id, IsMap: true, Concatenation: true, KeyType: m.key, DataType: m.data}
}

// mapIndex tells in which of the portMaps p belongs.
func (p Port) mapIndex() int {
	i := 0
	if !p.From.Addr().Is4() {
		i = 2
	}
	if !p.From.Addr().IsUnspecified() {
		i++
	}
	return i
}

func (p Port) element() nftables.SetElement {
	var key []byte
	if !p.From.Addr().IsUnspecified() {
		key = p.From.Addr().AsSlice()
	}
	key = append(key, p.Proto, 0, 0, 0)
	key = append(binary.BigEndian.AppendUint16(key, p.From.Port()), 0, 0)
	val := append(binary.BigEndian.AppendUint16(p.To.Addr().AsSlice(), p.To.Port()), 0, 0)
	return nftables.SetElement{Key: key, Val: val}
}

// eachMap sorts ports by their map and calls change for every part of each.
func eachMap(table *nftables.Table, ports []Port, change func(*nftables.Set, []nftables.SetElement) error) error {
	if len(ports) == 0 {
		return nil
	}
	var parts [4][]nftables.SetElement
	for _, p := range ports {
		i := p.mapIndex()
		parts[i] = append(parts[i], p.element())
	}
	for i, m := range portMaps() {
		for part := parts[i]; len(part) > 0; {
			n := min(len(part), perMessage)
			if err := change(m.set(table), part[:n]); err != nil {
				return err
			}
			part = part[n:]
		}
	}
	return nil
}

// write sends the whole table as one transaction: the old one away, the new one in.
func (t *Table) write() error {
	table := t.table()
	t.conn.AddTable(table)
	t.conn.DelTable(table)
	t.conn.AddTable(table)
	w := &writer{conn: t.conn, table: table}
	w.sets(t.nets)
	ports := make([]Port, 0, len(t.ports))
	for _, p := range t.ports {
		ports = append(ports, p)
	}
	if w.err == nil {
		w.err = eachMap(table, ports, t.conn.SetAddElements)
	}
	w.raw()
	w.translate()
	w.masquerade(t.nets)
	w.forward(t.nets)
	w.input()
	if w.err != nil {
		return w.err
	}
	return t.conn.Flush()
}

type writer struct {
	conn    *nftables.Conn
	table   *nftables.Table
	bridges *nftables.Set
	err     error
}

func (w *writer) sets(nets []Network) {
	maps := portMaps()
	for _, m := range maps {
		if w.err == nil {
			w.err = w.conn.AddSet(m.set(w.table), nil)
		}
	}
	w.bridges = &nftables.Set{Table: w.table, Name: "bridges", ID: uint32(len(maps)) + 1, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	var names []nftables.SetElement
	for _, n := range nets {
		names = append(names, nftables.SetElement{Key: ifname(n.Bridge)})
	}
	if w.err == nil {
		w.err = w.conn.AddSet(w.bridges, names)
	}
}

func (w *writer) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	c := &nftables.Chain{Name: name, Table: w.table}
	if hook != nil {
		accept := nftables.ChainPolicyAccept
		c.Type, c.Hooknum, c.Priority, c.Policy = kind, hook, priority, &accept
	}
	return w.conn.AddChain(c)
}

// rule adds one rule made of parts.
func (w *writer) rule(c *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	w.conn.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: all})
}

func (w *writer) raw() {
	c := w.chain("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	w.rule(c, w.fromBridges(), toLoopback(), verdict(expr.VerdictDrop))
}

func (w *writer) translate() {
	in := w.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	// A packet from outside with such a destination is forged; the routing code drops it if it is left as it is.
	w.rule(in, toLoopback(), verdict(expr.VerdictReturn))
	out := w.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	// The kernel does not route from ::1 to a bridge; a relay in the daemon serves that address.
	w.rule(out, family(unix.NFPROTO_IPV6), daddr6(), equal(reg1, append(make([]byte, 15), 1)), verdict(expr.VerdictReturn))
	for _, c := range []*nftables.Chain{in, out} {
		w.rule(c, notForHost(), verdict(expr.VerdictReturn))
		w.rule(c, family(unix.NFPROTO_IPV4), daddr4(), proto(reg9), dport(reg10), lookup("named4"), dnat(unix.NFPROTO_IPV4, reg9))
		w.rule(c, family(unix.NFPROTO_IPV4), proto(reg1), dport(reg9), lookup("any4"), dnat(unix.NFPROTO_IPV4, reg9))
		w.rule(c, family(unix.NFPROTO_IPV6), daddr6(), proto(reg2), dport(reg13), lookup("named6"), dnat(unix.NFPROTO_IPV6, reg2))
		w.rule(c, family(unix.NFPROTO_IPV6), proto(reg1), dport(reg9), lookup("any6"), dnat(unix.NFPROTO_IPV6, reg2))
	}
}

func (w *writer) masquerade(nets []Network) {
	c := w.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	masq := []expr.Any{&expr.Masq{}}
	for _, n := range nets {
		for _, s := range n.Subnets {
			w.rule(c, from(s), outIs(n.Bridge), translated(), masq)
			if n.Masquerade && !n.Internal {
				w.rule(c, from(s), outIsNot(n.Bridge), masq)
			}
		}
	}
	w.rule(c, fromLoopback(), w.toBridges(), masq)
}

func (w *writer) forward(nets []Network) {
	base := w.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	to := w.chain("to_containers", "", nil, nil)
	out := w.chain("from_containers", "", nil, nil)
	w.rule(base, w.toBridges(), jump(to.Name))
	w.rule(base, w.fromBridges(), jump(out.Name))

	w.rule(to, state(stateInvalid), verdict(expr.VerdictDrop))
	w.rule(to, state(stateEstablished|stateRelated), verdict(expr.VerdictAccept))
	for _, n := range nets {
		if n.Separate {
			w.rule(to, inIs(n.Bridge), outIs(n.Bridge), translated(), verdict(expr.VerdictAccept))
			w.rule(to, inIs(n.Bridge), outIs(n.Bridge), verdict(expr.VerdictDrop))
		} else {
			w.rule(to, inIs(n.Bridge), outIs(n.Bridge), verdict(expr.VerdictAccept))
		}
	}
	for _, n := range nets {
		if n.Internal {
			w.rule(to, inIs(n.Bridge), verdict(expr.VerdictDrop))
			w.rule(to, outIs(n.Bridge), verdict(expr.VerdictDrop))
			w.rule(out, inIs(n.Bridge), verdict(expr.VerdictDrop))
		}
	}
	w.rule(to, translated(), verdict(expr.VerdictAccept))
	w.rule(to, verdict(expr.VerdictDrop))
}

func (w *writer) input() {
	c := w.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	const routerAdvertisement = 134
	w.rule(c, w.fromBridges(), family(unix.NFPROTO_IPV6), proto(reg1), equal(reg1, []byte{unix.IPPROTO_ICMPV6}),
		[]expr.Any{&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}},
		equal(reg1, []byte{routerAdvertisement}), verdict(expr.VerdictDrop))
}

func (w *writer) fromBridges() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1}, w.inBridges()}
}

func (w *writer) toBridges() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1}, w.inBridges()}
}

func (w *writer) inBridges() expr.Any {
	return &expr.Lookup{SourceRegister: reg1, SetName: w.bridges.Name, SetID: w.bridges.ID}
}

// ifname is a link's name as the kernel compares it: 16 bytes.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
