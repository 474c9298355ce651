package row

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/cli/internal/table"
	"pier/lib/id"
)

// Container is one line of `ps`.
type Container struct {
	Command, CreatedAt, HealthStatus, ID, Image, Labels, LocalVolumes, Mounts, Names, Networks, Platform, Ports, RunningFor, Size, State, Status string
	labels                                                                                                                                       map[string]string
	head                                                                                                                                         bool
}

// ContainerHead holds the titles.
func ContainerHead() Container {
	return Container{Command: "COMMAND", CreatedAt: "CREATED AT", HealthStatus: "HEALTH", ID: "CONTAINER ID", Image: "IMAGE", Labels: "LABELS", LocalVolumes: "LOCAL VOLUMES",
		Mounts: "MOUNTS", Names: "NAMES", Networks: "NETWORKS", Platform: "PLATFORM", Ports: "PORTS", RunningFor: "CREATED", Size: "SIZE", State: "STATE", Status: "STATUS", head: true}
}

// Label is one label's value; in the heading, its title.
func (r Container) Label(name string) string {
	if r.head {
		return strings.NewReplacer("-", " ", "_", " ").Replace(name[strings.LastIndex(name, ".")+1:])
	}
	return r.labels[name]
}

// ContainerOf words a container; short cuts identifiers, commands and mounts to what fits a table.
func ContainerOf(c *container.Summary, short bool) Container {
	r := Container{ID: c.ID, Image: c.Image, Command: c.Command, CreatedAt: time.Unix(c.Created, 0).String(), RunningFor: table.Ago(c.Created),
		State: string(c.State), Status: c.Status, Ports: portsText(c.Ports), labels: c.Labels, Labels: Labels(c.Labels)}
	names := make([]string, 0, len(c.Names))
	for _, n := range c.Names {
		if n = strings.TrimPrefix(n, "/"); !short || !strings.Contains(n, "/") { // the others are links
			names = append(names, n)
		}
	}
	r.Names = strings.Join(names, ",")
	if r.Image == "" {
		r.Image = "<no image>"
	}
	var mounts []string
	local := 0
	for _, m := range c.Mounts {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		if m.Driver == "local" {
			local++
		}
		if short {
			name = table.Ellipsis(name, 15)
		}
		mounts = append(mounts, name)
	}
	r.Mounts, r.LocalVolumes = strings.Join(mounts, ","), strconv.Itoa(local)
	if c.NetworkSettings != nil {
		var networks []string
		for n := range c.NetworkSettings.Networks {
			networks = append(networks, n)
		}
		slices.Sort(networks)
		r.Networks = strings.Join(networks, ",")
	}
	if c.Health != nil {
		r.HealthStatus = string(c.Health.Status)
	}
	r.Size = table.Size(c.SizeRw)
	if c.SizeRootFs > 0 {
		r.Size = fmt.Sprintf("%s (virtual %s)", r.Size, table.Size(c.SizeRootFs))
	}
	if short {
		r.ID, r.Command = id.Short(r.ID), table.Ellipsis(r.Command, 20)
		if strings.HasPrefix(r.Image, "sha256:") {
			r.Image = id.Short(r.Image)
		}
	}
	r.Command = strconv.Quote(r.Command)
	return r
}

// Labels words labels as "a=1,b=2", in order.
func Labels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// portsText words ports as "0.0.0.0:8080->80/tcp, 443/tcp", with runs of consecutive ports as ranges.
func portsText(ports []container.PortSummary) string {
	slices.SortFunc(ports, func(x, y container.PortSummary) int {
		return cmp.Or(cmp.Compare(x.PrivatePort, y.PrivatePort), x.IP.Compare(y.IP), cmp.Compare(x.PublicPort, y.PublicPort), strings.Compare(x.Type, y.Type))
	})
	var out []string
	for i := 0; i < len(ports); {
		j := i + 1
		for j < len(ports) && continues(ports[j-1], ports[j]) {
			j++
		}
		out = append(out, portRun(ports[i], ports[j-1]))
		i = j
	}
	return strings.Join(out, ", ")
}

func continues(p, next container.PortSummary) bool {
	published := p.PublicPort != 0
	return p.Type == next.Type && p.IP == next.IP && next.PrivatePort == p.PrivatePort+1 && (published == (next.PublicPort != 0)) &&
		(!published || next.PublicPort == p.PublicPort+1)
}

func portRun(first, last container.PortSummary) string {
	span := func(a, b uint16) string {
		if a == b {
			return strconv.Itoa(int(a))
		}
		return fmt.Sprintf("%d-%d", a, b)
	}
	private := span(first.PrivatePort, last.PrivatePort) + "/" + first.Type
	if first.PublicPort == 0 {
		return private
	}
	return hostText(first.IP) + span(first.PublicPort, last.PublicPort) + "->" + private
}

func hostText(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return "[" + ip.String() + "]:"
	}
	return ip.String() + ":"
}
