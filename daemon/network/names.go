package network

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"pier/kernel/nft"
)

const (
	upstreamTimeout = 4 * time.Second
	nameTTL         = 600 // seconds
	queriesAtOnce   = 128 // of one listener; more are refused
)

// nameService answers the questions of containers: names of their neighbours from memory, others by the host's servers.
//
// A container on networks of its own asks 127.0.0.11, where a listener of this process waits inside its namespace, on
// other ports, to which rules inside lead. Containers on the default bridge ask the host's servers directly; only where
// these are on the host's own loopback a listener on the bridge's address asks them in their place.
type nameService struct {
	s *state

	mu       sync.Mutex // guards the fields that follow; taken before state.mu
	gateways map[*network]*listener
}

func newNameService(s *state) *nameService {
	return &nameService{s: s, gateways: map[*network]*listener{}}
}

func (n *nameService) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.gateways {
		l.close()
	}
	n.gateways = map[*network]*listener{}
}

// retire ends the listener on the bridge of a network that is removed.
func (n *nameService) retire(net *network) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gateways[net].close()
	delete(n.gateways, net)
}

// listener is one address at which the service answers, by UDP and TCP.
type listener struct {
	n    *nameService
	box  atomic.Pointer[box] // the container that asks; nil: one of many on a bridge
	udp  *dns.Server
	tcp  *dns.Server
	busy chan struct{}
}

// close ends the service; nil is none.
func (l *listener) close() {
	if l == nil {
		return
	}
	_ = l.udp.PacketConn.Close()
	_ = l.tcp.Listener.Close()
}

// listen opens both sockets in ns (nil: home) and calls then, if any, with their ports, while still inside.
func (n *nameService) listen(ns *os.File, at netip.AddrPort, b *box, then func(udp, tcp uint16) error) (*listener, error) {
	l := &listener{n: n, busy: make(chan struct{}, queriesAtOnce)}
	l.box.Store(b)
	err := n.s.links.Do(ns, func() error {
		udp, err := net.ListenPacket("udp4", at.String())
		if err != nil {
			return err
		}
		tcp, err := net.Listen("tcp4", at.String())
		if err == nil && then != nil {
			err = then(udp.LocalAddr().(*net.UDPAddr).AddrPort().Port(), tcp.Addr().(*net.TCPAddr).AddrPort().Port())
			if err != nil {
				_ = tcp.Close()
			}
		}
		if err != nil {
			_ = udp.Close()
			return err
		}
		l.udp = &dns.Server{PacketConn: udp, Handler: l, UDPSize: 4096}
		l.tcp = &dns.Server{Listener: tcp, Handler: l}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("name service at %s: %w", at, err)
	}
	for _, s := range []*dns.Server{l.udp, l.tcp} {
		go func() {
			if err := s.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				n.s.log.Debug("network: name service ended", "error", err)
			}
		}()
	}
	return l, nil
}

// resolve starts the name service that b needs, if any.
func (s *state) resolve(b *box) (err error) {
	if b.netns == nil {
		return nil
	}
	if b.named() {
		b.resolver, err = s.names.listen(b.netns, netip.AddrPortFrom(embeddedDNS, 0), b, func(udp, tcp uint16) error {
			return nft.RedirectDNS(embeddedDNS, udp, tcp)
		})
		return err
	}
	if len(b.dns) > 0 || len(b.endpoints) == 0 || b.endpoints[0].net.Bridge == "" || !onlyLoopback(s.hostResolver()) {
		return nil
	}
	n, net := s.names, b.endpoints[0].net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gateways[net] == nil {
		l, err := n.listen(nil, netip.AddrPortFrom(net.Network.IPAM.Config[0].Gateway, 53), nil, nil)
		if err != nil { // another name server has the port; containers may still reach it there
			s.log.Warn("network: containers may have no name service: the host's servers are on its loopback", "error", err)
			return nil
		}
		n.gateways[net] = l
	}
	return nil
}

func onlyLoopback(r resolver) bool {
	return !slices.ContainsFunc(r.servers, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// fallback is the address at which containers on the default bridge are served because the host's own servers are out
// of their reach; invalid if there is none.
func (n *nameService) fallback(b *box, host resolver) netip.Addr {
	if b.named() || len(b.endpoints) == 0 || b.endpoints[0].net.Bridge == "" || !onlyLoopback(host) {
		return netip.Addr{}
	}
	return b.endpoints[0].net.Network.IPAM.Config[0].Gateway
}

// ServeDNS answers one question. It is called in a goroutine for each.
func (l *listener) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	default:
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused))
		return
	}
	kind := w.LocalAddr().Network()
	a := l.answer(q, kind)
	if kind == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = max(size, int(o.UDPSize()))
		}
		a.Truncate(size)
	}
	_ = w.WriteMsg(a)
}

func (l *listener) answer(q *dns.Msg, kind string) *dns.Msg {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return new(dns.Msg).SetRcode(q, dns.RcodeNotImplemented)
	}
	b := l.box.Load()
	if b != nil {
		if a := l.local(b, q); a != nil {
			return a
		}
		if !b.outward() {
			// Nothing leaves an internal network, questions included.
			return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
		}
	}
	return l.upstream(b, q, kind)
}

// outward reports whether b is on a network with a way out.
func (b *box) outward() bool {
	return slices.ContainsFunc(b.endpoints, func(e *endpoint) bool { return !e.net.Network.Internal && e.net.Bridge != "" })
}

// local answers from memory, or returns nil.
func (l *listener) local(b *box, q *dns.Msg) *dns.Msg {
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	head := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: nameTTL}
	if question.Qtype == dns.TypePTR {
		if host := l.n.reverse(b, name); host != "" {
			a.Answer = []dns.RR{&dns.PTR{Hdr: head, Ptr: dns.Fqdn(host)}}
			return a
		}
		return nil
	}
	v4, v6 := l.n.lookup(b, name)
	if len(v4)+len(v6) == 0 {
		return nil
	}
	switch question.Qtype {
	case dns.TypeA:
		for _, ip := range v4 {
			a.Answer = append(a.Answer, &dns.A{Hdr: head, A: ip.AsSlice()})
		}
	case dns.TypeAAAA:
		for _, ip := range v6 {
			a.Answer = append(a.Answer, &dns.AAAA{Hdr: head, AAAA: ip.AsSlice()})
		}
	}
	rand.Shuffle(len(a.Answer), func(i, j int) { a.Answer[i], a.Answer[j] = a.Answer[j], a.Answer[i] })
	return a
}

// lookup finds the addresses of a name among the containers that share a network with b. "name.network" is that
// network alone.
func (n *nameService) lookup(b *box, name string) (v4, v6 []netip.Addr) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	for _, mine := range b.endpoints {
		if predefined(mine.net.Network.Name) {
			continue
		}
		name := linked(mine.settings.Links, name)
		short, qualified := strings.CutSuffix(name, "."+strings.ToLower(mine.net.Network.Name))
		for _, other := range n.s.boxes {
			for _, e := range other.endpoints {
				if e.net != mine.net || !slices.ContainsFunc(e.settings.DNSNames, func(d string) bool {
					d = strings.ToLower(d)
					return d == name || qualified && d == short
				}) {
					continue
				}
				v4 = append(v4, e.settings.IPAddress)
				if e.settings.GlobalIPv6Address.IsValid() {
					v6 = append(v6, e.settings.GlobalIPv6Address)
				}
			}
		}
	}
	return v4, v6
}

// linked is the name of the container that name stands for among links "CONTAINER:ALIAS", or name itself.
func linked(links []string, name string) string {
	for _, l := range links {
		if target, alias, ok := strings.Cut(l, ":"); ok && strings.ToLower(alias) == name {
			return strings.ToLower(target)
		}
	}
	return name
}

// reverse finds the name of a neighbour's address ("2.0.18.172.in-addr.arpa").
func (n *nameService) reverse(b *box, name string) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	for _, mine := range b.endpoints {
		for _, other := range n.s.boxes {
			for _, e := range other.endpoints {
				if e.net != mine.net || len(e.settings.DNSNames) == 0 {
					continue
				}
				for _, ip := range []netip.Addr{e.settings.IPAddress, e.settings.GlobalIPv6Address} {
					if !ip.IsValid() {
						continue
					}
					if arpa, err := dns.ReverseAddr(ip.String()); err == nil && strings.TrimSuffix(arpa, ".") == name {
						return e.settings.DNSNames[0] + "." + e.net.Network.Name
					}
				}
			}
		}
	}
	return ""
}

// upstream asks the container's own servers, or the host's, one after the other.
func (l *listener) upstream(b *box, q *dns.Msg, kind string) *dns.Msg {
	servers := l.n.s.hostResolver().servers
	if b != nil && len(b.dns) > 0 {
		servers = b.dns
	}
	for _, server := range servers[:min(len(servers), 3)] {
		a, err := l.n.exchange(q, kind, netip.AddrPortFrom(server, 53))
		if err == nil && a.Rcode != dns.RcodeServerFailure && a.Rcode != dns.RcodeRefused {
			return a
		}
		if err != nil {
			l.n.s.log.Debug("network: name server does not answer", "server", server, "error", err)
		}
	}
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}

func (n *nameService) exchange(q *dns.Msg, kind string, server netip.AddrPort) (*dns.Msg, error) {
	c, err := n.s.links.Dial(kind, server, upstreamTimeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ask := q.Copy()
	ask.Id = dns.Id() // not the container's, which it could make predictable
	client := dns.Client{Timeout: upstreamTimeout}
	a, _, err := client.ExchangeWithConn(ask, &dns.Conn{Conn: c, UDPSize: dns.DefaultMsgSize})
	if err != nil {
		return nil, err
	}
	a.Id = q.Id
	return a, nil
}

// hostModeFiles are the host's own files, with a container's extra lines.
func hostModeFiles(resolvConf string, o *JoinOptions) (hosts, resolv []byte) {
	read := func(path string) []byte {
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		data, _ := io.ReadAll(io.LimitReader(f, maxResolverFile))
		return data
	}
	resolv = read(resolvConf)
	if len(o.DNS)+len(o.DNSSearch)+len(o.DNSOptions) > 0 {
		r := parseResolver(resolv)
		if len(o.DNS) > 0 {
			r.servers = o.DNS
		}
		r.search, r.options = orElse(o.DNSSearch, r.search), orElse(o.DNSOptions, r.options)
		resolv = r.text()
	}
	return append(read("/etc/hosts"), extraLines(o)...), resolv
}

func orElse(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}
