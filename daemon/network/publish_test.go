package network_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/lib/errkind"
)

// publish gives c the ports that are wanted and keeps what it got.
func (r *rig) publish(c *container, wanted api.PortMap) error {
	r.t.Helper()
	got, settle, err := r.n.Publish(r.t.Context(), network.JoinOptions{ContainerID: c.id, Ports: wanted}, true)
	if err == nil {
		c.Ports = got
		settle(true)
	}
	return err
}

// rules is the daemon's table as nft(8) shows it.
func (r *rig) rules() (out string) {
	r.t.Helper()
	err := r.m.Do(nil, func() error {
		b, err := exec.Command("nft", "list", "table", "inet", "pier-pt0").CombinedOutput()
		out = string(b)
		return err
	})
	if err != nil {
		r.t.Fatalf("nft: %v: %s", err, out)
	}
	return out
}

// Ports of a running container open, move and close; the others stay as they are all the while.
func TestPublishWhileRunning(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp")})
	for _, port := range []string{"80", "81"} {
		r.serve(c.Netns, "tcp4", "0.0.0.0:"+port)
	}
	r.serve(c.Netns, "udp4", "0.0.0.0:53")
	before := r.rules()
	was := c.Ports
	wanted := ports("8081:81/tcp", "5353:53/udp")
	for port, list := range c.Ports {
		wanted[port] = append(wanted[port], list...)
	}
	if err := r.publish(c, wanted); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Ports[api.MustParsePort("81/tcp")]); got != "[{0.0.0.0 8081} {:: 8081}]" {
		t.Errorf("81/tcp: %s", got)
	}
	for _, at := range []string{"127.0.0.1:8081", "203.0.113.1:8081", "[::1]:8081", "203.0.113.1:8080"} {
		r.reaches(nil, "tcp", at, "")
	}
	r.reaches(r.outside, "udp", "203.0.113.1:5353", "203.0.113.2")

	// 8081 leads elsewhere: what goes is given up before what comes is taken.
	wanted = ports("8081:80/tcp")
	wanted[api.MustParsePort("80/tcp")] = append(wanted[api.MustParsePort("80/tcp")], was[api.MustParsePort("80/tcp")]...)
	if err := r.publish(c, wanted); err != nil {
		t.Fatal(err)
	}
	r.reaches(nil, "tcp", "203.0.113.1:8081", "")
	if text := r.rules(); strings.Contains(text, ". 81") || strings.Contains(text, ". 53") {
		t.Errorf("closed ports are in\n%s", text)
	}
	r.blocked(r.outside, "udp", "203.0.113.1:5353")

	if err := r.publish(c, was); err != nil {
		t.Fatal(err)
	}
	if after := r.rules(); after != before {
		t.Errorf("the rules are\n%s\nand were\n%s", after, before)
	}
	for _, at := range []string{"tcp 0.0.0.0:8081", "tcp [::]:8081", "udp 0.0.0.0:5353"} {
		kind, address, _ := strings.Cut(at, " ")
		if f, err := r.m.Reserve(kind, netip.MustParseAddrPort(address)); err != nil {
			t.Errorf("%s is not free: %v", at, err)
		} else if f != nil {
			_ = f.Close()
		}
	}
}

// A port that is taken changes nothing, and the answer says who has it.
func TestPublishTakenPort(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp", "8443:443/tcp")})
	r.serve(c.Netns, "tcp4", "0.0.0.0:80")
	r.join(network.JoinOptions{Name: "db", ContainerID: strings.Repeat("d", 64), Ports: ports("5432:5432/tcp")})
	r.serve(nil, "tcp4", "127.0.0.1:9999")
	before := r.rules()
	for port, want := range map[string]string{
		"5432:80/tcp": "Bind for 0.0.0.0:5432 failed: port is already allocated: container dddddddddddd (db) has it",
		"9999:80/tcp": "address already in use",
		"8080:81/tcp": "(web) has it",
	} {
		wanted := ports("7777:80/tcp", port) // and 8443 goes
		for _, b := range c.Ports[api.MustParsePort("80/tcp")] {
			wanted[api.MustParsePort("80/tcp")] = append(wanted[api.MustParsePort("80/tcp")], b)
		}
		err := r.publish(c, wanted)
		if !errkind.Is(err, errkind.Exhausted) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", port, err)
		}
		if after := r.rules(); after != before {
			t.Errorf("%s: the rules are\n%s\nand were\n%s", port, after, before)
		}
		r.reaches(nil, "tcp", "203.0.113.1:8080", "")
	}
	// The ports that were not to be are free, those that were to go are held.
	r.join(network.JoinOptions{Name: "other", Ports: ports("7777:80/tcp")})
	if _, err := r.tryJoin(network.JoinOptions{Name: "thief", Ports: ports("8443:80/tcp")}); !errkind.Is(err, errkind.Exhausted) {
		t.Errorf("8443: %v", err)
	}
}

// What a change closes is nobody else's before it is settled, and is back with its connections where it is taken back.
func TestPublishTakenBack(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp", "8443:443/tcp")})
	r.echo(c, "0.0.0.0:80")
	flow, flow6 := r.talk("203.0.113.1:8080"), r.talk("[::1]:8080")
	before := r.rules()
	stolen := func() error {
		thief, err := r.tryJoin(network.JoinOptions{Name: "thief", Ports: ports("127.0.0.1:8080:80/tcp")})
		if err == nil {
			r.n.Leave(thief.id)
		}
		return err
	}
	for _, wanted := range []api.PortMap{ports("9090:80/tcp"), ports("8080:81/tcp"), ports("127.0.0.1:8080:81/tcp", "[::1]:8080:81/tcp"), nil} {
		_, settle, err := r.n.Publish(t.Context(), network.JoinOptions{ContainerID: c.id, Ports: wanted}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := stolen(); !errkind.Is(err, errkind.Exhausted) || !strings.Contains(err.Error(), "(web) has it") {
			t.Errorf("8080 before %v is settled: %v", wanted, err)
		}
		settle(false)
		if after := r.rules(); after != before {
			t.Errorf("%v: the rules are\n%s\nand were\n%s", wanted, after, before)
		}
		if err := stolen(); !errkind.Is(err, errkind.Exhausted) {
			t.Errorf("8080 when %v is taken back: %v", wanted, err)
		}
		if err := flow(); err != nil {
			t.Errorf("%v: a connection that was there before: %v", wanted, err)
		}
		if len(wanted[api.MustParsePort("81/tcp")]) == 0 { // else the relay made room
			if err := flow6(); err != nil {
				t.Errorf("%v: a connection over IPv6 that was there before: %v", wanted, err)
			}
		} else {
			flow6 = r.talk("[::1]:8080")
		}
		for _, at := range []string{"0.0.0.0:8080", "[::]:8080"} {
			if f, err := r.m.Reserve("tcp", netip.MustParseAddrPort(at)); err == nil {
				t.Errorf("%v: %s is not held", wanted, at)
				_ = f.Close()
			}
		}
	}
	if err := r.publish(c, ports("9090:80/tcp")); err != nil {
		t.Fatal(err)
	}
	if err := stolen(); err != nil {
		t.Errorf("8080 is not free: %v", err)
	}
}

// Where no port leads, none is published in silence, but one can go.
func TestPublishWithoutWayIn(t *testing.T) {
	r := newRig(t)
	for _, mode := range []string{"host", "none"} {
		c := r.join(network.JoinOptions{Name: "c" + mode, Mode: mode})
		if err := r.publish(c, ports("8080:80/tcp")); !errkind.Is(err, errkind.Conflict) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp", "8081:80/tcp")})
	o := network.JoinOptions{ContainerID: c.id, Ports: stays(c.Ports, "8081")}
	must(r.n.Disconnect(t.Context(), o, "bridge"))(t)
	left, settle, err := r.n.Publish(t.Context(), o, false)
	if err != nil || len(left[api.MustParsePort("80/tcp")]) != 2 {
		t.Errorf("publish less: %v, %v", left, err)
	}
	settle(true)
	must(r.n.Connect(t.Context(), o, "bridge", nil))(t)
	r.serve(c.Netns, "tcp4", "0.0.0.0:80")
	r.reaches(nil, "tcp", "203.0.113.1:8081", "")
	r.blocked(nil, "tcp", "203.0.113.1:8080")
	if err := r.publish(&container{Sandbox: &network.Sandbox{}, id: strings.Repeat("e", 64)}, nil); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a container that does not run: %v", err)
	}
}

// What is under way through a port ends with it.
func TestClosedPortEndsConnections(t *testing.T) {
	r := newRig(t)
	c := r.join(network.JoinOptions{Name: "web", Ports: ports("8080:80/tcp", "8081:80/tcp")})
	r.echo(c, "0.0.0.0:80")
	other, other6 := r.talk("203.0.113.1:8081"), r.talk("[::1]:8081")
	was := c.Ports
	for _, from := range []string{"203.0.113.1:8080", "[::1]:8080"} {
		echo := r.talk(from)
		if err := echo(); err != nil {
			t.Fatal(err)
		}
		if err := r.publish(c, stays(was, "8081")); err != nil {
			t.Fatal(err)
		}
		if err := echo(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: through a port that is closed: %v", from, err)
		}
		if err := r.publish(c, was); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(other(), other6()); err != nil {
		t.Errorf("through the port that stayed: %v", err)
	}
}

// echo sends back what comes to address in c.
func (r *rig) echo(c *container, address string) {
	r.t.Helper()
	l := must(r.m.ListenTCP(c.Netns, "tcp4", address))(r.t)
	r.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
}

// talk connects to an echo. What it returns sends a byte and waits for it.
func (r *rig) talk(to string) (again func() error) {
	r.t.Helper()
	conn := must(r.m.Dial("tcp", netip.MustParseAddrPort(to), time.Minute))(r.t)
	r.t.Cleanup(func() { _ = conn.Close() })
	again = func() error {
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	if err := again(); err != nil {
		r.t.Fatal(err)
	}
	return again
}

// stays is the bindings of m that have a host port.
func stays(m api.PortMap, hostPort string) api.PortMap {
	out := api.PortMap{}
	for port, list := range m {
		out[port] = slices.DeleteFunc(slices.Clone(list), func(b api.PortBinding) bool { return b.HostPort != hostPort })
	}
	return out
}
