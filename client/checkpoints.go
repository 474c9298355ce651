package client

import (
	"context"
	"net/url"

	"github.com/moby/moby/api/types/checkpoint"
)

// Checkpoints are the operations on the checkpoints of containers. dir is a folder of the daemon's host, "" for the container's
// own.
type Checkpoints struct{ c *Client }

// Checkpoints returns the operations on checkpoints.
func (c *Client) Checkpoints() Checkpoints { return Checkpoints{c} }

// Create writes a checkpoint of a running container (POST /containers/{id}/checkpoints).
func (s Checkpoints) Create(ctx context.Context, ref string, r checkpoint.CreateRequest) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "checkpoints"), body: r}, nil)
}

// List returns the checkpoints of a container (GET /containers/{id}/checkpoints).
func (s Checkpoints) List(ctx context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	return ask[[]checkpoint.Summary](ctx, s.c, request{method: "GET", path: at(ref, "checkpoints"), query: values("dir", dir)})
}

// Remove removes a checkpoint (DELETE /containers/{id}/checkpoints/{checkpoint}).
func (s Checkpoints) Remove(ctx context.Context, ref, dir, name string) error {
	return s.c.call(ctx, request{method: "DELETE", path: at(ref, "checkpoints/"+url.PathEscape(name)), query: values("dir", dir)}, nil)
}

// Start starts a container from a checkpoint (POST /containers/{id}/start); without a name from the beginning.
func (s Checkpoints) Start(ctx context.Context, ref, dir, name string) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "start"), query: values("checkpoint", name, "checkpoint-dir", dir)}, nil)
}
