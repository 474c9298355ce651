package process

import (
	"fmt"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// Donor is a container whose namespaces another one is to join.
type Donor struct {
	Pid   int // of its first process, while it is alive
	Alive bool
	State string // for people
	Host  *container.HostConfig
}

// Namespaces finds the namespaces of other containers that one of host joins, as paths, by kind; find finds those containers.
// Conflict, in Docker's words, where one does not run or does not share. The network is not among them: it is the network
// room's.
func Namespaces(host *container.HostConfig, find func(ref string) (Donor, error)) (map[specs.LinuxNamespaceType]string, error) {
	join := map[specs.LinuxNamespaceType]string{}
	for _, ns := range []struct {
		kind specs.LinuxNamespaceType
		file string
		with string
		of   bool
	}{
		{specs.PIDNamespace, "pid", host.PidMode.Container(), host.PidMode.IsContainer()},
		{specs.IPCNamespace, "ipc", host.IpcMode.Container(), host.IpcMode.IsContainer()},
		{specs.UTSNamespace, "uts", host.NetworkMode.ConnectedContainer(), host.NetworkMode.IsContainer()},
	} {
		if !ns.of {
			continue
		}
		donor, err := find(ns.with)
		if err != nil {
			return nil, err
		}
		if !donor.Alive {
			return nil, errkind.New(errkind.Conflict, "cannot join the %s namespace of a non running container: container %s is %s", ns.file, ns.with, donor.State)
		}
		if ns.file == "ipc" && !donor.Host.IpcMode.IsShareable() && !donor.Host.IpcMode.IsHost() {
			return nil, errkind.New(errkind.Conflict, "can't join IPC of container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", ns.with)
		}
		if ns.file == "uts" && host.UTSMode.IsHost() || ns.file == "ipc" && donor.Host.IpcMode.IsHost() {
			continue
		}
		join[ns.kind] = fmt.Sprintf("/proc/%d/ns/%s", donor.Pid, ns.file)
	}
	return join, nil
}
