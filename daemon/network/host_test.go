package network_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/daemon/network"
	"pier/daemon/store/record"
	"pier/kernel/link"
	"pier/lib/id"
)

// TestOnTheMachineItself joins the machine's own network, beside whatever else is there, and leaves it as it was.
func TestOnTheMachineItself(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test needs root: it makes network namespaces")
	}
	const far = "proxy.golang.org"
	c, err := net.DialTimeout("tcp", far+":443", 5*time.Second)
	reachable := err == nil
	if reachable {
		c.Close()
	}
	r := &rig{t: t}
	r.m = must(link.New())(t)
	defer r.m.Close()
	db := must(record.Open(filepath.Join(t.TempDir(), "test.db"), record.Options{Volatile: true}))(t)
	defer db.Close()
	bridge := "pt" + id.New()[:8]
	foreign := func() string { // what is neither ours of the machine's tables nor that of a test beside this one
		var others strings.Builder
		for table := range strings.Lines(run(t, r, nil, "nft", "list", "tables")) {
			if table == "table inet pier-"+bridge+"\n" || !strings.HasPrefix(table, "table inet pier-pt") {
				others.WriteString(strings.ReplaceAll(table, bridge, "ours"))
			}
		}
		return others.String()
	}
	before := foreign()
	r.n = must(network.Open(t.Context(), network.Options{Records: db, Bridge: bridge}))(t)
	defer func() {
		if err := r.n.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
		if after := foreign(); after != before {
			t.Errorf("tables before:\n%s\nafter:\n%s", before, after)
		}
		if links := r.links(); strings.Contains(links, bridge) {
			t.Errorf("links: %s", links)
		}
	}()
	box := r.join(network.JoinOptions{Name: "c", Ports: ports("0:80/tcp")})
	defer r.n.Leave(box.id)
	r.serve(box.Netns, "tcp4", "0.0.0.0:80")
	for _, b := range box.Ports[mustPort("80/tcp")] {
		host := "127.0.0.1"
		if b.HostIP.Is6() {
			host = "::1"
		}
		r.reaches(nil, "tcp", net.JoinHostPort(host, b.HostPort), "")
	}
	if !reachable {
		t.Logf("%s is out of the machine's own reach: %v", far, err)
		return
	}
	// With the container's own resolv.conf, as its programs would. A packet may be lost on the way, which is nobody's fault.
	ask := func() error {
		var server string
		for line := range strings.Lines(string(box.ResolvConf)) {
			if w := strings.Fields(line); len(w) == 2 && w[0] == "nameserver" {
				server = w[1]
				break
			}
		}
		addrs, err := lookup(server, far)
		if err != nil {
			return err
		}
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addrs, "443"), 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
	err = r.m.Do(box.Netns, ask)
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); err = r.m.Do(box.Netns, ask) {
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("from the container: %v", err)
	}
}
