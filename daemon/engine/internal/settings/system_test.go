package settings

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

const systemID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestSystemProgram(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		command string
		host    container.HostConfig
		want    bool
	}{
		"init": {"/sbin/init", container.HostConfig{}, true}, "by name": {"init", container.HostConfig{}, true},
		"systemd": {"/lib/systemd/systemd --system", container.HostConfig{}, true}, "another": {"/sbin/initialize", container.HostConfig{}, false},
		"argument": {"sh init", container.HostConfig{}, false}, "nothing": {"", container.HostConfig{}, false},
		"another first process": {"/sbin/init", container.HostConfig{Init: &yes}, false}, "processes of the host": {"/sbin/init", container.HostConfig{PidMode: "host"}, false},
		"groups of the host": {"/sbin/init", container.HostConfig{CgroupnsMode: "host"}, false}, "groups brought along": {"/sbin/init", container.HostConfig{Binds: []string{"/sys/fs/cgroup:/sys/fs/cgroup:rw"}}, false},
		"decided": {"/sbin/init", container.HostConfig{SecurityOpt: []string{"systemd=false"}}, false}, "decided otherwise": {"/sbin/init", container.HostConfig{SecurityOpt: []string{"systemd"}}, false},
	} {
		config := &container.Config{Cmd: strings.Fields(c.command)}
		if program, got := SystemProgram(config, &c.host); got != c.want || got && program != config.Cmd[0] {
			t.Errorf("%s: %q, %v", name, program, got)
		}
	}
}

func TestCompleteSystem(t *testing.T) {
	c, h := &container.Config{}, &container.HostConfig{}
	if err := CompleteSystem(c, h); err != nil || h.Tmpfs != nil || c.Env != nil || c.StopSignal != "" {
		t.Errorf("a container that is none became %+v %+v, %v", c, h, err)
	}
	ForSystem(h)
	if err := CompleteSystem(c, h); err != nil {
		t.Fatal(err)
	}
	if places := slices.Sorted(maps.Keys(h.Tmpfs)); !slices.Equal(places, []string{"/run", "/run/lock", "/tmp"}) {
		t.Errorf("tmpfs at %q", places)
	}
	if !slices.Equal(c.Env, []string{"container=pier"}) || c.StopSignal != "SIGRTMIN+3" || !h.CgroupnsMode.IsPrivate() {
		t.Errorf("%q %s %s", c.Env, c.StopSignal, h.CgroupnsMode)
	}
	if got := SystemIdentity(systemID); got != "container_uuid=01234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("its identity is %s", got)
	}
	if _, err := Mounts(h, nil, MountSources{}); err != nil {
		t.Errorf("its mounts are refused: %v", err)
	}

	// What the user has given stays.
	c = &container.Config{StopSignal: "SIGINT", Env: []string{"container=mine"}}
	h = &container.HostConfig{SecurityOpt: []string{"systemd=true"}, Binds: []string{"/data:/tmp"}, Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/run/"}},
		Tmpfs: map[string]string{"/run/lock": "size=1m"}}
	if err := CompleteSystem(c, h); err != nil {
		t.Fatal(err)
	}
	if len(h.Tmpfs) != 1 || h.Tmpfs["/run/lock"] != "size=1m" || c.StopSignal != "SIGINT" || c.Env[0] != "container=mine" {
		t.Errorf("%v %s %q", h.Tmpfs, c.StopSignal, c.Env)
	}
	if err := CompleteSystem(c, &container.HostConfig{SecurityOpt: []string{"systemd=perhaps"}}); err == nil {
		t.Error("systemd=perhaps passes")
	}
	if err := CompleteSystem(c, &container.HostConfig{SecurityOpt: []string{"systemd=true"}, CgroupnsMode: "host"}); err == nil {
		t.Error("it may write to the host's control groups")
	}
}
