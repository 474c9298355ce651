package settings

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

// ResolveRefs replaces names by identifiers where h mentions containers whose namespaces are to be joined, so that renaming
// changes nothing. A container that identify does not find makes the request Invalid: clients take a "not found" of create
// for a missing image, and pull. A network is looked up at the start.
func ResolveRefs(h *container.HostConfig, identify func(ref string) (string, error)) error {
	for _, mode := range []struct {
		joins bool
		ref   string
		set   func(s string)
	}{
		{h.NetworkMode.IsContainer(), h.NetworkMode.ConnectedContainer(), func(s string) { h.NetworkMode = container.NetworkMode(s) }},
		{h.PidMode.IsContainer(), h.PidMode.Container(), func(s string) { h.PidMode = container.PidMode(s) }},
		{h.IpcMode.IsContainer(), h.IpcMode.Container(), func(s string) { h.IpcMode = container.IpcMode(s) }},
	} {
		if !mode.joins {
			continue
		}
		id, err := identify(mode.ref)
		if err != nil {
			return errkind.New(errkind.Invalid, "joining the namespace of a container: %w", err)
		}
		mode.set("container:" + id)
	}
	return nil
}

// NameDefault puts the name of the default network in the place of the word "default", under which clients send its settings:
// lists, filters and descriptions know it by its name, before the first start too.
func NameDefault(endpoints map[string]*network.EndpointSettings) {
	if e, ok := endpoints[network.NetworkDefault]; ok {
		delete(endpoints, network.NetworkDefault)
		endpoints[network.NetworkBridge] = e
	}
}
