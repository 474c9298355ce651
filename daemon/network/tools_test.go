package network_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/miekg/dns"
	api "github.com/moby/moby/api/types/network"
)

// run runs a program in ns (nil: the host of the rig) and returns what it prints.
func run(t testing.TB, r *rig, ns *os.File, name string, args ...string) (out string) {
	t.Helper()
	err := r.m.Do(ns, func() error {
		b, err := exec.Command(name, args...).CombinedOutput()
		out = string(b)
		return err
	})
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// sleeper returns a function that starts a process which does nothing in ns, and one that ends it.
func sleeper(t testing.TB) (start func(r *rig, ns *os.File) int, end func()) {
	var cmd *exec.Cmd
	start = func(r *rig, ns *os.File) int {
		t.Helper()
		if err := r.m.Do(ns, func() error {
			cmd = exec.Command("sleep", "60")
			return cmd.Start()
		}); err != nil {
			t.Fatal(err)
		}
		return cmd.Process.Pid
	}
	return start, func() {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func mustPort(s string) api.Port { return api.MustParsePort(s) }

// lookup asks server for an IPv4 address of name, on the calling thread alone.
func lookup(server, name string) (string, error) {
	c, err := net.DialTimeout("udp", net.JoinHostPort(server, "53"), 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	a, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), &dns.Conn{Conn: c})
	if err != nil {
		return "", err
	}
	for _, rr := range a.Answer {
		if rr, ok := rr.(*dns.A); ok {
			return rr.A.String(), nil
		}
	}
	return "", fmt.Errorf("no address for %s from %s", name, server)
}
