package client

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"
)

// Streams are what flows between a container and its user: input, output, logs, the size of the terminal, the end.
type Streams struct{ c *Client }

// Streams returns the operations on the streams of containers.
func (c *Client) Streams() Streams { return Streams{c} }

// Resize sets its terminal's size in cells.
func (s Streams) Resize(ctx context.Context, ref string, height, width uint) error {
	return s.c.call(ctx, request{method: "POST", path: at(ref, "resize"), query: sizeQuery(height, width)}, nil)
}

func sizeQuery(height, width uint) url.Values {
	return values("h", strconv.FormatUint(uint64(height), 10), "w", strconv.FormatUint(uint64(width), 10))
}

// AttachOptions selects the streams of Attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	Logs                  bool   // what was written before comes first
	DetachKeys            string // "" for the daemon's default
}

// Attach joins its streams. The caller closes the connection.
func (s Streams) Attach(ctx context.Context, ref string, o AttachOptions) (*Conn, error) {
	q := values("stream", "1", "stdin", flag(o.Stdin), "stdout", flag(o.Stdout), "stderr", flag(o.Stderr), "logs", flag(o.Logs), "detachKeys", o.DetachKeys)
	return s.c.hijack(ctx, request{method: "POST", path: at(ref, "attach"), query: q})
}

// LogsOptions selects what Logs sends.
type LogsOptions struct {
	Follow, Timestamps, Details bool
	Since, Until, Tail          string // as the API takes them: a Unix time or RFC 3339 moment; a number or "all"
}

// Logs streams its output: stream frames, or raw bytes where the container has a terminal.
func (s Streams) Logs(ctx context.Context, ref string, o LogsOptions) (io.ReadCloser, error) {
	q := values("stdout", "1", "stderr", "1", "follow", flag(o.Follow), "timestamps", flag(o.Timestamps), "details", flag(o.Details),
		"since", o.Since, "until", o.Until, "tail", o.Tail)
	body, _, err := s.c.stream(ctx, request{method: "GET", path: at(ref, "logs"), query: q})
	return body, err
}

// Wait waits for condition. It returns as soon as the daemon has taken up the wait; result blocks until it is
// over and must be called once.
func (s Streams) Wait(ctx context.Context, ref string, condition container.WaitCondition) (result func() (container.WaitResponse, error), err error) {
	body, _, err := s.c.stream(ctx, request{method: "POST", path: at(ref, "wait"), query: values("condition", string(condition))})
	if err != nil {
		return nil, err
	}
	return func() (out container.WaitResponse, err error) {
		defer body.Close()
		if err = json.NewDecoder(body).Decode(&out); err != nil {
			err = s.c.explain(err)
		}
		return out, err
	}, nil
}
