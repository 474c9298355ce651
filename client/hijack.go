package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Conn is a connection taken over from HTTP: raw bytes in both directions. It is for one reader and one writer.
type Conn struct {
	net.Conn
	buffered *bufio.Reader
	// Multiplexed is set where output comes in stream frames (no terminal).
	Multiplexed bool
}

// Read reads what the server sends, beginning with what came along with the answer's head.
func (c *Conn) Read(p []byte) (int, error) { return c.buffered.Read(p) }

// CloseWrite tells the server that no more input comes. Output goes on.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hijack sends r and takes the connection over. The caller closes it.
func (c *Client) hijack(ctx context.Context, r request) (*Conn, error) {
	for {
		req, err := c.build(ctx, r)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "tcp")
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, c.explain(err)
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		if err := req.Write(conn); err != nil {
			conn.Close()
			return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		buffered := bufio.NewReader(conn)
		resp, err := http.ReadResponse(buffered, req)
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("%s %s: answer of %s: %w", r.method, r.path, c.Host(), err)
		}
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode == http.StatusOK {
			stop()
			return &Conn{Conn: conn, buffered: buffered, Multiplexed: resp.Header.Get("Content-Type") == "application/vnd.docker.multiplexed-stream"}, nil
		}
		err = readError(resp)
		conn.Close()
		if c.downgrade(err) {
			continue
		}
		return nil, err
	}
}

// Tunnel connects the server's raw socket with in and out until the server closes; it is the far end of ssh://.
func (c *Client) Tunnel(ctx context.Context, in io.Reader, out io.Writer) error {
	conn, err := c.dial(ctx)
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
