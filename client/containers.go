package client

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
)

// Containers are the operations on containers as records and processes. Their streams are in Streams.
type Containers struct{ c *Client }

// Containers returns the operations on containers.
func (c *Client) Containers() Containers { return Containers{c} }

// Create makes a container (POST /containers/create). name and platform may be empty. Secrets are an addition of Pier: a
// server that does not know them gets nothing, and the error is of kind unsupported. So are docker.IsProbe's health checks.
func (s Containers) Create(ctx context.Context, name, platform string, r container.CreateRequest, secrets ...docker.NewSecret) (container.CreateResponse, error) {
	body, err := s.withSecrets(ctx, r, secrets)
	if err != nil {
		return container.CreateResponse{}, err
	}
	return ask[container.CreateResponse](ctx, s.c, request{method: "POST", path: "/containers/create", query: values("name", name, "platform", platform), body: body})
}

// withSecrets returns the body of a request that makes a container. A server that does not know secrets, or a health check
// of Pier's, would start the container without them.
func (s Containers) withSecrets(ctx context.Context, r container.CreateRequest, secrets []docker.NewSecret) (any, error) {
	if r.Config != nil && r.Config.Healthcheck != nil && docker.IsProbe(r.Config.Healthcheck.Test) {
		if err := s.c.needs(ctx, docker.AddedProbes, "a health check by "+r.Config.Healthcheck.Test[0]); err != nil {
			return nil, err
		}
	}
	if len(secrets) == 0 {
		return r, nil
	}
	if err := s.c.needs(ctx, docker.AddedSecrets, "a secret of a container"); err != nil {
		return nil, err
	}
	body := docker.CreateRequest{CreateRequest: r, HostConfig: &docker.HostConfig{HostConfig: r.HostConfig, PierSecrets: secrets}}
	body.CreateRequest.HostConfig = nil
	return body, nil
}

// Start starts it (POST /containers/{id}/start).
func (s Containers) Start(ctx context.Context, ref string) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "start")}, nil)
}

// Stop stops it: signal ("" for its own), then after timeout seconds SIGKILL (nil for its own, -1 for never). unheard is
// the signal that its process takes no notice of: it was killed at once.
func (s Containers) Stop(ctx context.Context, ref, signal string, timeout *int) (unheard string, err error) {
	body, header, err := s.c.stream(ctx, request{method: "POST", path: at(ref, "stop"), query: stopQuery(signal, timeout)})
	if err != nil {
		return "", err
	}
	return header.Get(docker.UnheardHeader), body.Close()
}

// Restart stops and starts it; the arguments are those of Stop.
func (s Containers) Restart(ctx context.Context, ref, signal string, timeout *int) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "restart"), query: stopQuery(signal, timeout)}, nil)
}

func stopQuery(signal string, timeout *int) url.Values {
	q := values("signal", signal)
	if timeout != nil {
		q.Set("t", strconv.Itoa(*timeout))
	}
	return q
}

// Kill sends it a signal (name or number).
func (s Containers) Kill(ctx context.Context, ref, signal string) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "kill"), query: values("signal", signal)}, nil)
}

// Pause freezes (on) or thaws all its processes.
func (s Containers) Pause(ctx context.Context, ref string, on bool) error {
	verb := "unpause"
	if on {
		verb = "pause"
	}
	return s.c.call(ctx, request{method: "POST", path: at(ref, verb)}, nil)
}

// Rename gives it another name.
func (s Containers) Rename(ctx context.Context, ref, name string) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "rename"), query: values("name", name)}, nil)
}

// RemoveLink removes a link, named as CONTAINER/ALIAS, and no container.
func (s Containers) RemoveLink(ctx context.Context, ref string) error {
	return s.c.call(ctx, request{method: "DELETE", path: at(ref, ""), query: values("link", "1")}, nil)
}

// Remove removes it; force kills it first, volumes removes its anonymous volumes too.
func (s Containers) Remove(ctx context.Context, ref string, force, volumes bool) error {
	q := values("force", flag(force), "v", flag(volumes))
	return s.c.call(ctx, request{method: "DELETE", path: at(ref, ""), query: q}, nil)
}

// Inspect returns everything known about it (GET /containers/{id}/json).
func (s Containers) Inspect(ctx context.Context, ref string) (container.InspectResponse, error) {
	return ask[container.InspectResponse](ctx, s.c, request{method: "GET", path: at(ref, "json")})
}

// Raw is Inspect undecoded, with sizes where asked for.
func (s Containers) Raw(ctx context.Context, ref string, size bool) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, s.c, request{method: "GET", path: at(ref, "json"), query: values("size", flag(size))})
}

// ListOptions selects containers for List.
type ListOptions struct {
	All     bool
	Size    bool
	Limit   int // the latest n, stopped ones too; 0: no limit
	Filters Filters
}

// List returns containers, newest first (GET /containers/json).
func (s Containers) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	q := values("all", flag(o.All), "size", flag(o.Size), "filters", o.Filters.encode())
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return ask[[]container.Summary](ctx, s.c, request{method: "GET", path: "/containers/json", query: q})
}

// Top lists its processes in the columns that psArgs ask for.
func (s Containers) Top(ctx context.Context, ref, psArgs string) (container.TopResponse, error) {
	return ask[container.TopResponse](ctx, s.c, request{method: "GET", path: at(ref, "top"), query: values("ps_args", psArgs)})
}

// Prune removes all stopped containers that the filters let through (POST /containers/prune).
func (s Containers) Prune(ctx context.Context, filters Filters) (container.PruneReport, error) {
	return ask[container.PruneReport](ctx, s.c, request{method: "POST", path: "/containers/prune", query: values("filters", filters.encode())})
}

// at is the path of a container, or of an operation on it.
func at(ref, verb string) string {
	path := "/containers/" + url.PathEscape(ref)
	if verb != "" {
		path += "/" + verb
	}
	return path
}
