package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"pier/api/docker"
	"pier/lib/errkind"
)

// System are the questions about the daemon itself.
type System struct{ c *Client }

// System returns the questions about the daemon itself.
func (c *Client) System() System { return System{c} }

// Version returns the daemon's version and that of its parts (GET /version).
func (s System) Version(ctx context.Context) (system.VersionResponse, error) {
	return ask[system.VersionResponse](ctx, s.c, request{method: "GET", path: "/version"})
}

// Info returns the daemon's state and settings (GET /info).
func (s System) Info(ctx context.Context) (system.Info, error) {
	return ask[system.Info](ctx, s.c, request{method: "GET", path: "/info"})
}

// Ping reports whether the daemon answers.
func (s System) Ping(ctx context.Context) error {
	return s.c.call(ctx, request{method: "GET", path: "/_ping"}, nil)
}

// needs asks whether the server knows what Pier adds to the API, for one that does not passes it over, as if it had been
// done: then it is Unsupported; what names the addition for people.
func (c *Client) needs(ctx context.Context, a docker.Addition, what string) error {
	body, header, err := c.stream(ctx, request{method: "GET", path: "/_ping"})
	if err != nil {
		return err
	}
	_ = body.Close()
	if !a.Known(header.Get(docker.AdditionsHeader)) {
		return errkind.New(errkind.Unsupported, "%s is an addition of Pier: the server at %s, %q, does not know it", what, c.Host(), header.Get("Server"))
	}
	return nil
}

// Events calls each for every event until it returns an error, the stream ends, or ctx is done. since and until are
// Unix times or RFC 3339 moments; with until the stream ends by itself.
func (s System) Events(ctx context.Context, since, until string, filters Filters, each func(events.Message) error) error {
	body, _, err := s.c.stream(ctx, request{method: "GET", path: "/events", query: values("since", since, "until", until, "filters", filters.encode())})
	if err != nil {
		return err
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var m events.Message
		switch err := decoder.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("events: %w", s.c.explain(err))
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// DiskUsage returns what images, containers, volumes and the build cache take (GET /system/df).
//
// verbose asks for the single objects too.
func (s System) DiskUsage(ctx context.Context, verbose bool) (system.DiskUsage, error) {
	return ask[system.DiskUsage](ctx, s.c, request{method: "GET", path: "/system/df", query: values("verbose", flag(verbose))})
}
