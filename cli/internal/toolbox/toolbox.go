// Package toolbox says what makes a container the toolbox of another one, for `pier debug`: namespaces, rights and mounts
// of a request (toolbox.go, which asks nobody), whether it may be entered, and how the other's files come into it (enter.go).
//
// Start reading at Join.
package toolbox

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

const (
	// Files is where the files of the container are in its toolbox.
	Files = "/container"
	// VolumesDir is where the volumes of one that does not run are.
	VolumesDir = "/volumes"
	// Label marks a toolbox; its value is the container that it looks into.
	Label = "pier.debug"
)

// Join puts a toolbox into the namespaces of a container. SYS_PTRACE is what it takes to look at processes of other
// users, and at a root through /proc; it also keeps the container, which does not have it, from looking at the toolbox.
// An IPC namespace can only be joined where its container offers it.
func Join(h *container.HostConfig, target *container.InspectResponse) {
	with := "container:" + target.ID
	h.PidMode, h.NetworkMode = container.PidMode(with), container.NetworkMode(with)
	if m := target.HostConfig.IpcMode; m.IsShareable() || m.IsHost() {
		h.IpcMode = container.IpcMode(with)
	}
	h.CapAdd = []string{"SYS_PTRACE"}
}

// Traces reports whether the processes of a container may trace others, which the usual capabilities do not allow.
func Traces(h *container.HostConfig) bool {
	const capability = "SYS_PTRACE"
	named := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(c string) bool { return strings.TrimPrefix(strings.ToUpper(c), "CAP_") == name })
	}
	return named(h.CapAdd, capability) || named(h.CapAdd, "ALL") && !named(h.CapDrop, capability)
}

// Volumes mounts the volumes of a container for reading, below VolumesDir.
func Volumes(target *container.InspectResponse) []mount.Mount {
	var list []mount.Mount
	for _, m := range target.Mounts {
		if m.Type == mount.TypeVolume {
			list = append(list, mount.Mount{Type: m.Type, Source: m.Name, Target: path.Join(VolumesDir, path.Join("/", m.Destination)), ReadOnly: true,
				VolumeOptions: &mount.VolumeOptions{NoCopy: true}})
		}
	}
	return list
}

// Root is the path of the root of a container's first process, as its toolbox sees it: "" where its number is not known,
// for it lives among the processes of a third container.
func Root(target *container.InspectResponse) string {
	switch m := target.HostConfig.PidMode; {
	case m.IsHost():
		return "/proc/" + strconv.Itoa(target.State.Pid) + "/root"
	case m.IsContainer():
		return ""
	}
	return "/proc/1/root"
}
