package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pier/lib/errkind"
)

// dialTimeout bounds one connection attempt to a TCP host.
const dialTimeout = 30 * time.Second

// dialer returns how to open one connection.
func (e Endpoint) dialer() (func(context.Context) (net.Conn, error), error) {
	_, address, _ := strings.Cut(e.Host, "://")
	switch e.scheme() {
	case "unix":
		return func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address)
		}, nil
	case "tcp":
		if e.TLS.Enabled {
			return func(ctx context.Context) (net.Conn, error) { return dialTLS(ctx, address, e.TLS) }, nil
		}
		d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }, nil
	case "ssh":
		return func(ctx context.Context) (net.Conn, error) { return dialSSH(ctx, address) }, nil
	}
	return nil, errkind.New(errkind.Invalid, "unable to parse host %q: use unix:///path, tcp://host:port or ssh://user@host", e.Host)
}

// dialSSH runs `pier system dial-stdio` on the other machine and speaks HTTP over its standard streams.
func dialSSH(ctx context.Context, address string) (net.Conn, error) {
	target, port, hasPort := strings.Cut(address, ":")
	if target == "" || strings.HasPrefix(target, "-") {
		return nil, errkind.New(errkind.Invalid, "ssh host %q: not a host name", address)
	}
	args := []string{"-o", "ConnectTimeout=30", "-T"}
	if hasPort {
		args = append(args, "-p", port)
	}
	conn, err := through(ctx, "ssh", append(args, "--", target, "pier", "system", "dial-stdio"), commandAddr{"ssh", address})
	if err != nil {
		return nil, fmt.Errorf("ssh to %s: %w", target, err)
	}
	return conn, nil
}

// tlsProgram holds a connection with TLS. It is a program of its own so that pier need not link TLS: package tlspipe.
const tlsProgram = "pier-tls"

// maxTLSAnswer bounds the line by which it tells how the connection went, in bytes.
const maxTLSAnswer = 4 << 10

// dialTLS has pier-tls, which lies beside pier or on PATH, open the connection.
func dialTLS(ctx context.Context, address string, t TLS) (net.Conn, error) {
	program, err := findTLSProgram()
	if err != nil {
		return nil, errkind.New(errkind.Unsupported, "tcp://%s: TLS needs the program %s, which is neither beside pier nor on PATH (%w): put it there", address, tlsProgram, err)
	}
	conn, err := through(ctx, program, tlsArgs(address, t), commandAddr{"tcp", address})
	if err != nil {
		return nil, fmt.Errorf("TLS to %s: %w", address, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	answer := readAnswer(conn)
	if !stop() {
		return nil, ctx.Err()
	}
	kind, why, _ := strings.Cut(answer, ": ")
	switch kind {
	case "ok":
		return conn, nil
	case "dial":
		err = &net.OpError{Op: "dial", Net: "tcp", Addr: conn.remote, Err: errors.New(why)}
	case "invalid":
		err = errkind.New(errkind.Invalid, "%s", why)
	case "tls":
		err = fmt.Errorf("TLS: %s", why)
	default:
		err = fmt.Errorf("%s ended without saying why", program)
	}
	conn.Close()
	return nil, err
}

// tlsArgs is the command line of pier-tls.
func tlsArgs(address string, t TLS) []string {
	args := make([]string, 0, 9)
	if t.Verify {
		args = append(args, "--verify")
	}
	for _, file := range [][2]string{{"--ca", t.CA}, {"--cert", t.Cert}, {"--key", t.Key}} {
		if file[1] != "" {
			args = append(args, file[0], file[1])
		}
	}
	return append(args, "--", address)
}

func findTLSProgram() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), tlsProgram)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath(tlsProgram)
}

// readAnswer reads the first line of r without what follows, "" where there is none.
func readAnswer(r io.Reader) string {
	var line []byte
	var b [1]byte
	for len(line) < maxTLSAnswer {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return ""
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
	return ""
}

// through starts a program whose standard streams are the connection.
func through(ctx context.Context, program string, args []string, remote commandAddr) (*pipeConn, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &pipeConn{Reader: out, in: in, cmd: cmd, remote: remote}, nil
}

// commandAddr is what a program is connected to.
type commandAddr struct{ network, address string }

func (a commandAddr) Network() string { return a.network }
func (a commandAddr) String() string  { return a.address }

// pipeConn is a net.Conn over a command's standard streams. Deadlines are not kept.
type pipeConn struct {
	io.Reader
	in     io.WriteCloser
	cmd    *exec.Cmd
	remote net.Addr
	ended  sync.Once
}

func (p *pipeConn) Write(b []byte) (int, error) { return p.in.Write(b) }

// CloseWrite ends the command's input.
func (p *pipeConn) CloseWrite() error { return p.in.Close() }

func (p *pipeConn) Close() error {
	_ = p.in.Close()
	p.ended.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // killed on purpose
	})
	return nil
}

func (p *pipeConn) LocalAddr() net.Addr              { return p.remote }
func (p *pipeConn) RemoteAddr() net.Addr             { return p.remote }
func (p *pipeConn) SetDeadline(time.Time) error      { return nil }
func (p *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (p *pipeConn) SetWriteDeadline(time.Time) error { return nil }
