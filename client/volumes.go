package client

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/moby/moby/api/types/volume"
)

// Volumes are the operations on volumes.
type Volumes struct{ c *Client }

// Volumes returns the operations on volumes.
func (c *Client) Volumes() Volumes { return Volumes{c} }

// List returns the volumes that the filters let through, and the daemon's warnings (GET /volumes).
func (s Volumes) List(ctx context.Context, filters Filters) (volume.ListResponse, error) {
	return ask[volume.ListResponse](ctx, s.c, request{method: "GET", path: "/volumes", query: values("filters", filters.encode())})
}

// Raw returns everything known about a volume, undecoded (GET /volumes/{name}).
func (s Volumes) Raw(ctx context.Context, name string) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, s.c, request{method: "GET", path: "/volumes/" + url.PathEscape(name)})
}

// Create makes a volume; without a name the daemon makes one up.
func (s Volumes) Create(ctx context.Context, r volume.CreateRequest) (volume.Volume, error) {
	return ask[volume.Volume](ctx, s.c, request{method: "POST", path: "/volumes/create", body: r})
}

// Remove removes a volume that no container uses; force makes a missing one no error.
func (s Volumes) Remove(ctx context.Context, name string, force bool) error {
	return s.c.call(ctx, request{method: "DELETE", path: "/volumes/" + url.PathEscape(name), query: values("force", flag(force))}, nil)
}

// Prune removes the anonymous volumes that no container uses, or with the filter all=true named ones too.
func (s Volumes) Prune(ctx context.Context, filters Filters) (volume.PruneReport, error) {
	return ask[volume.PruneReport](ctx, s.c, request{method: "POST", path: "/volumes/prune", query: values("filters", filters.encode())})
}
