// Package nft owns one nftables table: published ports, address translation and the walls between bridges.
//
// The table is of family inet and belongs to one daemon; nothing outside it is read or changed. It is described by
// values (Network, Port), kept in memory, and written as a whole in one transaction; a port alone is one element added
// to or taken from a map, whatever the number of ports.
//
//	map named4/named6  host address . protocol . port -> container address . port
//	map any4/any6      protocol . port -> container address . port      (bound to 0.0.0.0 or [::])
//	set bridges        names of our bridges
//
//	raw         drops what containers send to 127.0.0.0/8 of the host (route_localnet would let it in)
//	prerouting  translates what comes to an address of the host; never for 127.0.0.0/8, never for foreign addresses
//	output      the same for the host's own connections
//	postrouting masquerades what leaves for the outside, what a container sends to itself by a published port, and
//	            what the host sends from 127.0.0.1
//	forward     to a container: replies, neighbours on the same bridge, published ports; all else is dropped.
//	            internal networks: neighbours only
//	input       drops router advertisements from containers
//
// A verdict "accept" here does not overrule a drop in another table: where the host's own rules (a FORWARD policy of
// drop, say) forbid traffic to containers, it stays forbidden.
//
// One goroutine owns the socket and joins waiting changes into one transaction. Another listens to the kernel's
// notices; when another program changes or flushes the table, it is written anew at once.
//
// Start reading at Table.
package nft
