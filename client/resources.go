package client

import (
	"context"
	"encoding/json"
	"io"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
)

// Resources are what containers use and what they may use.
type Resources struct{ c *Client }

// Resources returns the operations on the resources of containers.
func (c *Client) Resources() Resources { return Resources{c} }

// Stats returns one sample of what it uses, measured against another taken just before (GET /containers/{id}/stats).
func (s Resources) Stats(ctx context.Context, ref string) (container.StatsResponse, error) {
	return ask[container.StatsResponse](ctx, s.c, request{method: "GET", path: at(ref, "stats"), query: values("stream", "0")})
}

// Follow gives a sample every second to f until f fails, the container is gone (nil) or ctx ends.
func (s Resources) Follow(ctx context.Context, ref string, f func(container.StatsResponse) error) error {
	body, _, err := s.c.stream(ctx, request{method: "GET", path: at(ref, "stats"), query: values("stream", "1")})
	if err != nil {
		return err
	}
	defer body.Close()
	samples := json.NewDecoder(body)
	for {
		var sample container.StatsResponse
		switch err := samples.Decode(&sample); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := f(sample); err != nil {
			return err
		}
	}
}

// Update changes limits, the restart policy and published ports (POST /containers/{id}/update); fields that are not set stay.
func (s Resources) Update(ctx context.Context, ref string, u docker.Update) (warnings []string, err error) {
	if len(u.PierPublishAdd)+len(u.PierPublishRemove) > 0 {
		if err := s.c.needs(ctx, docker.AddedPublish, "publishing ports of a container that exists"); err != nil {
			return nil, err
		}
	}
	out, err := ask[container.UpdateResponse](ctx, s.c, request{method: "POST", path: at(ref, "update"), body: u})
	return out.Warnings, err
}
