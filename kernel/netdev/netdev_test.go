package netdev

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
	"pier/lib/id"
)

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

// device makes one end of a pair on the host; its other end takes both away.
func device(t *testing.T) string {
	t.Helper()
	name := "pt" + id.New()[:8]
	ip(t, "link", "add", name, "type", "veth", "peer", "name", name+"p")
	t.Cleanup(func() { // it may be going already, with the namespace that the other end is in
		out, err := exec.Command("ip", "link", "del", name+"p").CombinedOutput()
		if _, gone := net.InterfaceByName(name + "p"); gone == nil {
			t.Errorf("ip link del: %v: %s", err, out)
		}
	})
	return name
}

// namespace makes one with a device of its own name.
func namespace(t *testing.T) *os.File {
	t.Helper()
	var ns *os.File
	done := make(chan error)
	go func() {
		done <- inside(open1(t, "/proc/self/ns/net"), func() (err error) {
			if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
				ns, err = os.Open("/proc/thread-self/ns/net")
			}
			return err
		})
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func open1(t *testing.T, name string) *os.File {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestMove(t *testing.T) {
	name, ns := device(t), namespace(t)
	ip(t, "addr", "add", "192.0.2.7/28", "dev", name)
	ip(t, "addr", "add", "2001:db8::7/64", "dev", name, "nodad")
	ip(t, "link", "set", name, "mtu", "1400", "up")
	if err := Move(name, ns, "inner%d"); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(name); err == nil {
		t.Error("it is still here")
	}
	err := inside(ns, func() error {
		d, err := net.InterfaceByName("inner0")
		if err != nil {
			all, _ := net.Interfaces()
			t.Log(all)
			return err
		}
		addrs, err := d.Addrs()
		var words []string
		for _, a := range addrs {
			words = append(words, a.String())
		}
		list := strings.Join(words, " ")
		if d.MTU != 1400 || d.Flags&net.FlagUp == 0 || !strings.HasPrefix(list, "192.0.2.7/28 2001:db8::7/64") {
			t.Errorf("%+v, addresses %s", d, list)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMoveRefuses(t *testing.T) {
	ns := namespace(t)
	if err := Move("no-such-device", ns, ""); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("missing: %v", err)
	}
	name := device(t)
	if err := Move(name, ns, "lo"); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("taken: %v", err)
	}
	for _, bad := range []string{"..", "a/b", "x%s", "%d%d", "0123456789abcdef"} {
		if err := Move(name, ns, bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := net.InterfaceByName(name); err != nil {
		t.Error(err)
	}
}
