package settings

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

func TestParseLink(t *testing.T) {
	for in, want := range map[string]Link{
		"db": {"db", "db"}, "db:store": {"db", "store"}, "/db:/web/store": {"db", "store"}, "abc123:a_b-c.d": {"abc123", "a_b-c.d"},
	} {
		if got, err := ParseLink(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", ":", "db:", ":a", "db:a:b", "db:a b", "db:a\nb"} {
		if got, err := ParseLink(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func TestLinkEnv(t *testing.T) {
	child := &container.Config{Env: []string{"PATH=/bin", "HOME=/", "A=b", "BARE"}, ExposedPorts: network.PortSet{
		network.MustParsePort("80/tcp"): {}, network.MustParsePort("53/udp"): {}, network.MustParsePort("53/tcp"): {}}}
	want := []string{
		"MY_DB_PORT=udp://10.0.0.2:53",
		"MY_DB_PORT_53_UDP=udp://10.0.0.2:53", "MY_DB_PORT_53_UDP_ADDR=10.0.0.2", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp",
		"MY_DB_PORT_53_TCP=tcp://10.0.0.2:53", "MY_DB_PORT_53_TCP_ADDR=10.0.0.2", "MY_DB_PORT_53_TCP_PORT=53", "MY_DB_PORT_53_TCP_PROTO=tcp",
		"MY_DB_PORT_80_TCP=tcp://10.0.0.2:80", "MY_DB_PORT_80_TCP_ADDR=10.0.0.2", "MY_DB_PORT_80_TCP_PORT=80", "MY_DB_PORT_80_TCP_PROTO=tcp",
		"MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=b",
	}
	if got := LinkEnv("web", "my-db", netip.MustParseAddr("10.0.0.2"), child); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestStorageSize(t *testing.T) {
	for in, want := range map[string]int64{"1000": 1000, "10G": 10 << 30, "1.5m": 3 << 19} {
		if got, err := StorageSize(map[string]string{"size": in}); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, bad := range []map[string]string{{"size": ""}, {"size": "0"}, {"size": "-1"}, {"size": "x"}, {"dm.fs": "xfs"}} {
		if got, err := StorageSize(bad); err == nil {
			t.Errorf("%v: %d", bad, got)
		}
	}
	if got, err := StorageSize(nil); got != 0 || err != nil {
		t.Errorf("none: %d, %v", got, err)
	}
}

func TestMountTypes(t *testing.T) {
	bind := func(o mount.BindOptions, readOnly bool) mount.Mount {
		return mount.Mount{Type: mount.TypeBind, Source: "/s", Target: "/t", ReadOnly: readOnly, BindOptions: &o}
	}
	for name, m := range map[string]mount.Mount{
		"a named pipe":                  {Type: mount.TypeNamedPipe, Source: "x", Target: "/t"},
		"a cluster volume":              {Type: mount.TypeCluster, Source: "x", Target: "/t"},
		"an image without a name":       {Type: mount.TypeImage, Target: "/t"},
		"a part outside the image":      {Type: mount.TypeImage, Source: "i", Target: "/t", ImageOptions: &mount.ImageOptions{Subpath: "../x"}},
		"a bind with an image's":        {Type: mount.TypeBind, Source: "/s", Target: "/t", ImageOptions: &mount.ImageOptions{Subpath: "x"}},
		"forced read-only, but writing": bind(mount.BindOptions{ReadOnlyForceRecursive: true}, false),
		"read-only top, but writing":    bind(mount.BindOptions{ReadOnlyNonRecursive: true}, false),
		"two that exclude each other":   bind(mount.BindOptions{ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true}, true),
		"forced, and not recursive":     bind(mount.BindOptions{ReadOnlyForceRecursive: true, NonRecursive: true}, true),
	} {
		if got, err := ParseMount(m, nil); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got, err := ParseMount(mount.Mount{Type: mount.TypeImage, Source: "i", Target: "/t/", ImageOptions: &mount.ImageOptions{Subpath: "a/b"}}, nil)
	if err != nil || got.RW || got.Destination != "/t" || got.Source != "i" || got.Subpath != "a/b" {
		t.Errorf("an image: %+v, %v", got, err)
	}
}
