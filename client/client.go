package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"

	"pier/client/internal/http1"
	"pier/lib/errkind"
)

// APIVersion is the newest Engine API version this client speaks, and the one it names in its first request.
const APIVersion = "1.56"

const (
	// maxErrorBody bounds what is read of an error answer, in bytes.
	maxErrorBody = 1 << 20
	// maxAnswer bounds an answer that is one value, in bytes.
	maxAnswer = 1 << 30
)

// Client sends requests to one server. It is safe for concurrent use. It holds idle connections until Close.
type Client struct {
	endpoint  Endpoint
	transport http1.Transport
	host      string                 // as it stands in requests
	version   atomic.Pointer[string] // negotiated down when a server refuses APIVersion
}

// New returns a client for endpoint. It does not connect. Errors are of kind invalid: an endpoint that cannot be used.
func New(endpoint Endpoint) (*Client, error) {
	dial, err := endpoint.dialer()
	if err != nil {
		return nil, err
	}
	c := &Client{endpoint: endpoint, transport: http1.Transport{Dial: dial}, host: "pier"}
	if endpoint.scheme() == "tcp" {
		c.host = strings.TrimPrefix(endpoint.Host, "tcp://")
	}
	v := APIVersion
	c.version.Store(&v)
	return c, nil
}

// Close drops idle connections. Requests under way are not touched.
func (c *Client) Close() { c.transport.CloseIdle() }

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
	case http1.NotFound:
		return errkind.NotFound
	case http1.Conflict:
		return errkind.Conflict
	case http1.Unauthorized:
		return errkind.Unauthorized
	case http1.Forbidden:
		return errkind.Forbidden
	case http1.NotImplemented:
		return errkind.Unsupported
	case http1.ServiceUnavailable:
		return errkind.Unavailable
	case http1.InsufficientStorage:
		return errkind.Exhausted
	case http1.RequestTimeout, http1.GatewayTimeout:
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
	header http1.Header
	body   any // nil, a *bytes.Buffer (which can be sent again), another io.Reader, or a value to be sent as JSON
}

func (c *Client) build(r request) (*http1.Request, error) {
	target := "http://" + c.host + "/v" + c.Version() + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%s %s: %w", r.method, r.path, err)
	}
	req := &http1.Request{Method: r.method, Target: u.RequestURI(), Host: u.Host, Header: r.header}
	switch b := r.body.(type) {
	case nil:
	case *bytes.Buffer:
		req.Body = b.Bytes()
	case io.Reader:
		req.Stream = b
	default:
		if req.Body, err = encode(b); err != nil {
			return nil, fmt.Errorf("%s %s: encode request: %w", r.method, r.path, err)
		}
		req.Header = append(http1.Header{{Name: "Content-Type", Value: "application/json"}}, req.Header...)
	}
	return req, nil
}

// stream sends r and returns the answer's body, which the caller closes. An error status becomes *Error. A server that
// only speaks an older API version is asked once more with that version.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, http1.Header, error) {
	_, again := r.body.(*bytes.Buffer)
	if _, reader := r.body.(io.Reader); reader && !again {
		// What can be sent only once must not be spent on learning which version the server speaks.
		if err := c.System().Ping(ctx); err != nil {
			return nil, nil, err
		}
	}
	for {
		req, err := c.build(r)
		if err != nil {
			return nil, nil, err
		}
		resp, err := c.transport.Do(ctx, req)
		if err != nil {
			return nil, nil, c.explain(err)
		}
		if resp.Status < 300 || resp.Status == http1.NotModified { // it was so already: as good as done
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
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return fmt.Errorf("%s %s: answer of %s: %w", r.method, r.path, c.Host(), err)
	}
	return nil
}

// ask is call for an answer that is a T.
func ask[T any](ctx context.Context, c *Client, r request) (answer T, err error) {
	err = c.call(ctx, r, &answer)
	return answer, err
}

func readError(resp *http1.Response) error {
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var answer struct{ Message string }
	message := strings.TrimSpace(string(data))
	if json.Unmarshal(data, &answer) == nil && answer.Message != "" {
		message = answer.Message
	}
	if message == "" {
		message = resp.Reason
	}
	return &Error{Status: resp.Status, Message: message}
}

// downgrade lowers the version to what a refusing server names ("... Maximum supported API version is 1.41").
func (c *Client) downgrade(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status != http1.BadRequest || !strings.Contains(e.Message, "too new") {
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
	if k := errkind.Of(err); k == errkind.Invalid || k == errkind.Unsupported {
		return err // it never came to a connection
	}
	var own *http1.BodyError
	if errors.As(err, &own) {
		return own.Unwrap()
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
