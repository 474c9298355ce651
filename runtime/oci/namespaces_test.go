package oci

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

const showNamespaces = `for n in net ipc pid uts user; do echo $n $(readlink /proc/self/ns/$n); done`

// A container in namespaces of another one, as --network, --ipc and --pid container:x make them; also from a user
// namespace of its own, which would have no right to join by itself.
func TestJoinNamespaces(t *testing.T) {
	for _, users := range []bool{false, true} {
		first := testContainer(t, "sleep", "1000")
		p := running(t, first)
		c := testContainer(t, "sh", "-c", showNamespaces)
		dir := "/proc/" + itoa(p.Pid) + "/ns/"
		list := c.Spec.Linux.Namespaces
		joined := []string{"net", "ipc"}
		if users {
			userNamespace(t, c)
			list = c.Spec.Linux.Namespaces
			// sysfs shows a network namespace only to its owner, procfs a pid namespace.
			c.Spec.Mounts = withoutMount(c.Spec.Mounts, "sysfs", "cgroup", "mqueue")
		} else {
			joined = append(joined, "pid")
		}
		for i := range list {
			for _, kind := range joined {
				if strings.HasPrefix(string(list[i].Type), kind) {
					list[i].Path = dir + kind
				}
			}
		}
		out, status := output(t, c)
		if status.Code != 0 {
			t.Fatalf("status %+v: %s", status, out)
		}
		for _, kind := range joined {
			want, err := os.Readlink(dir + kind)
			if err != nil || field1(out, kind) != want {
				t.Errorf("user namespace %v: %s is %s, want %s (%v)", users, kind, field1(out, kind), want, err)
			}
		}
		if host, _ := os.Readlink("/proc/self/ns/uts"); field1(out, "uts") == host {
			t.Error("the uts namespace is the host's")
		}
	}
}

func withoutMount(mounts []specs.Mount, types ...string) []specs.Mount {
	var left []specs.Mount
next:
	for _, m := range mounts {
		for _, kind := range types {
			if m.Type == kind {
				continue next
			}
		}
		left = append(left, m)
	}
	return left
}

// To name the host's own namespace is to share it, and then it must not be written to.
func TestHostNamespace(t *testing.T) {
	c := testContainer(t, "sh", "-c", showNamespaces)
	for i := range c.Spec.Linux.Namespaces {
		if c.Spec.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			c.Spec.Linux.Namespaces[i].Path = "/proc/self/ns/net"
		}
	}
	out, _ := output(t, c)
	if host, err := os.Readlink("/proc/self/ns/net"); err != nil || field1(out, "net") != host {
		t.Errorf("net is %s, want %s", field1(out, "net"), host)
	}
	c.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
	if _, err := Start(t.Context(), c); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("sysctl in the host's namespace: %v", err)
	}
}

func TestNetns(t *testing.T) {
	first := testContainer(t, "sleep", "1000")
	p := running(t, first)
	netns, err := os.Open("/proc/" + itoa(p.Pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Close()
	c := testContainer(t, "sh", "-c", showNamespaces+"; ls /sys/class/net")
	c.Netns = netns
	out, _ := output(t, c)
	if want, _ := os.Readlink("/proc/" + itoa(p.Pid) + "/ns/net"); field1(out, "net") != want {
		t.Errorf("net is %s, want %s", field1(out, "net"), want)
	}
	if !strings.HasSuffix(out, "lo\n") {
		t.Errorf("/sys shows %s", out)
	}
}
