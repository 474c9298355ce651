package client

import (
	"context"
	"fmt"
	"io"
	"net"

	"pier/client/internal/http1"
)

// Conn is a connection taken over from HTTP: raw bytes in both directions. It is for one reader and one writer.
type Conn struct {
	net.Conn
	from io.Reader
	// Multiplexed is set where output comes in stream frames (no terminal).
	Multiplexed bool
}

// Read reads what the server sends, beginning with what came along with the answer's head.
func (c *Conn) Read(p []byte) (int, error) { return c.from.Read(p) }

// CloseWrite tells the server that no more input comes. Output goes on.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hijack sends r and takes the connection over. The caller closes it.
func (c *Client) hijack(ctx context.Context, r request) (*Conn, error) {
	conn, resp, err := c.upgrade(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.Status != http1.SwitchingProtocols && resp.Status != http1.OK {
		conn.Close()
		return nil, fmt.Errorf("%s %s: %s answered %s instead of handing over the connection", r.method, r.path, c.Host(), resp.Reason)
	}
	return conn, nil
}

// upgrade sends r, asks to take the connection over, and returns it with the head of an answer that is no error: it is
// taken over where the server agreed (101), else the answer's body can be read from it.
func (c *Client) upgrade(ctx context.Context, r request) (*Conn, *http1.Response, error) {
	for {
		req, err := c.build(r)
		if err != nil {
			return nil, nil, err
		}
		resp, taken, err := c.transport.Upgrade(ctx, req, "tcp")
		if err != nil {
			return nil, nil, c.explain(err)
		}
		if resp.Status < 300 {
			multiplexed := resp.Header.Get("Content-Type") == "application/vnd.docker.multiplexed-stream"
			return &Conn{Conn: taken.Conn, from: taken.From, Multiplexed: multiplexed}, resp, nil
		}
		err = readError(resp)
		taken.Close()
		if c.downgrade(err) {
			continue
		}
		return nil, nil, err
	}
}

// Tunnel connects the server's raw socket with in and out until the server closes; it is the far end of ssh://.
func (c *Client) Tunnel(ctx context.Context, in io.Reader, out io.Writer) error {
	conn, err := c.transport.Dial(ctx)
	if err != nil {
		return c.explain(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(out, conn)
	return err
}
