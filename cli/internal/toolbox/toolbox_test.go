package toolbox

import (
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestTraces(t *testing.T) {
	for _, test := range []struct {
		add, drop []string
		want      bool
	}{
		{nil, nil, false},
		{[]string{"NET_ADMIN"}, nil, false},
		{[]string{"cap_sys_ptrace"}, nil, true},
		{[]string{"SYS_PTRACE"}, []string{"ALL"}, true},
		{[]string{"all"}, nil, true},
		{[]string{"ALL"}, []string{"CAP_SYS_PTRACE"}, false},
	} {
		if got := Traces(&container.HostConfig{CapAdd: test.add, CapDrop: test.drop}); got != test.want {
			t.Errorf("add %v, drop %v: %v", test.add, test.drop, got)
		}
	}
}

func TestJoin(t *testing.T) {
	target := &container.InspectResponse{ID: "x", State: &container.State{Pid: 42}, HostConfig: &container.HostConfig{IpcMode: "private"}}
	var h container.HostConfig
	if Join(&h, target); h.PidMode != "container:x" || h.NetworkMode != "container:x" || h.IpcMode != "" || len(h.CapAdd) != 1 || h.Privileged {
		t.Errorf("%+v", h)
	}
	target.HostConfig.IpcMode = "shareable"
	if Join(&h, target); h.IpcMode != "container:x" {
		t.Errorf("a shareable IPC namespace is not joined: %q", h.IpcMode)
	}
	for mode, want := range map[container.PidMode]string{"": "/proc/1/root", "host": "/proc/42/root", "container:y": ""} {
		if target.HostConfig.PidMode = mode; Root(target) != want {
			t.Errorf("pid mode %q: root %q, want %q", mode, Root(target), want)
		}
	}
}

// No destination leads out of the folder for volumes, and none can be written to.
func TestVolumes(t *testing.T) {
	list := Volumes(&container.InspectResponse{Mounts: []container.MountPoint{{Type: mount.TypeVolume, Name: "v", Destination: "/../../etc"},
		{Type: mount.TypeBind, Source: "/home", Destination: "/home"}}})
	if len(list) != 1 || list[0].Target != "/volumes/etc" || !list[0].ReadOnly || list[0].Source != "v" || !list[0].VolumeOptions.NoCopy {
		t.Errorf("%+v", list)
	}
}
