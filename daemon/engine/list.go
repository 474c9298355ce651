package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/selection"
	"pier/daemon/engine/internal/settings"
)

// List describes the containers that the options select, newest first. It never waits for one of them. An unknown filter
// or value is Invalid; a before or since that does not exist is NotFound.
func (cs *Containers) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	e := cs.e
	f, err := selection.Parse(o.Filters, !o.All && o.Limit <= 0, selection.Sources{Images: e.o.Images, Created: e.created})
	if err != nil {
		return nil, err
	}
	all := e.index.all()
	slices.SortFunc(all, func(a, b *ctr) int {
		if d := b.row().Created.Compare(a.row().Created); d != 0 {
			return d
		}
		return strings.Compare(a.id, b.id)
	})
	names := e.imageNames(ctx)
	out := []container.Summary{}
	for _, c := range all {
		r := c.row()
		ok, stop := f.Match(&selection.Subject{ID: r.ID, Name: r.Name, Created: r.Created, Life: r.Life, Image: r.Image, Config: r.Config,
			Mounts: r.Mounts, Health: c.health.Load(), Ports: r.Ports, Networks: r.networkNames})
		if stop || o.Limit > 0 && len(out) == o.Limit {
			break
		}
		if ok {
			out = append(out, e.summary(c, r, o.Size, names))
		}
	}
	return out, nil
}

func (e *Engine) created(ref string) (time.Time, error) {
	c, err := e.index.find(ref)
	if err != nil {
		return time.Time{}, err
	}
	return c.row().Created, nil
}

// imageNames tells which references lead to which image now: a summary shows a name only while it means that image.
func (e *Engine) imageNames(ctx context.Context) map[string]string {
	names := map[string]string{}
	for _, img := range e.o.Images.List(ctx) {
		for _, tag := range img.RepoTags {
			names[tag] = img.ID.String()
			if bare, ok := strings.CutSuffix(tag, ":latest"); ok {
				names[bare] = img.ID.String()
			}
		}
	}
	return names
}

func (e *Engine) summary(c *ctr, r *row, size bool, names map[string]string) container.Summary {
	s := container.Summary{
		ID: r.ID, Names: []string{"/" + r.Name}, Image: r.Config.Image, ImageID: r.Image.String(), Command: commandLine(r),
		Created: r.Created.Unix(), Ports: portSummaries(r), Labels: r.Config.Labels, State: container.ContainerState(r.Life.State.String()),
		Status: e.status(c, r), Mounts: points(r), NetworkSettings: &container.NetworkSettingsSummary{Networks: networkSettings(r).Networks},
	}
	if id, known := names[r.Config.Image]; known && id != r.Image.String() {
		s.Image = r.Image.String()
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.HostConfig.NetworkMode = string(r.Host.NetworkMode)
	s.HostConfig.Annotations = r.Host.Annotations
	s.Health = &container.HealthSummary{Status: container.NoHealthcheck}
	if h := c.health.Load(); h != nil {
		s.Health = &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
	}
	if size {
		s.SizeRw = e.sizeRw(r)
		s.SizeRootFs = s.SizeRw + e.imageSize(r)
	}
	return s
}

func commandLine(r *row) string {
	words := settings.Command(r.Config)
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
func (e *Engine) status(c *ctr, r *row) string {
	l, now := r.Life, e.o.Clock.Now()
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
	if h := c.health.Load(); h != nil {
		status := string(h.Status)
		if h.Status == container.Starting {
			status = "health: " + status
		}
		return fmt.Sprintf("Up %s (%s)", since(l.StartedAt), status)
	}
	return "Up " + since(l.StartedAt)
}

func portSummaries(r *row) []container.PortSummary {
	out := []container.PortSummary{}
	if !r.Life.State.Alive() {
		return out
	}
	add := func(ip netip.Addr, p network.Port, public uint16) {
		out = append(out, container.PortSummary{IP: ip, PrivatePort: p.Num(), PublicPort: public, Type: string(p.Proto())})
	}
	for p, bindings := range r.Ports {
		for _, b := range bindings {
			var n uint16
			if _, err := fmt.Sscanf(b.HostPort, "%d", &n); err == nil {
				add(b.HostIP, p, n)
			}
		}
	}
	for p := range r.Config.ExposedPorts {
		if _, published := r.Ports[p]; !published && !r.Host.NetworkMode.IsHost() {
			add(netip.Addr{}, p, 0)
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.PublicPort, b.PublicPort),
			strings.Compare(a.Type, b.Type), a.IP.Compare(b.IP))
	})
	return out
}
