package describe

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image"
)

// Container is what is described: a snapshot. Nothing of it is changed, and what is returned shares parts of it.
type Container struct {
	ID, Name string // name without slash
	Image    string // identifier
	Created  time.Time
	Config   *container.Config
	Host     *container.HostConfig
	Life     lifecycle.Container
	Health   *container.Health // nil: no health check
	Mounts   []settings.Mount
	Ports    network.PortMap
	Pid      int // counts while it runs
	// Asked are the endpoints that it was created with, by network.
	Asked map[string]*network.EndpointSettings
	// Networks lists the networks it is or will be on.
	Networks func() map[string]*network.EndpointSettings
}

// Summary is the container's line in a list. images tells which references lead to which image now: a name is shown only
// while it means the container's image.
func (c *Container) Summary(now time.Time, images map[string]string) container.Summary {
	s := container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Config.Image, ImageID: c.Image, Command: c.commandLine(),
		Created: c.Created.Unix(), Ports: c.portSummaries(), Labels: c.Config.Labels, State: container.ContainerState(c.Life.State.String()),
		Status: c.status(now), Mounts: c.Points(), NetworkSettings: &container.NetworkSettingsSummary{Networks: c.Network().Networks},
	}
	if id, known := images[c.Config.Image]; known && id != c.Image {
		s.Image = c.Image
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.HostConfig.NetworkMode = string(c.Host.NetworkMode)
	s.HostConfig.Annotations = c.Host.Annotations
	s.Health = &container.HealthSummary{Status: container.NoHealthcheck}
	if h := c.Health; h != nil {
		s.Health = &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	return s
}

// Names tells which references lead to which of these images now.
func Names(images []image.Image) map[string]string {
	names := map[string]string{}
	for _, img := range images {
		for _, tag := range img.RepoTags {
			names[tag] = img.ID.String()
			if bare, ok := strings.CutSuffix(tag, ":latest"); ok {
				names[bare] = img.ID.String()
			}
		}
	}
	return names
}

func (c *Container) commandLine() string {
	words := settings.Command(c.Config)
	out := make([]string, len(words))
	for i, w := range words {
		if strings.ContainsAny(w, " \t\n'") {
			w = "'" + w + "'"
		}
		out[i] = w
	}
	return strings.Join(out, " ")
}

// status is the words of docker ps.
func (c *Container) status(now time.Time) string {
	l := c.Life
	since := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	switch l.State {
	case lifecycle.Created:
		return "Created"
	case lifecycle.Removing:
		return "Removal In Progress"
	case lifecycle.Dead:
		return "Dead"
	case lifecycle.Restarting:
		return fmt.Sprintf("Restarting (%d) %s ago", l.ExitCode, since(l.FinishedAt))
	case lifecycle.Exited:
		return fmt.Sprintf("Exited (%d) %s ago", l.ExitCode, since(l.FinishedAt))
	case lifecycle.Paused:
		return fmt.Sprintf("Up %s (Paused)", since(l.StartedAt))
	}
	if h := c.Health; h != nil {
		status := string(h.Status)
		if h.Status == container.Starting {
			status = "health: " + status
		}
		return fmt.Sprintf("Up %s (%s)", since(l.StartedAt), status)
	}
	return "Up " + since(l.StartedAt)
}

func (c *Container) portSummaries() []container.PortSummary {
	out := []container.PortSummary{}
	if !c.Life.State.Alive() {
		return out
	}
	add := func(ip netip.Addr, p network.Port, public uint16) {
		out = append(out, container.PortSummary{IP: ip, PrivatePort: p.Num(), PublicPort: public, Type: string(p.Proto())})
	}
	for p, bindings := range c.Ports {
		for _, b := range bindings {
			var n uint16
			if _, err := fmt.Sscanf(b.HostPort, "%d", &n); err == nil {
				add(b.HostIP, p, n)
			}
		}
	}
	for p := range c.Config.ExposedPorts {
		if len(c.Ports[p]) == 0 && !c.Host.NetworkMode.IsHost() {
			add(netip.Addr{}, p, 0)
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.PublicPort, b.PublicPort),
			strings.Compare(a.Type, b.Type), a.IP.Compare(b.IP))
	})
	return out
}
