package docker

import (
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// LegacyContainer is the answer of GET /containers/{id}/json before API 1.52.
type LegacyContainer struct {
	container.InspectResponse
	HostConfig      *DescribedHostConfig
	NetworkSettings *LegacyNetworkSettings
}

// LegacyNetworkSettings repeats the endpoint on the default bridge at the top level, as clients before API 1.52 expect.
type LegacyNetworkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	Ports                  network.PortMap
	Networks               map[string]*network.EndpointSettings
}

// LegacyImageSummary is one entry of GET /images/json before API 1.44.
type LegacyImageSummary struct {
	image.Summary
	VirtualSize int64
}

// LegacyImage is the answer of GET /images/{name}/json before API 1.52. VirtualSize goes with 1.44.
type LegacyImage struct {
	image.InspectResponse
	Parent        string
	Comment       string
	Author        string
	DockerVersion string
	VirtualSize   int64 `json:",omitempty"`
}

// LegacyEvent is one line of GET /events before API 1.52. The upper fields are there for containers and images alone, and
// From, a container's image, for containers.
type LegacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// LegacyInfo is the answer of GET /info before API 1.49.
type LegacyInfo struct {
	system.Info
	BridgeNfIptables  bool
	BridgeNfIp6tables bool
}

// LegacyDiskUsage is the answer of GET /system/df in all versions: the upper fields until 1.52, DiskUsage from it on.
type LegacyDiskUsage struct {
	LayersSize *int64 `json:",omitempty"`
	// BuilderSize is what the build cache takes, until 1.41.
	BuilderSize *int64              `json:",omitempty"`
	Images      any                 `json:",omitempty"` // image.Summary or LegacyImageSummary, a list
	Containers  []container.Summary `json:",omitzero"`
	Volumes     []volume.Volume     `json:",omitzero"`
	BuildCache  []build.CacheRecord `json:",omitzero"`
	system.DiskUsage
}
