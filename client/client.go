package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"pier/lib/errkind"
)

// APIVersion is the newest Engine API version this client speaks, and the one it names in its first request.
const APIVersion = "1.56"

// maxErrorBody bounds what is read of an error answer, in bytes.
const maxErrorBody = 1 << 20

// Client sends requests to one server. It is safe for concurrent use. It holds idle connections until Close.
type Client struct {
	endpoint Endpoint
	http     *http.Client
	dial     func(ctx context.Context) (net.Conn, error)
	base     string                 // "http://host" as it stands in requests
	version  atomic.Pointer[string] // negotiated down when a server refuses APIVersion
}

// New returns a client for endpoint. It does not connect. Errors are of kind invalid: an endpoint that cannot be used.
func New(endpoint Endpoint) (*Client, error) {
	c := &Client{endpoint: endpoint, base: "http://pier"}
	dial, err := endpoint.dialer()
	if err != nil {
		return nil, err
	}
	c.dial = dial
	if endpoint.scheme() == "tcp" {
		c.base = "http://" + strings.TrimPrefix(endpoint.Host, "tcp://")
	}
	c.http = &http.Client{
		Transport: newTransport(dial),
		// A server that redirects is not an engine; nothing may follow it elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	v := APIVersion
	c.version.Store(&v)
	return c, nil
}

// Close drops idle connections. Requests under way are not touched.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Host is the address the client was made for, as a URL.
func (c *Client) Host() string { return c.endpoint.Host }

// Version is the API version named in requests: APIVersion, or less once a server asked for less.
func (c *Client) Version() string { return *c.version.Load() }

// Error is an answer of the server with an error status.
type Error struct {
	Status  int    // HTTP status
	Message string // the server's own words
}

func (e *Error) Error() string { return e.Message }

// Unwrap lets errkind.Of tell the kind.
func (e *Error) Unwrap() error { return errkind.New(kindOf(e.Status), "%s", e.Message) }

func kindOf(status int) errkind.Kind {
	switch status {
	case http.StatusNotFound:
		return errkind.NotFound
	case http.StatusConflict:
		return errkind.Conflict
	case http.StatusUnauthorized:
		return errkind.Unauthorized
	case http.StatusForbidden:
		return errkind.Forbidden
	case http.StatusNotImplemented:
		return errkind.Unsupported
	case http.StatusServiceUnavailable:
		return errkind.Unavailable
	case http.StatusInsufficientStorage:
		return errkind.Exhausted
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return errkind.Timeout
	}
	if status >= 400 && status < 500 {
		return errkind.Invalid
	}
	return errkind.Internal
}

// request is one call: everything but the server and the version.
type request struct {
	method string
	path   string // without the version prefix
	query  url.Values
	header http.Header
	body   any // nil, an io.Reader (a *bytes.Reader can be sent again), or a value to be sent as JSON
}

func (c *Client) build(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	contentType := ""
	switch b := r.body.(type) {
	case nil:
	case *bytes.Reader:
		if _, err := b.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		body = b
	case io.Reader:
		body = b
	default:
		data, err := encode(b)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode request: %w", r.method, r.path, err)
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	target := c.base + "/v" + c.Version() + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%s %s: %w", r.method, r.path, err)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

// stream sends r and returns the answer's body, which the caller closes. An error status becomes *Error. A server that
// only speaks an older API version is asked once more with that version.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, http.Header, error) {
	_, again := r.body.(*bytes.Reader)
	if _, reader := r.body.(io.Reader); reader && !again {
		// What can be sent only once must not be spent on learning which version the server speaks.
		if err := c.System().Ping(ctx); err != nil {
			return nil, nil, err
		}
	}
	for {
		req, err := c.build(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, nil, c.explain(err)
		}
		if resp.StatusCode < 300 || resp.StatusCode == http.StatusNotModified { // it was so already: as good as done
			return resp.Body, resp.Header, nil
		}
		err = readError(resp)
		if c.downgrade(err) {
			continue
		}
		return nil, nil, err
	}
}

// call sends r and decodes the answer into out, which may be nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	body, _, err := c.stream(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: answer of %s: %w", r.method, r.path, c.Host(), err)
	}
	return nil
}

func readError(resp *http.Response) error {
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var answer struct{ Message string }
	message := strings.TrimSpace(string(data))
	if json.Unmarshal(data, &answer) == nil && answer.Message != "" {
		message = answer.Message
	}
	if message == "" {
		message = resp.Status
	}
	return &Error{Status: resp.StatusCode, Message: message}
}

// downgrade lowers the version to what a refusing server names ("... Maximum supported API version is 1.41").
func (c *Client) downgrade(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusBadRequest || !strings.Contains(e.Message, "too new") {
		return false
	}
	_, version, ok := strings.Cut(e.Message, "Maximum supported API version is ")
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ")
	if !ok || version == "" || version == c.Version() {
		return false
	}
	c.version.Store(&version)
	return true
}

// explain turns a failed connection into words that say what to do.
func (c *Client) explain(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return errkind.New(errkind.Unavailable, "connection to %s lost: %w", c.Host(), err)
	}
	if strings.Contains(err.Error(), "permission denied") {
		return errkind.New(errkind.Forbidden, "permission denied on %s: run as root (sudo), or join the group that owns the socket and log in again", c.Host())
	}
	return errkind.New(errkind.Unavailable, "cannot connect to the Pier daemon at %s: is pierd running? Start it with `pierd`, or name another with -H or PIER_HOST (%w)", c.Host(), op.Err)
}
