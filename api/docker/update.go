package docker

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Update is the body of POST /containers/{id}/update with what Pier adds to it; a server that does not know the additions
// passes over them. All of it is done, or nothing.
type Update struct {
	container.UpdateConfig
	// PierPublishAdd are bindings to publish as in HostConfig.PortBindings, at once where the container runs.
	PierPublishAdd network.PortMap `json:",omitempty"`
	// PierPublishRemove are bindings to end, before those of PierPublishAdd are made. Without HostIp it means those of all
	// addresses, without HostPort those of all host ports; a HostPort that was chosen for the container counts too.
	PierPublishRemove network.PortMap `json:",omitempty"`
}
