package settings

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// bindings reads "[IP|]HOST:CONTAINER/PROTO" several times.
func bindings(specs string) network.PortMap {
	m := network.PortMap{}
	for spec := range strings.FieldsSeq(specs) {
		var b network.PortBinding
		if ip, rest, ok := strings.Cut(spec, "|"); ok {
			b.HostIP, spec = netip.MustParseAddr(ip), rest
		}
		host, port, _ := strings.Cut(spec, ":")
		b.HostPort = host
		m[network.MustParsePort(port)] = append(m[network.MustParsePort(port)], b)
	}
	return m
}

// TestPublish changes the ports of containers that run (now is set) and of others.
func TestPublish(t *testing.T) {
	const both = "0.0.0.0|8080:80/tcp ::|8080:80/tcp"
	for _, tt := range []struct {
		name, asked, now, add, remove string
		all                           bool
		wantAsked, wantAll            string // what is asked for from now on, and what is to be published
	}{
		{"one more", "8080:80/tcp", both, "127.0.0.1|53:53/udp", "", false, "8080:80/tcp 127.0.0.1|53:53/udp", both + " 127.0.0.1|53:53/udp"},
		{"one less", "8080:80/tcp 8081:80/tcp", both + " 0.0.0.0|8081:80/tcp ::|8081:80/tcp", "", "8080:80/tcp", false,
			"8081:80/tcp", "0.0.0.0|8081:80/tcp ::|8081:80/tcp"},
		{"without IPv6", "8080:80/tcp 8081:80/tcp", "0.0.0.0|8080:80/tcp 0.0.0.0|8081:80/tcp", "", "8080:80/tcp", false, "8081:80/tcp", "0.0.0.0|8081:80/tcp"},
		{"by another way", "8080:80/tcp", both, "8080:81/tcp", "8080:80/tcp", false, "8080:81/tcp", "8080:81/tcp"},
		{"of a chosen port", ":80/tcp :80/tcp", "0.0.0.0|40001:80/tcp ::|40001:80/tcp 0.0.0.0|40002:80/tcp ::|40002:80/tcp", "", "40002:80/tcp", false,
			":80/tcp", "0.0.0.0|40001:80/tcp ::|40001:80/tcp"},
		{"of a range", "7000-7002:80/tcp", "0.0.0.0|7001:80/tcp ::|7001:80/tcp", "", "7001:80/tcp", false, "", ""},
		{"of an address", "127.0.0.1|8080:80/tcp 127.0.0.2|8080:80/tcp", "127.0.0.1|8080:80/tcp 127.0.0.2|8080:80/tcp", "", "127.0.0.1|8080:80/tcp", false,
			"127.0.0.2|8080:80/tcp", "127.0.0.2|8080:80/tcp"},
		{"all of a port", "8080:80/tcp 8443:443/tcp", both + " 0.0.0.0|8443:443/tcp", "", ":80/tcp", false, "8443:443/tcp", "0.0.0.0|8443:443/tcp"},
		{"as shown", "8080:80/tcp", both, "", "0.0.0.0|8080:80/tcp", false, "", ""},
		{"of all that are exposed", "", "0.0.0.0|40001:80/tcp ::|40001:80/tcp 0.0.0.0|40002:443/tcp ::|40002:443/tcp", "9:9/tcp", "40002:443/tcp", true,
			":80/tcp 9:9/tcp", "0.0.0.0|40001:80/tcp ::|40001:80/tcp 9:9/tcp"},
		{"not running", "8080:80/tcp", "", "8081:80/tcp", "", false, "8080:80/tcp 8081:80/tcp", "8080:80/tcp 8081:80/tcp"},
		{"a second one of no number", ":80/tcp", "0.0.0.0|40001:80/tcp ::|40001:80/tcp", ":80/tcp", "", false, ":80/tcp :80/tcp",
			"0.0.0.0|40001:80/tcp ::|40001:80/tcp :80/tcp"},
	} {
		h := &container.HostConfig{PortBindings: bindings(tt.asked), PublishAllPorts: tt.all}
		exposed := network.PortSet{network.MustParsePort("80/tcp"): {}, network.MustParsePort("443/tcp"): {}}
		wanted, err := Publish(h, exposed, bindings(tt.now), bindings(tt.add), bindings(tt.remove))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got, want := fmt.Sprint(h.PortBindings), fmt.Sprint(bindings(tt.wantAsked)); got != want {
			t.Errorf("%s: asked for is %s, want %s", tt.name, got, want)
		}
		if got, want := fmt.Sprint(wanted), fmt.Sprint(bindings(tt.wantAll)); got != want {
			t.Errorf("%s: published is %s, want %s", tt.name, got, want)
		}
		if h.PublishAllPorts {
			t.Errorf("%s: all ports are published still", tt.name)
		}
	}
}

// TestPublishRefuses what would change nothing, or cannot be.
func TestPublishRefuses(t *testing.T) {
	for _, tt := range []struct{ mode, add, remove, want string }{
		{"", "", "8081:80/tcp", "8081:80/tcp is not published"},
		{"", "", "127.0.0.1|8080:80/tcp", "127.0.0.1:8080:80/tcp is not published"},
		{"", "", "8080:80/udp", "8080:80/udp is not published"},
		{"", "8080:80/tcp", "", "8080:80/tcp is published already"},
		{"", "::|8080:80/tcp", "", "[::]:8080:80/tcp is published already"},
		{"", "x:80/tcp", "", "invalid port specification"},
		{"", "1:0/tcp", "", "invalid port specification"},
		{"", "1:1/icmp", "", "invalid proto"},
		{"host", "1:1/tcp", "", `the network mode "host"`},
		{"container:x", "1:1/tcp", "", `the network mode "container:x"`},
	} {
		h := &container.HostConfig{PortBindings: bindings("8080:80/tcp"), NetworkMode: container.NetworkMode(tt.mode)}
		_, err := Publish(h, nil, bindings("0.0.0.0|8080:80/tcp ::|8080:80/tcp"), bindings(tt.add), bindings(tt.remove))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
