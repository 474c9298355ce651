package network_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/daemon/store/record"
	"pier/kernel/link"
	"pier/lib/feed"
	"pier/lib/id"
)

// rig is a host of its own (a network namespace), a machine outside that is wired to it, and the networks under test.
//
//	outside 203.0.113.2 ── wan 203.0.113.1 │ host │ pt0 ── containers
type rig struct {
	t       testing.TB
	m       *link.Manager
	outside *os.File
	db      *record.DB
	n       *network.Networks
	events  *feed.Reader[events.Message]
	feed    *feed.Feed[events.Message]
	options network.Options
}

func newRig(t testing.TB, change ...func(*network.Options)) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they make network namespaces")
	}
	if err := link.Isolate(); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, feed: feed.New[events.Message](64)}
	r.events = r.feed.Head()
	r.m = must(link.New())(t)
	t.Cleanup(func() { _ = r.m.Close() })
	wan := netip.MustParsePrefix("203.0.113.1/24")
	v6 := netip.MustParsePrefix("2001:db8::1/64")
	if err := r.m.EnsureBridge(link.Bridge{Name: "wan", Addresses: []netip.Prefix{wan, v6}}); err != nil {
		t.Fatal(err)
	}
	r.outside = must(r.m.NewNamespace(link.Sandbox{
		Interfaces: []link.Interface{{Name: "eth0", Bridge: "wan", Addresses: []netip.Prefix{
			netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("2001:db8::2/64"),
		}}},
		Gateways: []netip.Addr{wan.Addr()}, // so that it could route to containers if it were let
	}))(t)
	t.Cleanup(func() { _ = r.outside.Close() })
	dir := t.TempDir()
	r.db = must(record.Open(filepath.Join(dir, "test.db"), record.Options{Volatile: true}))(t)
	t.Cleanup(func() { _ = r.db.Close() })
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 203.0.113.2\nsearch example.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.options = network.Options{Records: r.db, Events: r.feed, Bridge: "pt0", ResolvConf: resolv}
	for _, f := range change {
		f(&r.options)
	}
	r.n = must(network.Open(t.Context(), r.options))(t)
	t.Cleanup(func() { _ = r.n.Close() })
	return r
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// container is a joined network without a process.
type container struct {
	*network.Sandbox
	id string
	ip netip.Addr
}

func (r *rig) join(o network.JoinOptions) *container {
	r.t.Helper()
	c, err := r.tryJoin(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryJoin(o network.JoinOptions) (*container, error) {
	if o.ContainerID == "" {
		o.ContainerID = id.New()
	}
	box, err := r.n.Join(r.t.Context(), o)
	if err != nil {
		return nil, err
	}
	c := &container{Sandbox: box, id: o.ContainerID}
	for _, s := range box.Settings {
		c.ip = s.IPAddress
	}
	if box.Netns != nil {
		r.t.Cleanup(func() { _ = box.Netns.Close() })
	}
	return c, nil
}

// ports parses "8080:80/tcp", "127.0.0.1:0:80/udp", "[::1]:80:80/tcp".
func ports(specs ...string) api.PortMap {
	m := api.PortMap{}
	for _, s := range specs {
		i := strings.LastIndexByte(s, ':')
		port := api.MustParsePort(s[i+1:])
		host := s[:i]
		var b api.PortBinding
		if j := strings.LastIndexByte(host, ':'); j >= 0 {
			b.HostIP = netip.MustParseAddr(strings.Trim(host[:j], "[]"))
			host = host[j+1:]
		}
		b.HostPort = host
		m[port] = append(m[port], b)
	}
	return m
}

// serve answers every connection or datagram at address in ns with its source.
func (r *rig) serve(ns *os.File, kind, address string) {
	r.t.Helper()
	if strings.HasPrefix(kind, "tcp") {
		l := must(r.m.ListenTCP(ns, kind, address))(r.t)
		r.t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, c.RemoteAddr())
				c.Close()
			}
		}()
		return
	}
	l := must(r.m.ListenUDP(ns, kind, address))(r.t)
	r.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			var b [16]byte
			_, from, err := l.ReadFromUDP(b[:])
			if err != nil {
				return
			}
			_, _ = l.WriteToUDP([]byte(from.String()), from)
		}
	}()
}

// ask is askFor where silence is likely: what answers at all does so in microseconds.
func (r *rig) ask(ns *os.File, kind, address string) (seen string, err error) {
	return r.askFor(ns, kind, address, 400*time.Millisecond)
}

// askFor connects from ns and returns the source host that the other side saw.
func (r *rig) askFor(ns *os.File, kind, address string, limit time.Duration) (seen string, err error) {
	err = r.m.Do(ns, func() error {
		c, err := net.DialTimeout(kind, address, limit)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(limit))
		if strings.HasPrefix(kind, "udp") {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			b := make([]byte, 64)
			n, err := c.Read(b)
			seen = string(b[:n])
			return err
		}
		b, err := io.ReadAll(c)
		seen = string(b)
		if err == nil && seen == "" {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	if host, _, e := net.SplitHostPort(seen); e == nil {
		seen = host
	}
	return seen, err
}

func (r *rig) reaches(ns *os.File, kind, address, wantSource string) {
	r.t.Helper()
	seen, err := r.askFor(ns, kind, address, time.Minute) // an answer may wait for a processor
	if err != nil {
		r.t.Errorf("%s %s: %v", kind, address, err)
	} else if wantSource != "" && seen != wantSource {
		r.t.Errorf("%s %s: source %s, want %s", kind, address, seen, wantSource)
	}
}

func (r *rig) blocked(ns *os.File, kind, address string) {
	r.t.Helper()
	if seen, err := r.ask(ns, kind, address); err == nil {
		r.t.Errorf("%s %s was reached (as %s)", kind, address, seen)
	}
}

// closes waits for address to be out of reach.
func (r *rig) closes(ns *os.File, kind, address string) {
	r.t.Helper()
	eventually(r.t, address+" is closed", func() bool { _, err := r.ask(ns, kind, address); return err != nil })
}

// links lists the interfaces of the host but its loopback and the bridge to the outside.
func (r *rig) links() string {
	var names []string
	_ = r.m.Do(nil, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			if i.Name != "lo" && i.Name != "wan" {
				names = append(names, i.Name)
			}
		}
		return err
	})
	return strings.Join(names, " ")
}

// eventually waits. What it waits for takes milliseconds; the kernel takes apart links and namespaces one after the other
// for the whole machine, so that beside other tests it may take seconds. The limit only ends a test that has failed.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	const limit = 2 * time.Minute
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func goroutines() int { return runtime.NumGoroutine() }
