package newcomer

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pier/test/lab"
)

// TestBesideDocker types `make run`, `make stop` and `make clean` on a machine whose Docker serves a container. Docker's
// bridge, rules, cgroups and container stay exactly as they are. Both engines live in a network namespace of this test,
// since dockerd leaves its own bridge and rules behind.
func TestBesideDocker(t *testing.T) {
	holder := exec.Command("unshare", "--net", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	namespace := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	lab.Eventually(t, "a network namespace", func() error {
		if now, err := os.Readlink(namespace); err != nil || now == ours {
			return fmt.Errorf("it is %s: %w", now, err)
		}
		return nil
	})
	m := newMachine(t, "nsenter", "--net="+namespace)
	m.do("ip link set lo up; echo 0 >/proc/sys/net/ipv4/ip_forward") // which makes dockerd forbid all forwarding but its own
	m.do("cp -r '" + bin + "' bin")                                  // built from the same files: make finds nothing to do

	engine := lab.StartDockerd(t, m.enter)
	t.Cleanup(func() { _ = engine.Command("rm", "-f", "theirs").Run() })
	docker := func(line string) string {
		t.Helper()
		return m.do("docker -H unix://" + engine.Socket + " " + line)
	}
	root := lab.Busybox(t, t.TempDir())
	docker("import " + root + " busybox")
	docker("run -d --name theirs -p 127.0.0.1:8088:80 busybox sh -c 'echo served by docker >/tmp/index.html; exec httpd -f -p 80 -h /tmp'")
	state := func() string {
		t.Helper()
		if page := m.do("curl -fsS --retry 20 --retry-all-errors --retry-delay 1 http://127.0.0.1:8088/"); page != "served by docker\n" {
			t.Errorf("the page of Docker's container is %q", page)
		}
		return strings.Join([]string{
			m.do("ip -o -4 address show docker0"), m.do("ip -o link show master docker0"),
			m.do("iptables-save | sed -e '/^#/d' -e 's/\\[[0-9:]*\\]//'"), m.do("cat /proc/sys/net/ipv4/ip_forward"),
			m.do("find /sys/fs/cgroup -path '*" + engine.Group + "/*' -name cgroup.procs | sort | xargs head"),
			docker("inspect theirs"), docker("network ls"), docker("ps -a --format '{{.ID}} {{.Names}}'"),
		}, "\n")
	}
	tables := m.do("nft list tables")
	before := state()

	m.do("make run")
	if page := m.do("curl -fsS " + m.url()); !strings.Contains(page, "Hello from Pier") {
		t.Errorf("the page is %q", page)
	}
	same(t, "make run", before, state())
	m.do("make stop")
	same(t, "make stop", before, state())
	m.do("make clean")
	same(t, "make clean", before, state())
	same(t, "make clean", tables, m.do("nft list tables"))
	if links := m.do("ip -o link"); strings.Contains(links, m.name) {
		t.Errorf("make clean left an interface:\n%s", links)
	}
	for _, left := range lab.Leftovers(t, m.dir+"/data", m.name) {
		t.Errorf("left behind: %s", left)
	}
}

// same fails the test with the first line that differs.
func same(t *testing.T, what, before, after string) {
	t.Helper()
	for before != after {
		var was, is string
		was, before, _ = strings.Cut(before, "\n")
		is, after, _ = strings.Cut(after, "\n")
		if was != is {
			t.Errorf("after %s Docker's things are not what they were:\nwas %q\nis  %q", what, was, is)
			return
		}
	}
}
