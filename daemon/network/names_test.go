package network_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/lib/errkind"
)

// nameServer answers A questions for any name with 192.0.2.53 at address in ns. The answer lists the names it was asked for.
func (r *rig) nameServer(ns *os.File, address string) (asked func() []string) {
	r.t.Helper()
	var mu sync.Mutex // guards names
	var names []string
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		names = append(names, q.Question[0].Name)
		mu.Unlock()
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(192, 0, 2, 53)}}
		}
		_ = w.WriteMsg(a)
	})
	udp := must(r.m.ListenUDP(ns, "udp4", address))(r.t)
	tcp := must(r.m.ListenTCP(ns, "tcp4", address))(r.t)
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}} {
		go func() { _ = s.ActivateAndServe() }()
	}
	r.t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
}

// resolve asks the server of a container's resolv.conf as its libc would.
func (r *rig) resolve(c *container, kind, name string) ([]string, error) {
	var server string
	for line := range strings.Lines(string(c.ResolvConf)) {
		if w := strings.Fields(line); len(w) == 2 && w[0] == "nameserver" {
			server = w[1]
			break
		}
	}
	var found []string
	err := r.m.Do(c.Netns, func() error {
		res := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return net.DialTimeout(kind, server+":53", 30*time.Second)
		}}
		conn, err := res.Dial(context.Background(), "", "")
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
		if strings.HasSuffix(name, ".arpa.") {
			q.Question[0].Qtype = dns.TypePTR
		}
		co := &dns.Conn{Conn: conn}
		if err := co.WriteMsg(q); err != nil {
			return err
		}
		a, err := co.ReadMsg()
		if err != nil {
			return err
		}
		if a.Rcode != dns.RcodeSuccess {
			return errkind.New(errkind.NotFound, "%s", dns.RcodeToString[a.Rcode])
		}
		for _, rr := range a.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				found = append(found, rr.A.String())
			case *dns.PTR:
				found = append(found, rr.Ptr)
			}
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}

func TestNamesOnOwnNetworks(t *testing.T) {
	r := newRig(t)
	asked := r.nameServer(r.outside, "203.0.113.2:53")
	must(r.n.Create(t.Context(), api.CreateRequest{Name: "app", Labels: map[string]string{"l": "v"}}))(t)
	must(r.n.Create(t.Context(), api.CreateRequest{Name: "other"}))(t)
	end := func(aliases ...string) map[string]*api.EndpointSettings {
		return map[string]*api.EndpointSettings{"app": {Aliases: aliases}}
	}
	web := r.join(network.JoinOptions{Name: "web", Hostname: "webhost", Mode: "app", Endpoints: end("www", "pool")})
	db := r.join(network.JoinOptions{Name: "db", Mode: "app", Endpoints: end("pool")})
	far := r.join(network.JoinOptions{Name: "far", Mode: "other"})
	if !strings.Contains(string(web.ResolvConf), "nameserver 127.0.0.11\n") || !strings.Contains(string(web.ResolvConf), "ndots:0") {
		t.Errorf("resolv.conf:\n%s", web.ResolvConf)
	}
	both := []string{web.ip.String(), db.ip.String()}
	slices.Sort(both)
	arpa := must(dns.ReverseAddr(db.ip.String()))(t)
	for _, c := range []struct {
		from *container
		name string
		want []string
	}{
		{web, "db", []string{db.ip.String()}}, {web, "DB.app", []string{db.ip.String()}}, {db, "www", []string{web.ip.String()}},
		{db, "webhost", []string{web.ip.String()}}, {db, web.id[:12], []string{web.ip.String()}}, {db, "pool", both},
		{web, arpa, []string{"db.app."}}, {web, "example.org", []string{"192.0.2.53"}}, {far, "db", []string{"192.0.2.53"}},
	} {
		for _, kind := range []string{"udp", "tcp"} {
			if got, err := r.resolve(c.from, kind, c.name); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s by %s: %v %v, want %v", c.name, kind, got, err, c.want)
			}
		}
	}
	if slices.Contains(asked(), "web.") || len(asked()) != 4 {
		t.Errorf("the host's server was asked for %v", asked())
	}
	// Port 53 of the container is its own.
	r.serve(web.Netns, "tcp4", "0.0.0.0:53")
	r.serve(web.Netns, "udp4", "0.0.0.0:53")
	r.reaches(db.Netns, "tcp", web.ip.String()+":53", db.ip.String())
	if _, err := r.resolve(web, "udp", "db"); err != nil {
		t.Errorf("beside a server of its own: %v", err)
	}
	// Other networks are out of reach, but for published ports.
	r.serve(far.Netns, "tcp4", "0.0.0.0:80")
	r.blocked(web.Netns, "tcp", far.ip.String()+":80")
	r.n.Leave(db.id)
	if got, err := r.resolve(web, "udp", "pool"); err != nil || !slices.Equal(got, []string{web.ip.String()}) {
		t.Errorf("after one has left: %v %v", got, err)
	}
}

func TestInternalNetworkNeverAsksOutside(t *testing.T) {
	r := newRig(t)
	asked := r.nameServer(r.outside, "203.0.113.2:53")
	r.serve(r.outside, "tcp4", "0.0.0.0:7")
	must(r.n.Create(t.Context(), api.CreateRequest{Name: "in", Internal: true}))(t)
	a := r.join(network.JoinOptions{Name: "a", Mode: "in", Ports: ports("8080:80/tcp")})
	b := r.join(network.JoinOptions{Name: "b", Mode: "in"})
	if got, err := r.resolve(a, "udp", "b"); err != nil || !slices.Equal(got, []string{b.ip.String()}) {
		t.Errorf("neighbour: %v %v", got, err)
	}
	if got, err := r.resolve(a, "udp", "secret.example.org"); err == nil {
		t.Errorf("answer: %v", got)
	}
	if len(asked()) != 0 {
		t.Errorf("asked outside: %v", asked())
	}
	r.serve(b.Netns, "tcp4", "0.0.0.0:80")
	r.reaches(a.Netns, "tcp", b.ip.String()+":80", a.ip.String())
	r.blocked(a.Netns, "tcp", "203.0.113.2:7")
	run(t, r, a.Netns, "ip", "route", "add", "default", "via", bridgeOf(t, r, "in"))
	r.blocked(a.Netns, "tcp", "203.0.113.2:7") // nor with a route that it made itself
	r.blocked(r.outside, "tcp", "203.0.113.1:8080")
}

func bridgeOf(t *testing.T, r *rig, name string) string {
	t.Helper()
	return must(r.n.Get(name))(t).IPAM.Config[0].Gateway.String()
}

func TestServersOnTheHostsLoopback(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(r.options.ResolvConf, []byte("nameserver 127.0.0.1\nnameserver ::1\noptions edns0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	asked := r.nameServer(nil, "127.0.0.1:53")
	c := r.join(network.JoinOptions{Name: "c"})
	if got, err := r.resolve(c, "udp", "example.org"); err != nil || len(got) != 1 || len(asked()) != 1 {
		t.Errorf("%v %v; resolv.conf:\n%s", got, err, c.ResolvConf)
	}
	own := r.join(network.JoinOptions{Name: "own", DNS: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, DNSSearch: []string{"x.test"}})
	if !strings.Contains(string(own.ResolvConf), "nameserver 198.51.100.1\nsearch x.test\noptions edns0\n") {
		t.Errorf("resolv.conf:\n%s", own.ResolvConf)
	}
}

func TestManageNetworks(t *testing.T) {
	r := newRig(t)
	pre := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	var all []string
	for _, n := range r.n.List() {
		all = append(all, n.Name+"/"+n.Driver)
	}
	if got := strings.Join(all, " "); got != "bridge/bridge host/host none/null" {
		t.Errorf("predefined: %s", got)
	}
	bridge := must(r.n.Get("bridge"))(t)
	for _, c := range []struct {
		r    api.CreateRequest
		kind errkind.Kind
	}{
		{api.CreateRequest{Name: "host"}, errkind.Forbidden}, {api.CreateRequest{Name: "../x"}, errkind.Invalid},
		{api.CreateRequest{Name: "x", Driver: "overlay"}, errkind.Unsupported},
		{api.CreateRequest{Name: "x", IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: bridge.IPAM.Config[0].Subnet}}}}, errkind.Forbidden},
		{api.CreateRequest{Name: "x", IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: pre("203.0.113.128/25")}}}}, errkind.Forbidden},
		{api.CreateRequest{Name: "x", IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: pre("10.5.0.0/24"), Gateway: netip.MustParseAddr("10.6.0.1")}}}}, errkind.Invalid},
		{api.CreateRequest{Name: "x", IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: pre("10.5.0.0/31")}}}}, errkind.Invalid},
		{api.CreateRequest{Name: "x", Options: map[string]string{"com.docker.network.bridge.name": "a/b"}}, errkind.Invalid},
	} {
		if _, err := r.n.Create(t.Context(), c.r); !errkind.Is(err, c.kind) {
			t.Errorf("%+v: %v, want %v", c.r, err, c.kind)
		}
	}
	yes := true
	made := must(r.n.Create(t.Context(), api.CreateRequest{Name: "net", EnableIPv6: &yes, IPAM: &api.IPAM{Config: []api.IPAMConfig{
		{Subnet: pre("10.5.0.0/24"), IPRange: pre("10.5.0.128/25"), Gateway: netip.MustParseAddr("10.5.0.254")}}}}))(t)
	if _, err := r.n.Create(t.Context(), api.CreateRequest{Name: "net"}); !errkind.Is(err, errkind.Conflict) || err.Error() != "network with name net already exists" {
		t.Errorf("%v", err)
	}
	fixed := map[string]*api.EndpointSettings{"net": {IPAMConfig: &api.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.5.0.7")}}}
	c := r.join(network.JoinOptions{Name: "c", Mode: "net", Endpoints: fixed, Ports: ports("8080:80/tcp")})
	d := r.join(network.JoinOptions{Name: "d", Mode: made.ID[:6]})
	if c.ip.String() != "10.5.0.7" || d.ip.String() != "10.5.0.129" && d.ip.String() != "10.5.0.128" {
		t.Errorf("addresses: %s %s", c.ip, d.ip)
	}
	if _, err := r.tryJoin(network.JoinOptions{Name: "e", Mode: "net", Endpoints: fixed}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("%v", err)
	}
	if _, err := r.tryJoin(network.JoinOptions{Name: "e", Endpoints: map[string]*api.EndpointSettings{"bridge": fixed["net"]}}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("%v", err)
	}
	// IPv6: both ways, the true source from outside.
	six := c.Settings["net"].GlobalIPv6Address
	r.serve(c.Netns, "tcp6", "[::]:80")
	r.reaches(d.Netns, "tcp", "["+six.String()+"]:80", d.Settings["net"].GlobalIPv6Address.String())
	r.reaches(r.outside, "tcp", "[2001:db8::1]:8080", "2001:db8::2")
	r.reaches(nil, "tcp", "[::1]:8080", "")
	r.serve(r.outside, "tcp6", "[::]:9")
	r.reaches(c.Netns, "tcp", "[2001:db8::2]:9", "2001:db8::1")
	if err := r.n.Remove(t.Context(), "net"); !errkind.Is(err, errkind.Forbidden) || !strings.Contains(err.Error(), "has active endpoints") {
		t.Errorf("%v", err)
	}
	if err := r.n.Remove(t.Context(), "bridge"); !errkind.Is(err, errkind.Forbidden) {
		t.Errorf("%v", err)
	}
	// Two networks at once.
	two := r.join(network.JoinOptions{Name: "two", Mode: "bridge", Endpoints: map[string]*api.EndpointSettings{"net": {}}})
	if len(two.Settings) != 2 || !strings.Contains(run(t, r, two.Netns, "ip", "-o", "addr"), "eth1") {
		t.Errorf("%+v", two.Settings)
	}
	for _, id := range []string{c.id, d.id, two.id} {
		r.n.Leave(id)
	}
	if err := r.n.Remove(t.Context(), "net"); err != nil {
		t.Fatal(err)
	}
	if out := run(t, r, nil, "nft", "list", "ruleset"); strings.Contains(out, "10.5.0") || strings.Contains(run(t, r, nil, "ip", "link"), "br-") {
		t.Errorf("left:\n%s", out)
	}
	var seen []string
	for {
		m, _, ok := r.events.TryNext()
		if !ok {
			break
		}
		if m.Actor.Attributes["name"] == "net" {
			seen = append(seen, string(m.Action))
		}
	}
	if got := strings.Join(seen, " "); got != "create connect connect connect disconnect disconnect disconnect destroy" {
		t.Errorf("events: %s", got)
	}
}

// steady is what count comes to rest at: spare namespaces are made, and closed ones taken apart, in the background.
func steady(count func() int) int {
	n := count()
	for same := 0; same < 10; {
		time.Sleep(20 * time.Millisecond)
		if now := count(); now != n {
			n, same = now, 0
		} else {
			same++
		}
	}
	return n
}

func TestNameServiceLeavesNothing(t *testing.T) {
	r := newRig(t)
	must(r.n.Create(t.Context(), api.CreateRequest{Name: "app"}))(t)
	rest := func() [2]int { return [2]int{steady(goroutines), steady(func() int { return descriptors(t) })} }
	var counts [][2]int
	for before := rest(); ; { // the first rounds start what stays, such as the threads of kernel/link; a leak goes on
		for range 20 {
			c := r.join(network.JoinOptions{Name: "c", Mode: "app"})
			if got, err := r.resolve(c, "tcp", "c"); err != nil || len(got) != 1 {
				t.Fatalf("%v %v", got, err)
			}
			r.n.Leave(c.id)
			c.Netns.Close()
		}
		after := rest()
		if counts = append(counts, after); after[0] <= before[0] && after[1] <= before[1] {
			break
		}
		if before = after; len(counts) == 6 {
			t.Fatalf("goroutines and descriptors after each round: %v", counts)
		}
	}
	eventually(t, "links are gone", func() bool { return strings.Count(r.links(), "pv") == 1 })
}
