package network_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/lib/errkind"
	"pier/lib/id"
)

func TestPublishedPorts(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp", "127.0.0.1:8081:81/tcp", "5353:53/udp", "[::1]:8082:80/tcp", "203.0.113.1:8083:80/tcp")})
	r.serve(c.Netns, "tcp4", "0.0.0.0:80")
	r.serve(c.Netns, "tcp4", "0.0.0.0:81")
	r.serve(c.Netns, "udp4", "0.0.0.0:53")
	gateway := c.Settings["bridge"].Gateway.String()

	// From outside: the source is the true one.
	r.reaches(r.outside, "tcp", "203.0.113.1:8080", "203.0.113.2")
	r.reaches(r.outside, "udp", "203.0.113.1:5353", "203.0.113.2")
	r.reaches(r.outside, "tcp", "203.0.113.1:8083", "203.0.113.2")
	r.reaches(r.outside, "tcp", "[2001:db8::1]:8080", gateway) // the container has no IPv6: relayed
	r.reaches(r.outside, "udp", "[2001:db8::1]:5353", gateway)
	// From the host itself.
	r.reaches(nil, "tcp", "127.0.0.1:8080", gateway)
	r.reaches(nil, "udp", "127.0.0.1:5353", gateway)
	r.reaches(nil, "tcp", "127.0.0.1:8081", gateway)
	r.reaches(nil, "tcp", "203.0.113.1:8080", "203.0.113.1")
	r.reaches(nil, "tcp", "[::1]:8080", gateway)
	r.reaches(nil, "tcp", "[::1]:8082", gateway)
	r.reaches(nil, "tcp", c.ip.String()+":80", gateway)
	// From itself and from a neighbour, by the host's address.
	r.reaches(c.Netns, "tcp", "203.0.113.1:8080", gateway)
	other := r.join(network.JoinOptions{Name: "other"})
	r.reaches(other.Netns, "tcp", "203.0.113.1:8080", gateway)
	r.reaches(other.Netns, "tcp", c.ip.String()+":80", other.ip.String())

	// What is not published, or published elsewhere, stays closed.
	r.blocked(r.outside, "tcp", c.ip.String()+":80")
	r.blocked(r.outside, "tcp", c.ip.String()+":81")
	r.blocked(r.outside, "tcp", "203.0.113.1:8081")
	r.blocked(r.outside, "tcp", "203.0.113.1:8082")
	r.blocked(r.outside, "tcp", "[2001:db8::1]:8082")
	r.blocked(other.Netns, "tcp", gateway+":8081")
	r.blocked(nil, "tcp", "127.0.0.1:8083")

	if got := c.Ports[api.MustParsePort("80/tcp")]; len(got) != 4 || got[0].HostPort == "" {
		t.Errorf("ports of 80/tcp: %+v", got)
	}
	r.n.Leave(c.id)
	r.closes(nil, "tcp", "127.0.0.1:8080")
	r.blocked(nil, "tcp", "[::1]:8080")
	again := r.join(network.JoinOptions{Name: "web2", Ports: ports("8080:80/tcp", "127.0.0.1:8081:81/tcp")}) // free again at once
	r.serve(again.Netns, "tcp4", "0.0.0.0:80")
	r.reaches(r.outside, "tcp", "203.0.113.1:8080", "203.0.113.2")
}

// A machine outside that sends packets for 127.0.0.1 of the host, or a container that does so by its gateway, must not
// reach what is published, or listens, on the host's loopback.
func TestLoopbackOfHostIsOutOfReach(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("127.0.0.1:8081:80/tcp")})
	r.serve(c.Netns, "tcp4", "0.0.0.0:80")
	r.serve(nil, "tcp4", "127.0.0.1:9000")
	attacker := r.join(network.JoinOptions{Name: "attacker"})
	for _, a := range []struct {
		who     string
		ns      *container
		gateway string
	}{{"outside", &container{Sandbox: &network.Sandbox{Netns: r.outside}}, "203.0.113.1"}, {"container", attacker, attacker.Settings["bridge"].Gateway.String()}} {
		run(t, r, a.ns.Netns, "ip", "addr", "flush", "dev", "lo")
		if err := r.m.SetSysctl(a.ns.Netns, "net.ipv4.conf.eth0.route_localnet", "1"); err != nil {
			t.Fatal(err)
		}
		run(t, r, a.ns.Netns, "ip", "route", "add", "127.0.0.0/8", "via", a.gateway)
		for _, port := range []string{"8081", "9000"} {
			if _, err := r.ask(a.ns.Netns, "tcp", "127.0.0.1:"+port); err == nil {
				t.Errorf("from %s: 127.0.0.1:%s was reached", a.who, port)
			}
		}
	}
}

func TestPortRangesAndEphemeral(t *testing.T) {
	r := newRig(t)
	port := api.MustParsePort("80/tcp")
	o := func(name string) network.JoinOptions {
		return network.JoinOptions{Name: name, Ports: ports("7000-7002:80/tcp")}
	}
	for i := range 3 {
		c := r.join(o(fmt.Sprint("c", i)))
		if got := c.Ports[port][0].HostPort; got != fmt.Sprint(7000+i) {
			t.Errorf("container %d got port %s", i, got)
		}
	}
	if _, err := r.tryJoin(o("c3")); !errkind.Is(err, errkind.Exhausted) {
		t.Errorf("the range is full: %v", err)
	}
	c := r.join(network.JoinOptions{Name: "e", PublishAll: true, Exposed: api.PortSet{port: {}, api.MustParsePort("9/udp"): {}}})
	for _, p := range []api.Port{port, api.MustParsePort("9/udp")} {
		got := c.Ports[p]
		if len(got) != 2 || got[0].HostPort != got[1].HostPort || got[0].HostPort < "32768" {
			t.Errorf("%s: %+v", p, got)
		}
	}
}

func TestTakenPortSpeaksLikeDocker(t *testing.T) {
	r := newRig(t)
	r.join(network.JoinOptions{Name: "a", Ports: ports("8080:80/tcp")})
	_, err := r.tryJoin(network.JoinOptions{Name: "b", ContainerID: strings.Repeat("b", 64), Ports: ports("81:81/tcp", "127.0.0.1:8080:80/tcp")})
	if err == nil || !strings.Contains(err.Error(), "Bind for 127.0.0.1:8080 failed: port is already allocated") {
		t.Errorf("%v", err)
	}
	r.serve(nil, "tcp4", "127.0.0.1:9999")
	_, err = r.tryJoin(network.JoinOptions{Name: "b", Ports: ports("9999:80/tcp")})
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "failed to set up container networking") {
		t.Errorf("%v", err)
	}
	// Nothing of the failures stays: port 81 and the container's ID are free.
	r.join(network.JoinOptions{Name: "b", ContainerID: strings.Repeat("b", 64), Ports: ports("81:81/tcp")})
	if _, err := r.tryJoin(network.JoinOptions{Name: "d", Ports: ports("198.51.100.7:85:80/tcp")}); err == nil {
		t.Error("an address that is not the host's was accepted")
	}
}

func TestOutboundIsMasqueraded(t *testing.T) {
	r := newRig(t)
	r.serve(r.outside, "tcp4", "0.0.0.0:7")
	r.serve(r.outside, "udp4", "0.0.0.0:7")
	c := r.join(network.JoinOptions{Name: "c"})
	r.reaches(c.Netns, "tcp", "203.0.113.2:7", "203.0.113.1")
	r.reaches(c.Netns, "udp", "203.0.113.2:7", "203.0.113.1")
}

func TestModes(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "c", Hostname: "h", Domainname: "d.test", ExtraHosts: []string{"gw:host-gateway", "x:10.1.2.3"}})
	if want := c.ip.String() + "\th.d.test h\n"; !strings.Contains(string(c.Hosts), want) || !strings.Contains(string(c.Hosts), "10.1.2.3\tx\n") ||
		!strings.Contains(string(c.Hosts), c.Settings["bridge"].Gateway.String()+"\tgw\n") {
		t.Errorf("hosts:\n%s", c.Hosts)
	}
	if !strings.Contains(string(c.ResolvConf), "nameserver 203.0.113.2\nsearch example.test\n") {
		t.Errorf("resolv.conf:\n%s", c.ResolvConf)
	}
	shared := r.join(network.JoinOptions{Mode: "container:" + c.id})
	r.serve(shared.Netns, "tcp4", "127.0.0.1:80")
	r.reaches(c.Netns, "tcp", "127.0.0.1:80", "127.0.0.1")
	if _, err := r.tryJoin(network.JoinOptions{Mode: "container:" + strings.Repeat("a", 64)}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a container that does not run: %v", err)
	}
	if h := r.join(network.JoinOptions{Name: "h", Mode: "host", Ports: ports("80:80/tcp")}); h.Netns != nil || len(h.Ports) != 0 || h.Settings["host"] == nil {
		t.Errorf("mode host: %+v", h.Sandbox)
	}
	none := r.join(network.JoinOptions{Name: "n", Mode: "none", Ports: ports("80:80/tcp")})
	r.serve(none.Netns, "tcp4", "127.0.0.1:80")
	r.reaches(none.Netns, "tcp", "127.0.0.1:80", "127.0.0.1")
	if _, err := r.ask(none.Netns, "tcp", "203.0.113.2:7"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("mode none reaches out: %v", err)
	}
	if _, err := r.tryJoin(network.JoinOptions{Mode: "nosuch"}); !errkind.Is(err, errkind.NotFound) || !strings.Contains(err.Error(), "network nosuch not found") {
		t.Errorf("unknown network: %v", err)
	}
	if _, err := r.tryJoin(network.JoinOptions{ContainerID: c.id}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("joined twice: %v", err)
	}
}

func TestParallelJoinsLeaveNothing(t *testing.T) {
	r := newRig(t)
	var before, files int
	for round := range 2 { // the first one starts the threads that stay
		before, files = goroutines(), descriptors(t)
		var wait sync.WaitGroup
		seen := sync.Map{}
		begin := time.Now()
		for i := range 50 {
			wait.Go(func() {
				o := network.JoinOptions{ContainerID: id.New(), Name: fmt.Sprint("c", i), Ports: ports("0:80/tcp", "0:53/udp")}
				box, err := r.n.Join(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := seen.LoadOrStore(box.Settings["bridge"].IPAddress, o.ContainerID); twice {
					t.Error("an address was given twice")
				}
				box.Netns.Close()
			})
		}
		wait.Wait()
		t.Logf("round %d: 50 joins in parallel: %v", round, time.Since(begin))
		begin = time.Now()
		seen.Range(func(_, v any) bool { r.n.Leave(v.(string)); return true })
		t.Logf("round %d: 50 leaves: %v", round, time.Since(begin))
		eventually(t, "links are gone", func() bool { return strings.Count(r.links(), "pv") == 1 }) // that of outside
	}
	eventually(t, "goroutines are gone", func() bool { return goroutines() <= before })
	eventually(t, "descriptors are gone", func() bool { return descriptors(t) <= files })
	if out := run(t, r, nil, "nft", "list", "ruleset"); strings.Contains(out, "elements = { tcp") || strings.Contains(out, "elements = { udp") {
		t.Errorf("ports stay:\n%s", out)
	}
	if err := r.n.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := run(t, r, nil, "nft", "list", "ruleset"); out != "" {
		t.Errorf("rules stay:\n%s", out)
	}
	if strings.Contains(r.links(), "pt0") {
		t.Errorf("links stay: %s", r.links())
	}
}

func TestAdoptAfterRestart(t *testing.T) {
	r := newRig(t)
	cmd, done := sleeper(t)
	defer done()
	o := network.JoinOptions{ContainerID: id.New(), Name: "web", Ports: ports("8080:80/tcp")}
	// The container's process: here the namespace is made by Join and the sleeper is put into it.
	box, err := r.n.Join(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	pid := cmd(r, box.Netns)
	r.serve(box.Netns, "tcp4", "0.0.0.0:80")
	box.Netns.Close()
	user := must(r.n.Create(t.Context(), api.CreateRequest{Name: "user"}))(t)
	named := network.JoinOptions{ContainerID: id.New(), Name: "named", Mode: "user"}
	namedBox := r.join(named)
	second, end := sleeper(t)
	defer end()
	namedPid := second(r, namedBox.Netns)

	if err := r.n.Close(); err != nil {
		t.Fatal(err)
	}
	r.reaches(r.outside, "tcp", "203.0.113.1:8080", "203.0.113.2") // while no daemon runs
	r.blocked(nil, "tcp", "[::1]:8080")

	r.n = must(network.Open(t.Context(), r.options))(t)
	r.reaches(r.outside, "tcp", "203.0.113.1:8080", "203.0.113.2")
	if err := r.n.Adopt(t.Context(), network.AdoptOptions{JoinOptions: o, Pid: pid, Settings: box.Settings, Assigned: box.Ports}); err != nil {
		t.Fatal(err)
	}
	stranger := network.AdoptOptions{JoinOptions: named, Pid: namedPid, StartTime: 1, Settings: namedBox.Settings, Assigned: box.Ports}
	if err := r.n.Adopt(t.Context(), stranger); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("a process that has got the number of another: %v", err)
	}
	if err := r.n.Adopt(t.Context(), network.AdoptOptions{JoinOptions: named, Pid: namedPid, Settings: namedBox.Settings, Assigned: box.Ports}); err != nil {
		t.Fatal(err)
	}
	if err := r.n.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := r.resolve(namedBox, "udp", "named"); err != nil || len(got) != 1 {
		t.Errorf("name service after a restart: %v %v", got, err)
	}
	r.reaches(r.outside, "tcp", "203.0.113.1:8080", "203.0.113.2") // and not to another one whose record says so too
	r.reaches(nil, "tcp", "[::1]:8080", "")
	if got := must(r.n.Get("user"))(t); got.ID != user.ID {
		t.Errorf("network user: %+v", got)
	}
	if got := must(r.n.Get("bridge"))(t); got.Containers[o.ContainerID].IPv4Address.Addr() != box.Settings["bridge"].IPAddress {
		t.Errorf("containers: %+v", got.Containers)
	}
	other := r.join(network.JoinOptions{Name: "other"})
	if other.ip == box.Settings["bridge"].IPAddress {
		t.Error("the address was given twice")
	}
	if _, err := r.tryJoin(network.JoinOptions{Name: "x", Ports: ports("8080:80/tcp")}); err == nil {
		t.Error("the port was given twice")
	}
	r.n.Leave(o.ContainerID)
	r.closes(r.outside, "tcp", "203.0.113.1:8080")
}

func TestAddressesRunOut(t *testing.T) {
	r := newRig(t)
	small := api.CreateRequest{Name: "small", IPAM: &api.IPAM{Config: []api.IPAMConfig{{Subnet: netip.MustParsePrefix("10.77.0.0/29")}}}}
	must(r.n.Create(t.Context(), small))(t)
	var last *container
	for i := range 5 { // of 8: network, gateway and broadcast are not for containers
		last = r.join(network.JoinOptions{Name: fmt.Sprint("c", i), Mode: "small"})
	}
	if _, err := r.tryJoin(network.JoinOptions{Name: "c5", Mode: "small"}); !errkind.Is(err, errkind.Exhausted) {
		t.Errorf("%v", err)
	}
	r.n.Leave(last.id)
	r.join(network.JoinOptions{Name: "c5", Mode: "small"})
}

func BenchmarkJoinLeave(b *testing.B) {
	r := newRig(b)
	for name, o := range map[string]network.JoinOptions{"bridge": {}, "bridge+port": {Ports: ports("127.0.0.1:8080:80/tcp")}, "none": {Mode: "none"}} {
		o.Name = "c"
		var join, leave time.Duration
		for i := range 200 {
			o.ContainerID = fmt.Sprintf("%064d", i)
			t0 := time.Now()
			box, err := r.n.Join(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			t1 := time.Now()
			r.n.Leave(o.ContainerID)
			box.Netns.Close()
			join, leave = join+t1.Sub(t0), leave+time.Since(t1)
		}
		b.ReportMetric(float64(join.Microseconds())/200, name+"-join-µs")
		b.ReportMetric(float64(leave.Microseconds())/200, name+"-leave-µs")
	}
}

// TestEarlierAddresses has a container get again what it had: where that is free, of the network's range, and nothing else is asked for.
func TestEarlierAddresses(t *testing.T) {
	r := newRig(t)
	own := api.HardwareAddr{0x02, 0x01, 0x02, 0x03, 0x04, 0x05}
	first := r.join(network.JoinOptions{Name: "first", MacAddress: own})
	had := map[string]network.Addresses{"bridge": {IPv4: first.ip, MAC: own}}
	r.n.Leave(first.id)
	r.join(network.JoinOptions{Name: "between"}) // takes another: an address is not given again at once
	again := r.join(network.JoinOptions{Name: "again", Earlier: had})
	if s := again.Settings["bridge"]; s.IPAddress != first.ip || s.MacAddress.String() != own.String() {
		t.Errorf("again: %v %v, want %v %v", s.IPAddress, s.MacAddress, first.ip, own)
	}
	for name, o := range map[string]network.JoinOptions{
		"that is taken":         {Earlier: had},
		"of another range":      {Earlier: map[string]network.Addresses{"bridge": {IPv4: netip.MustParseAddr("192.0.2.7"), MAC: own}}},
		"of the gateway":        {Earlier: map[string]network.Addresses{"bridge": {IPv4: again.Settings["bridge"].Gateway, MAC: own}}},
		"of no network of ours": {Earlier: map[string]network.Addresses{"other": {IPv4: first.ip, MAC: own}}},
	} {
		o.Name = "next"
		next := r.join(o)
		if s := next.Settings["bridge"]; s.IPAddress == first.ip || !s.IPAddress.IsValid() || s.MacAddress.String() == own.String() {
			t.Errorf("after one %s: %v %v", name, s.IPAddress, s.MacAddress)
		}
	}
}
