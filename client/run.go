package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/client/internal/http1"
	"pier/lib/errkind"
)

// Run is a process that the server makes, joins and starts for one request, where it can (docker.RunParameter). Its
// Conn reads like that of an attached process. It is for one goroutine, but for what Conn allows.
type Run struct {
	ID       string
	Warnings []string
	// Conn is nil where the server has only made the process: it is still to be joined and started.
	Conn *Conn

	facts *runReader
}

// Outcome tells, after the output has ended, how the process did: its exit code, or the *Error that starting it gave. An
// error of kind unavailable says that the connection broke before.
func (r *Run) Outcome() (exitCode int, err error) {
	switch last := r.facts.last; {
	case last.Failure != nil:
		return 0, &Error{Status: last.Failure.Status, Message: last.Failure.Message}
	case last.Ended != nil:
		return last.Ended.ExitCode, nil
	}
	return 0, errkind.New(errkind.Unavailable, "the connection to the daemon was lost")
}

// Run makes a container, joins the streams of o and starts it. name and platform may be empty. o.Logs and o.DetachKeys
// do not count. Secrets are as with Create.
func (s Containers) Run(ctx context.Context, name, platform string, r container.CreateRequest, o AttachOptions, secrets ...docker.NewSecret) (*Run, error) {
	body, err := s.withSecrets(ctx, r, secrets)
	if err != nil {
		return nil, err
	}
	q := values(docker.RunParameter, "1", "name", name, "platform", platform, "stdin", flag(o.Stdin), "stdout", flag(o.Stdout), "stderr", flag(o.Stderr))
	var out container.CreateResponse
	run, err := s.c.run(ctx, request{method: "POST", path: "/containers/create", query: q, body: body}, r.Config != nil && r.Tty, &out)
	if err == nil && run.Conn == nil {
		run.ID, run.Warnings = out.ID, out.Warnings
	}
	return run, err
}

// Run makes one more process in a running container, joins the streams that r asks for and starts it.
func (s Execs) Run(ctx context.Context, ref string, r container.ExecCreateRequest) (*Run, error) {
	var out container.ExecCreateResponse
	run, err := s.c.run(ctx, request{method: "POST", path: at(ref, "exec"), query: values(docker.RunParameter, "1"), body: r}, r.Tty, &out)
	if err == nil && run.Conn == nil {
		run.ID = out.ID
	}
	return run, err
}

// run sends r; made gets the answer of a server that only makes the process.
func (c *Client) run(ctx context.Context, r request, tty bool, made any) (*Run, error) {
	conn, resp, err := c.upgrade(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.Status != http1.SwitchingProtocols {
		defer conn.Close()
		if err := json.NewDecoder(resp.Body).Decode(made); err != nil {
			return nil, c.explain(err)
		}
		return &Run{}, nil
	}
	facts := &runReader{from: bufio.NewReaderSize(conn.from, 32<<10), raw: tty}
	first, err := facts.frame()
	if err != nil || first == nil || first.ID == "" {
		conn.Close()
		return nil, errkind.New(errkind.Unavailable, "%s %s: %s took the connection over and did not say what it made", r.method, r.path, c.Host())
	}
	conn.from, conn.Multiplexed = facts, !tty
	return &Run{ID: first.ID, Warnings: first.Warnings, Conn: conn, facts: facts}, nil
}

// runReader takes the facts out of the stream of a run, and with raw the heads of the other frames too.
type runReader struct {
	from *bufio.Reader
	raw  bool
	last docker.RunFact

	head []byte // of a frame of output, still to be read
	left int    // bytes of that frame's content
}

// Read implements io.Reader: it ends with the fact that says how the process did.
func (r *runReader) Read(p []byte) (int, error) {
	for len(r.head) == 0 && r.left == 0 {
		fact, err := r.frame()
		if err != nil {
			return 0, err
		}
		if fact != nil {
			r.last = *fact
		}
	}
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	n, err := r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// frame reads the head of the next frame, and the whole of one that is a fact.
func (r *runReader) frame() (*docker.RunFact, error) {
	if r.last.Failure != nil || r.last.Ended != nil {
		return nil, io.EOF
	}
	var head [8]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if head[0] != docker.RunFactFrame {
		r.left = int(size)
		if !r.raw {
			r.head = head[:]
		}
		return nil, nil
	}
	if size > docker.MaxRunFact {
		return nil, errkind.New(errkind.Unavailable, "the daemon sent a frame of %d bytes where at most %d make sense", size, docker.MaxRunFact)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r.from, body); err != nil {
		return nil, err
	}
	fact, err := docker.ParseRunFact(body)
	return &fact, err
}
