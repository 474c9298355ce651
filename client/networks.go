package client

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/moby/moby/api/types/network"
)

// Networks are the operations on networks.
type Networks struct{ c *Client }

// Networks returns the operations on networks.
func (c *Client) Networks() Networks { return Networks{c} }

// List returns the networks that the filters let through (GET /networks).
func (s Networks) List(ctx context.Context, filters Filters) ([]network.Summary, error) {
	return ask[[]network.Summary](ctx, s.c, request{method: "GET", path: "/networks", query: values("filters", filters.encode())})
}

// Raw returns everything known about a network, undecoded (GET /networks/{id}).
func (s Networks) Raw(ctx context.Context, ref string) (json.RawMessage, error) {
	return ask[json.RawMessage](ctx, s.c, request{method: "GET", path: "/networks/" + url.PathEscape(ref)})
}

// Create makes a network and returns its ID with the daemon's warning.
func (s Networks) Create(ctx context.Context, r network.CreateRequest) (network.CreateResponse, error) {
	return ask[network.CreateResponse](ctx, s.c, request{method: "POST", path: "/networks/create", body: r})
}

// Remove removes a network that no container uses.
func (s Networks) Remove(ctx context.Context, ref string) error {
	return s.c.call(ctx, request{method: "DELETE", path: "/networks/" + url.PathEscape(ref)}, nil)
}

// Connect joins a container to a network.
func (s Networks) Connect(ctx context.Context, ref string, r network.ConnectRequest) error {
	return s.c.call(ctx, request{method: "POST", path: "/networks/" + url.PathEscape(ref) + "/connect", body: r}, nil)
}

// Disconnect takes a container out of a network.
func (s Networks) Disconnect(ctx context.Context, ref string, r network.DisconnectRequest) error {
	return s.c.call(ctx, request{method: "POST", path: "/networks/" + url.PathEscape(ref) + "/disconnect", body: r}, nil)
}

// Prune removes all networks that no container uses.
func (s Networks) Prune(ctx context.Context, filters Filters) (network.PruneReport, error) {
	return ask[network.PruneReport](ctx, s.c, request{method: "POST", path: "/networks/prune", query: values("filters", filters.encode())})
}
