// Package network connects containers: bridges, addresses, published ports, names.
//
//	                Join                                  Leave: close the namespace, give back, never wait
//	networks, addresses   state.attach   join.go, ipam.go
//	host ports            state.publish  ports.go         a silent socket for each, or a relay (IPv6 to IPv4)
//	namespace, veth       kernel/link                     one RTM_NEWLINK, born in place
//	translation           kernel/nft                      one map element for each port
//	other ports           state.changePorts  publish.go   of a container that runs: nothing else is touched
//	names                 state.resolve  names.go         127.0.0.11 inside, for networks that users made
//	/etc/hosts, resolv.conf              resolv.go
//
// What lives in the kernel (bridges, pairs, addresses, rules) needs no process: it works on while no pierd runs. The
// silent sockets, the relays and the name service belong to this process; Adopt brings them back after a restart. A
// container's namespace is held open by its own processes and by one descriptor here.
//
// On disk: table "networks", key network ID, row {network: as in the API, bridge: link name}. Addresses in use are not
// recorded here; they are in the containers' own records, from which Adopt rebuilds them.
//
// Between our bridges and the world the rule is: nothing comes in but replies and published ports. A port published on
// 127.0.0.1 or ::1 is for the host itself. Traffic to published ports keeps its true source, but for the host's own
// connections from 127.0.0.1, a container's to itself, and what a relay carries.
//
// Other programs' firewall rules are left alone, and theirs can forbid what ours allow: where iptables has a FORWARD
// policy of DROP (Docker sets one), the administrator must allow our bridge, for instance
// "iptables -I DOCKER-USER -i pier0 -j ACCEPT; iptables -I DOCKER-USER -o pier0 -j ACCEPT". As with Docker the kernel
// forwards packets between all of the host's interfaces (net.ipv4.ip_forward) once a daemon has run.
//
// Start reading at Networks.
package network
