package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// RedirectDNS makes what the calling thread's network namespace sends to port 53 of at, an IPv4 loopback address,
// arrive at the given ports of it. It replaces what an earlier call made, and leaves port 53 free for a name server that
// the container itself runs.
func RedirectDNS(at netip.Addr, udpPort, tcpPort uint16) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("redirect name service: %w", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	table := &nftables.Table{Name: "pier-dns", Family: nftables.TableFamilyIPv4}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	w := &writer{conn: conn, table: table}
	c := w.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	for _, to := range []struct {
		proto uint8
		port  uint16
	}{{UDP, udpPort}, {TCP, tcpPort}} {
		w.rule(c, daddr4(), equal(reg1, at.AsSlice()), proto(reg1), equal(reg1, []byte{to.proto}),
			dport(reg1), equal(reg1, binary.BigEndian.AppendUint16(nil, 53)),
			[]expr.Any{
				&expr.Immediate{Register: reg1, Data: at.AsSlice()},
				&expr.Immediate{Register: reg9, Data: binary.BigEndian.AppendUint16(nil, to.port)},
			}, dnat(unix.NFPROTO_IPV4, reg9))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("redirect name service: %w", err)
	}
	return nil
}
