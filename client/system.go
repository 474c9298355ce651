package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"pier/lib/errkind"
)

// Filters is a set of conditions as the API takes them: any value of one key, all keys.
type Filters map[string]map[string]bool

// ParseFilters reads "key=value" words.
func ParseFilters(words []string) (Filters, error) {
	f := Filters{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, errkind.New(errkind.Invalid, "bad format of filter %q: expected name=value", w)
		}
		f.Add(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value))
	}
	return f, nil
}

// Add adds one condition.
func (f Filters) Add(key, value string) {
	if f[key] == nil {
		f[key] = map[string]bool{}
	}
	f[key][value] = true
}

func (f Filters) encode() string {
	if len(f) == 0 {
		return ""
	}
	data, _ := json.Marshal(f) // maps of strings and booleans always encode
	return string(data)
}

// ServerVersion returns the daemon's version and that of its parts (GET /version).
func (c *Client) ServerVersion(ctx context.Context) (system.VersionResponse, error) {
	var out system.VersionResponse
	err := c.call(ctx, request{method: "GET", path: "/version"}, &out)
	return out, err
}

// Info returns the daemon's state and settings (GET /info).
func (c *Client) Info(ctx context.Context) (system.Info, error) {
	var out system.Info
	err := c.call(ctx, request{method: "GET", path: "/info"}, &out)
	return out, err
}

// Ping reports whether the daemon answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, request{method: "GET", path: "/_ping"}, nil)
}

// Events calls each for every event until it returns an error, the stream ends, or ctx is done. since and until are
// Unix times or RFC 3339 moments; with until the stream ends by itself.
func (c *Client) Events(ctx context.Context, since, until string, filters Filters, each func(events.Message) error) error {
	body, _, err := c.stream(ctx, request{method: "GET", path: "/events", query: values("since", since, "until", until, "filters", filters.encode())})
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
			return fmt.Errorf("events: %w", c.explain(err))
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// RawObject returns what the API answers at a path such as "/networks/x" or "/volumes/x", undecoded.
func (c *Client) RawObject(ctx context.Context, path string) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.call(ctx, request{method: "GET", path: path}, &out)
	return out, err
}
