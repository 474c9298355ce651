package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

const (
	// idleConns is how many connections are kept for the next requests.
	idleConns = 8
	// launchLimit is how long a new supervisor may take to answer.
	launchLimit = 10 * time.Second
)

// incarnation is one supervisor: a process, or a program in it between two upgrades.
type incarnation struct {
	socket     string
	pid        int
	generation int
	process    *os.File      // pidfd
	dead       chan struct{} // closed when the process has ended
	how        *string       // it has ended, "" where that is not known; valid once dead is closed
	ready      chan struct{} // closed when it has all tasks
	leaving    bool          // it was asked to end; guarded by Custodian.mu
	vacant     bool          // stands for the time between two
	hello      shim.Hello    // what it says of itself

	mu     sync.Mutex // guards what follows
	idle   []*fdsock.Conn
	closed bool
}

// lostError is a request that was, or may have been, sent and has no answer.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the supervisor went away: " + e.err.Error() }
func (e *lostError) Unwrap() error {
	return errkind.New(errkind.Unavailable, "the supervisor went away: %w", e.err)
}

func isLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// dialLiving finds a supervisor that answers on the socket.
func (c *Custodian) dialLiving(ctx context.Context) (*incarnation, error) {
	inc := &incarnation{socket: c.socket(), dead: make(chan struct{}), how: new(string), ready: make(chan struct{})}
	if err := inc.greet(ctx); err != nil {
		return nil, err
	}
	var err error
	if inc.process, err = pidfd.Open(inc.pid, 0); err != nil {
		return nil, err
	}
	if !inc.answers(ctx) { // only if it lives still has nobody else got its number
		inc.retire()
		return nil, errkind.New(errkind.Unavailable, "the supervisor on %s has just ended", inc.socket)
	}
	go func() {
		defer close(inc.dead)
		if pidfd.Wait(c.ctx, inc.process) == nil {
			*inc.how = ending(inc.process)
		}
	}()
	return inc, nil
}

func (c *Custodian) socket() string { return filepath.Join(c.o.Root, "supervisor.sock") }

// ending words how a process has ended that is no child of ours, "" where the kernel does not tell, or not before its parent
// has asked.
func ending(process *os.File) string {
	status, err := pidfd.ExitInfo(process)
	switch {
	case err != nil:
		return ""
	case status.Signaled:
		return fmt.Sprintf("signal %d", status.Code-128)
	}
	return fmt.Sprintf("exit status %d", status.Code)
}

// launch starts a supervisor and waits until it answers.
func (c *Custodian) launch(ctx context.Context) (*incarnation, error) {
	out, err := os.OpenFile(filepath.Join(c.o.Root, "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(c.o.Binary, "supervise", "--root", c.o.Root, "--socket", c.socket())
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	// What is in the environment stays in memory for months; none of it is needed.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GODEBUG=madvdontneed=1"}
	if err := cmd.Start(); err != nil {
		return nil, errkind.New(errkind.Unavailable, "start the supervisor: %w; install pier-runtime beside pierd", err)
	}
	inc := &incarnation{socket: c.socket(), dead: make(chan struct{}), how: new(string), ready: make(chan struct{})}
	var waitErr error
	go func() {
		defer close(inc.dead)
		waitErr = cmd.Wait()
		*inc.how = cmd.ProcessState.String()
	}()
	deadline := time.Now().Add(launchLimit)
	for {
		err := inc.greet(ctx)
		if err == nil && inc.pid == cmd.Process.Pid {
			return inc, nil
		}
		if err == nil { // a former one that is just dying
			inc.hangUp()
			inc.closed = false
		}
		select {
		case <-inc.dead:
			return nil, errkind.New(errkind.Unavailable, "start the supervisor: it ended at once (%w); see %s", waitErr, out.Name())
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			return nil, errkind.New(errkind.Timeout, "start the supervisor: no answer after %s; see %s", launchLimit, out.Name())
		}
	}
}

// greet learns who answers on the socket.
func (i *incarnation) greet(ctx context.Context) error {
	answer, err := i.call(ctx, &shim.Request{Kind: shim.KindHello})
	if err != nil {
		return err
	}
	if answer.Hello == nil {
		return errkind.New(errkind.Unsupported, "the supervisor on %s does not say hello", i.socket)
	}
	i.pid, i.generation, i.hello = answer.Hello.Pid, answer.Hello.Generation, *answer.Hello
	return nil
}

// isAt returns an error where the other end of a connection is another program than this one.
func (i *incarnation) isAt(conn *fdsock.Conn) error {
	payload, err := json.Marshal(&shim.Request{Kind: shim.KindHello})
	if err != nil {
		return err
	}
	answer, err := roundTrip(conn, payload, nil)
	if err == nil && (answer.Hello == nil || *answer.Hello != i.hello) {
		err = fmt.Errorf("another supervisor than process %d is on %s", i.pid, i.socket)
	}
	return err
}

// answers reports whether this very program still takes requests.
func (i *incarnation) answers(ctx context.Context) bool {
	select {
	case <-i.dead:
		return false
	default:
	}
	probe := &incarnation{socket: i.socket}
	defer probe.hangUp()
	return probe.greet(ctx) == nil && probe.pid == i.pid && probe.generation == i.generation
}

// dial opens a connection to root's supervisor and nobody else's.
func dial(ctx context.Context, socket string) (*fdsock.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	u := c.(*net.UnixConn)
	if _, uid, _, err := fdsock.PeerCred(u); err != nil || uid != os.Getuid() {
		u.Close()
		return nil, errkind.New(errkind.Forbidden, "dial the supervisor: %s belongs to user %d", socket, uid)
	}
	return fdsock.NewConn(u), nil
}

// call sends one request on an idle connection and waits for the answer. The error is the supervisor's, or lost.
func (i *incarnation) call(ctx context.Context, r *shim.Request, files ...*os.File) (answer *response, err error) {
	err = i.converse(ctx, r, files, func(a *response) (more bool, err error) {
		answer = a
		return false, nil
	})
	return answer, err
}

// converse sends one request on an idle connection and has told each answer until that says that no more will come, or
// fails. The error is the supervisor's, told's, or lost.
func (i *incarnation) converse(ctx context.Context, r *shim.Request, files []*os.File, told func(*response) (more bool, err error)) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	conn, err := i.take(ctx)
	if err != nil {
		return &lostError{err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().SetDeadline(time.Unix(1, 0)) })
	var answer *response
	var refused error
	broken := false // more answers may come that nobody waits for
	for more := true; more && err == nil && refused == nil; {
		if answer == nil {
			answer, err = roundTrip(conn, payload, files)
		} else {
			answer, err = receive(conn)
		}
		switch {
		case err != nil:
		case answer.Error != nil:
			answer.close()
			refused, more = answer.Error, false
		default:
			more, refused = told(answer)
			broken = refused != nil
		}
	}
	if !stop() { // the deadline may hit a later request
		conn.Close()
		if err != nil {
			return errkind.New(errkind.Of(ctx.Err()), "wait for the supervisor: %w", ctx.Err())
		}
	} else if err != nil {
		conn.Close()
		return &lostError{err}
	} else if broken {
		conn.Close()
	} else {
		i.put(conn)
	}
	return refused
}

// response is an answer with its descriptors.
type response struct {
	shim.Response
	attached []*os.File
}

func (r *response) files() []*os.File { return r.attached }

func (r *response) close() {
	for _, f := range r.attached {
		f.Close()
	}
}

func roundTrip(conn *fdsock.Conn, payload []byte, files []*os.File) (*response, error) {
	if err := conn.Send(payload, files...); err != nil {
		return nil, err
	}
	return receive(conn)
}

func receive(conn *fdsock.Conn) (*response, error) {
	text, got, err := conn.Receive(shim.MaxFrame)
	if err != nil {
		return nil, err
	}
	r := &response{attached: got}
	if err := json.Unmarshal(text, &r.Response); err != nil {
		r.close()
		return nil, fmt.Errorf("answer of the supervisor: %w", err)
	}
	return r, nil
}

func (i *incarnation) take(ctx context.Context) (*fdsock.Conn, error) {
	i.mu.Lock()
	if n := len(i.idle); n > 0 {
		conn := i.idle[n-1]
		i.idle = i.idle[:n-1]
		i.mu.Unlock()
		return conn, nil
	}
	i.mu.Unlock()
	return dial(ctx, i.socket)
}

func (i *incarnation) put(conn *fdsock.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || len(i.idle) >= idleConns {
		conn.Close()
		return
	}
	i.idle = append(i.idle, conn)
}

// hangUp closes the idle connections.
func (i *incarnation) hangUp() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	for _, conn := range i.idle {
		conn.Close()
	}
	i.idle = nil
}

// retire lets go of an incarnation that is of no more use.
func (i *incarnation) retire() {
	i.hangUp()
	if i.process != nil {
		i.process.Close()
	}
}
