package server

import (
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	imageapi "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"

	"pier/api/docker"
	"pier/daemon/engine"
	"pier/lib/errkind"
)

// This file alone knows how requests and answers looked in older versions of the API. Every function takes the shape
// of the newest version and returns that of the version asked for, or the other way round.

// legacyCreate is the body of POST /containers/create in all versions.
type legacyCreate struct {
	container.CreateRequest
	HostConfig *legacyHostConfig
	MacAddress string // until 1.51: of the container, not of one endpoint
}

// legacyHostConfig has what HostConfig had once.
type legacyHostConfig struct {
	*container.HostConfig
	legacyLimits
	Capabilities []string // 1.40: all of the container's
	PierSecrets  []docker.NewSecret
}

// legacyLimits were limits until 1.41 and 1.51. The kernel no longer has them.
type legacyLimits struct {
	KernelMemory    int64
	KernelMemoryTCP int64
}

// check refuses what is not to be had. -1 asks for no limit, which is what there is.
func (l legacyLimits) check() error {
	for name, value := range map[string]int64{"KernelMemory": l.KernelMemory, "KernelMemoryTCP": l.KernelMemoryTCP} {
		if value != 0 && value != -1 {
			return errkind.New(errkind.Unsupported, "%s is not supported: kernels since 5.16 have no limit of kernel memory; create the container without it", name)
		}
	}
	return nil
}

// legacyUpdate is the body of POST /containers/{id}/update in all versions.
type legacyUpdate struct {
	container.UpdateConfig
	legacyLimits
	Init                              *bool // documented with the other resources, and nothing that a container can change
	PierPublishAdd, PierPublishRemove network.PortMap
}

func (u *legacyUpdate) check() error {
	if u.Init != nil {
		return errkind.New(errkind.Unsupported, "Init cannot be updated: create the container anew with it")
	}
	return u.legacyLimits.check()
}

// upgrade checks what older versions have and moves what they put elsewhere to its place.
func (c *legacyCreate) upgrade(v docker.Version) error {
	h := &container.HostConfig{}
	if old := c.HostConfig; old != nil {
		if old.HostConfig != nil {
			h = old.HostConfig
		}
		if len(old.Capabilities) > 0 {
			return errkind.New(errkind.Unsupported, "Capabilities is not supported: use CapAdd and CapDrop")
		}
		if err := old.legacyLimits.check(); err != nil {
			return err
		}
	}
	c.CreateRequest.HostConfig = h
	if c.MacAddress == "" {
		return nil
	}
	if !v.Before(52) {
		return errkind.New(errkind.Invalid, "MacAddress of a container is gone since API 1.52: set that of its endpoint in NetworkingConfig")
	}
	var mac network.HardwareAddr
	if err := mac.UnmarshalText([]byte(c.MacAddress)); err != nil {
		return errkind.New(errkind.Invalid, "invalid MAC address: %s", c.MacAddress)
	}
	if c.NetworkingConfig == nil {
		c.NetworkingConfig = &network.NetworkingConfig{}
	}
	if c.NetworkingConfig.EndpointsConfig == nil {
		c.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	name := h.NetworkMode.NetworkName()
	if h.NetworkMode.IsDefault() || name == "" {
		name = network.NetworkBridge
	}
	e := c.NetworkingConfig.EndpointsConfig[name]
	if e == nil {
		e = &network.EndpointSettings{}
		c.NetworkingConfig.EndpointsConfig[name] = e
	}
	if len(e.MacAddress) == 0 {
		e.MacAddress = mac
	}
	return nil
}

// legacyContainer is the answer of GET /containers/{id}/json.
func legacyContainer(v docker.Version, c engine.Inspection) any {
	host := &docker.DescribedHostConfig{HostConfig: c.HostConfig, PierSecrets: c.Secrets}
	if !v.Before(52) || c.NetworkSettings == nil {
		if len(c.Secrets) > 0 {
			return docker.Container{InspectResponse: c.InspectResponse, HostConfig: host}
		}
		return c.InspectResponse
	}
	n := c.NetworkSettings
	old := &docker.LegacyNetworkSettings{
		SandboxID: n.SandboxID, SandboxKey: n.SandboxKey, Ports: n.Ports, Networks: n.Networks,
	}
	if e := n.Networks[network.NetworkBridge]; e != nil {
		old.EndpointID, old.MacAddress = e.EndpointID, e.MacAddress.String()
		old.IPPrefixLen, old.GlobalIPv6PrefixLen = e.IPPrefixLen, e.GlobalIPv6PrefixLen
		for addr, field := range map[*string]interface{ MarshalText() ([]byte, error) }{
			&old.IPAddress: e.IPAddress, &old.Gateway: e.Gateway, &old.GlobalIPv6Address: e.GlobalIPv6Address, &old.IPv6Gateway: e.IPv6Gateway,
		} {
			text, _ := field.MarshalText() // "" for no address
			*addr = string(text)
		}
	}
	return docker.LegacyContainer{InspectResponse: c.InspectResponse, HostConfig: host, NetworkSettings: old}
}

// legacyImageSummaries is the answer of GET /images/json.
func legacyImageSummaries(v docker.Version, images []imageapi.Summary) any {
	if !v.Before(44) {
		return images
	}
	out := make([]docker.LegacyImageSummary, 0, len(images))
	for _, i := range images {
		if len(i.RepoTags) == 0 && len(i.RepoDigests) == 0 && v.Before(43) {
			i.RepoTags, i.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		out = append(out, docker.LegacyImageSummary{Summary: i, VirtualSize: i.Size})
	}
	return out
}

// legacyImage is the answer of GET /images/{name}/json.
func legacyImage(v docker.Version, i imageapi.InspectResponse, parent string) any {
	if !v.Before(52) {
		return i
	}
	old := docker.LegacyImage{InspectResponse: i, Parent: parent, Comment: i.Comment, Author: i.Author}
	if v.Before(44) {
		old.VirtualSize = i.Size
	}
	return old
}

// legacyEvent is one line of GET /events. Only a container comes from an image: an attribute "image" of an image is a label.
func legacyEvent(v docker.Version, m events.Message) any {
	if !v.Before(52) || m.Type != events.ContainerEventType && m.Type != events.ImageEventType {
		return m
	}
	old := docker.LegacyEvent{Message: m, Status: string(m.Action), ID: m.Actor.ID}
	if m.Type == events.ContainerEventType {
		old.From = m.Actor.Attributes["image"]
	}
	return old
}

// legacyInfo is the answer of GET /info.
func legacyInfo(v docker.Version, i system.Info) any {
	if v.Before(49) {
		i.FirewallBackend = nil
	}
	if v.Before(50) {
		// Pier's rules do not need bridges to pass through netfilter; "false" makes old clients warn.
		return docker.LegacyInfo{Info: i, BridgeNfIptables: true, BridgeNfIp6tables: true}
	}
	return i
}

// legacyDiskUsage is the answer of GET /system/df: lists of everything before 1.52, sums from then on, both in 1.52. Of
// what was not asked for u has nothing.
func legacyDiskUsage(v docker.Version, u system.DiskUsage, verbose bool) any {
	out := docker.LegacyDiskUsage{DiskUsage: u}
	old := v.Before(53) && !verbose
	if u.ImageUsage != nil {
		if old {
			out.LayersSize, out.Images = &u.ImageUsage.TotalSize, legacyImageSummaries(v, list(u.ImageUsage.Items))
		}
		u.ImageUsage.Items = listIf(verbose, u.ImageUsage.Items)
	}
	if u.ContainerUsage != nil {
		if old {
			out.Containers = list(u.ContainerUsage.Items)
		}
		u.ContainerUsage.Items = listIf(verbose, u.ContainerUsage.Items)
	}
	if u.VolumeUsage != nil {
		if old {
			out.Volumes = list(u.VolumeUsage.Items)
		}
		u.VolumeUsage.Items = listIf(verbose, u.VolumeUsage.Items)
	}
	if u.BuildCacheUsage != nil {
		if old {
			out.BuildCache = list(u.BuildCacheUsage.Items)
			if v.Before(42) {
				out.BuilderSize = &u.BuildCacheUsage.TotalSize
			}
		}
		u.BuildCacheUsage.Items = listIf(verbose, u.BuildCacheUsage.Items)
	}
	if v.Before(52) {
		out.DiskUsage = system.DiskUsage{}
	}
	return out
}

func listIf[T any](wanted bool, s []T) []T {
	if !wanted {
		return nil
	}
	return s
}
