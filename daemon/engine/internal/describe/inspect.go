package describe

import (
	"fmt"
	"maps"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
)

// State is how the container fares.
func (c *Container) State() *container.State {
	l := c.Life
	s := &container.State{
		Status: container.ContainerState(l.State.String()), Running: l.State.Alive() || l.State == lifecycle.Restarting,
		Paused: l.State == lifecycle.Paused, Restarting: l.State == lifecycle.Restarting, Dead: l.State == lifecycle.Dead,
		OOMKilled: l.OOM, ExitCode: l.ExitCode, Error: l.Error,
		StartedAt: l.StartedAt.Format(time.RFC3339Nano), FinishedAt: l.FinishedAt.Format(time.RFC3339Nano),
		Health: c.Health,
	}
	if l.State.Alive() {
		s.Pid = c.Pid
	}
	if l.OOM && s.Error == "" {
		s.Error = outOfMemory(c.Host.Memory)
	}
	return s
}

// outOfMemory is what became of a container that needed more than limit bytes; 0 where it had no limit of its own.
func outOfMemory(limit int64) string {
	if limit == 0 {
		return "the kernel killed a process of the container for memory, though it has no limit of its own: the host, or the parent of its cgroup, " +
			"ran out of memory: give them more, or let the program use less"
	}
	return fmt.Sprintf("the kernel killed a process of the container for memory: it reached its limit of %s: raise it with --memory, or let the program use less",
		units.BytesSize(float64(limit)))
}

// Points are its mounts.
func (c *Container) Points() []container.MountPoint {
	out := make([]container.MountPoint, 0, len(c.Mounts))
	for _, m := range c.Mounts {
		if settings.IsTmpfs(c.Host, m.Destination) {
			continue // Docker shows those of --tmpfs in HostConfig alone
		}
		out = append(out, m.Point())
	}
	return out
}

// Network is what it has of networks: addresses and ports while it runs, what was asked for otherwise.
func (c *Container) Network() *container.NetworkSettings {
	s := &container.NetworkSettings{Ports: network.PortMap{}, Networks: map[string]*network.EndpointSettings{}}
	for name, ep := range c.Networks() {
		if !c.Life.State.Alive() { // addresses are those of a run
			ep = asked(ep, c.Asked[name])
		}
		s.Networks[name] = ep
	}
	if c.Life.State.Alive() {
		s.SandboxID, s.SandboxKey = c.ID, fmt.Sprintf("/proc/%d/ns/net", c.Pid)
		maps.Copy(s.Ports, c.Ports)
		if !c.Host.NetworkMode.IsHost() {
			for p := range c.Config.ExposedPorts {
				if _, published := s.Ports[p]; !published {
					s.Ports[p] = nil
				}
			}
		}
	}
	return s
}

// asked is what remains of an endpoint's settings while nothing runs; first is how it was asked for, nil for not by name.
func asked(ep, first *network.EndpointSettings) *network.EndpointSettings {
	var mac network.HardwareAddr
	if first != nil {
		mac = first.MacAddress
	}
	return &network.EndpointSettings{MacAddress: mac, IPAMConfig: ep.IPAMConfig, Links: ep.Links, Aliases: ep.Aliases, DriverOpts: ep.DriverOpts,
		GwPriority: ep.GwPriority, NetworkID: ep.NetworkID, DNSNames: ep.DNSNames}
}
