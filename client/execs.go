package client

import (
	"context"
	"net/url"

	"github.com/moby/moby/api/types/container"
)

// Execs are the operations on processes that are added to running containers.
type Execs struct{ c *Client }

// Execs returns the operations on added processes.
func (c *Client) Execs() Execs { return Execs{c} }

// Create prepares one more process in a running container and returns its ID.
func (s Execs) Create(ctx context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	out, err := ask[container.ExecCreateResponse](ctx, s.c, request{method: "POST", path: at(ref, "exec"), body: r})
	return out.ID, err
}

// Start starts it detached.
func (s Execs) Start(ctx context.Context, exec string, r container.ExecStartRequest) error {
	return s.c.call(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/start", body: r}, nil)
}

// Attach starts it and joins its streams. The caller closes the connection.
func (s Execs) Attach(ctx context.Context, exec string, r container.ExecStartRequest) (*Conn, error) {
	return s.c.hijack(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/start", body: r})
}

// Resize sets its terminal's size in cells.
func (s Execs) Resize(ctx context.Context, exec string, height, width uint) error {
	return s.c.call(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/resize", query: sizeQuery(height, width)}, nil)
}

// Inspect tells whether it runs and how it ended.
func (s Execs) Inspect(ctx context.Context, exec string) (container.ExecInspectResponse, error) {
	return ask[container.ExecInspectResponse](ctx, s.c, request{method: "GET", path: "/exec/" + url.PathEscape(exec) + "/json"})
}
