package client

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"
)

// CreateContainer makes a container (POST /containers/create). name and platform may be empty.
func (c *Client) CreateContainer(ctx context.Context, name, platform string, r container.CreateRequest) (container.CreateResponse, error) {
	var out container.CreateResponse
	err := c.call(ctx, request{method: "POST", path: "/containers/create", query: values("name", name, "platform", platform), body: r}, &out)
	return out, err
}

// StartContainer starts it (POST /containers/{id}/start).
func (c *Client) StartContainer(ctx context.Context, ref string) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "start")}, nil)
}

// StopContainer stops it: signal ("" for its own), then after timeout seconds SIGKILL (nil for its own, -1 for never).
func (c *Client) StopContainer(ctx context.Context, ref, signal string, timeout *int) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "stop"), query: stopQuery(signal, timeout)}, nil)
}

// RestartContainer stops and starts it; the arguments are those of StopContainer.
func (c *Client) RestartContainer(ctx context.Context, ref, signal string, timeout *int) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "restart"), query: stopQuery(signal, timeout)}, nil)
}

func stopQuery(signal string, timeout *int) url.Values {
	q := values("signal", signal)
	if timeout != nil {
		q.Set("t", strconv.Itoa(*timeout))
	}
	return q
}

// KillContainer sends it a signal (name or number).
func (c *Client) KillContainer(ctx context.Context, ref, signal string) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "kill"), query: values("signal", signal)}, nil)
}

// PauseContainer freezes (on) or thaws all its processes.
func (c *Client) PauseContainer(ctx context.Context, ref string, on bool) error {
	verb := "unpause"
	if on {
		verb = "pause"
	}
	return c.call(ctx, request{method: "POST", path: at(ref, verb)}, nil)
}

// RenameContainer gives it another name.
func (c *Client) RenameContainer(ctx context.Context, ref, name string) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "rename"), query: values("name", name)}, nil)
}

// RemoveContainer removes it; force kills it first, volumes removes its anonymous volumes too.
func (c *Client) RemoveContainer(ctx context.Context, ref string, force, volumes bool) error {
	q := values("force", flag(force), "v", flag(volumes))
	return c.call(ctx, request{method: "DELETE", path: at(ref, ""), query: q}, nil)
}

// InspectContainer returns everything known about it (GET /containers/{id}/json).
func (c *Client) InspectContainer(ctx context.Context, ref string) (container.InspectResponse, error) {
	var out container.InspectResponse
	err := c.call(ctx, request{method: "GET", path: at(ref, "json")}, &out)
	return out, err
}

// RawContainer is InspectContainer undecoded, with sizes where asked for.
func (c *Client) RawContainer(ctx context.Context, ref string, size bool) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.call(ctx, request{method: "GET", path: at(ref, "json"), query: values("size", flag(size))}, &out)
	return out, err
}

// ListOptions selects containers for ListContainers.
type ListOptions struct {
	All     bool
	Size    bool
	Limit   int // the latest n, stopped ones too; 0: no limit
	Filters Filters
}

// ListContainers returns containers, newest first (GET /containers/json).
func (c *Client) ListContainers(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	q := values("all", flag(o.All), "size", flag(o.Size), "filters", o.Filters.encode())
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var out []container.Summary
	err := c.call(ctx, request{method: "GET", path: "/containers/json", query: q}, &out)
	return out, err
}

// TopContainer lists its processes in the columns that psArgs ask for.
func (c *Client) TopContainer(ctx context.Context, ref, psArgs string) (container.TopResponse, error) {
	var out container.TopResponse
	err := c.call(ctx, request{method: "GET", path: at(ref, "top"), query: values("ps_args", psArgs)}, &out)
	return out, err
}

// ResizeContainer sets its terminal's size in cells.
func (c *Client) ResizeContainer(ctx context.Context, ref string, height, width uint) error {
	return c.call(ctx, request{method: "POST", path: at(ref, "resize"), query: sizeQuery(height, width)}, nil)
}

func sizeQuery(height, width uint) url.Values {
	return values("h", strconv.FormatUint(uint64(height), 10), "w", strconv.FormatUint(uint64(width), 10))
}

// AttachOptions selects the streams of AttachContainer.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	Logs                  bool   // what was written before comes first
	DetachKeys            string // "" for the daemon's default
}

// AttachContainer joins its streams. The caller closes the connection.
func (c *Client) AttachContainer(ctx context.Context, ref string, o AttachOptions) (*Conn, error) {
	q := values("stream", "1", "stdin", flag(o.Stdin), "stdout", flag(o.Stdout), "stderr", flag(o.Stderr), "logs", flag(o.Logs), "detachKeys", o.DetachKeys)
	return c.hijack(ctx, request{method: "POST", path: at(ref, "attach"), query: q})
}

// LogsOptions selects what ContainerLogs sends.
type LogsOptions struct {
	Follow, Timestamps, Details bool
	Since, Until, Tail          string // as the API takes them: a Unix time or RFC 3339 moment; a number or "all"
}

// ContainerLogs streams its output: stream frames, or raw bytes where the container has a terminal.
func (c *Client) ContainerLogs(ctx context.Context, ref string, o LogsOptions) (io.ReadCloser, error) {
	q := values("stdout", "1", "stderr", "1", "follow", flag(o.Follow), "timestamps", flag(o.Timestamps), "details", flag(o.Details),
		"since", o.Since, "until", o.Until, "tail", o.Tail)
	body, _, err := c.stream(ctx, request{method: "GET", path: at(ref, "logs"), query: q})
	return body, err
}

// WaitContainer waits for condition. It returns as soon as the daemon has taken up the wait; result blocks until it is
// over and must be called once.
func (c *Client) WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (result func() (container.WaitResponse, error), err error) {
	body, _, err := c.stream(ctx, request{method: "POST", path: at(ref, "wait"), query: values("condition", string(condition))})
	if err != nil {
		return nil, err
	}
	return func() (out container.WaitResponse, err error) {
		defer body.Close()
		if err = json.NewDecoder(body).Decode(&out); err != nil {
			err = c.explain(err)
		}
		return out, err
	}, nil
}

// CreateExec prepares one more process in a running container and returns its ID.
func (c *Client) CreateExec(ctx context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	var out container.ExecCreateResponse
	err := c.call(ctx, request{method: "POST", path: at(ref, "exec"), body: r}, &out)
	return out.ID, err
}

// StartExec starts it detached.
func (c *Client) StartExec(ctx context.Context, exec string, r container.ExecStartRequest) error {
	return c.call(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/start", body: r}, nil)
}

// AttachExec starts it and joins its streams. The caller closes the connection.
func (c *Client) AttachExec(ctx context.Context, exec string, r container.ExecStartRequest) (*Conn, error) {
	return c.hijack(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/start", body: r})
}

// ResizeExec sets its terminal's size in cells.
func (c *Client) ResizeExec(ctx context.Context, exec string, height, width uint) error {
	return c.call(ctx, request{method: "POST", path: "/exec/" + url.PathEscape(exec) + "/resize", query: sizeQuery(height, width)}, nil)
}

// InspectExec tells whether it runs and how it ended.
func (c *Client) InspectExec(ctx context.Context, exec string) (container.ExecInspectResponse, error) {
	var out container.ExecInspectResponse
	err := c.call(ctx, request{method: "GET", path: "/exec/" + url.PathEscape(exec) + "/json"}, &out)
	return out, err
}

// at is the path of a container, or of an operation on it.
func at(ref, verb string) string {
	path := "/containers/" + url.PathEscape(ref)
	if verb != "" {
		path += "/" + verb
	}
	return path
}

// flag is "1" for true and nothing for false.
func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// values makes a query of key, value pairs, leaving out empty values.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
