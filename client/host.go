package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pier/lib/errkind"
)

// DefaultHost is where pierd listens when nobody says otherwise.
const DefaultHost = "unix:///run/pier/pier.sock"

// dialTimeout bounds one connection attempt to a TCP host.
const dialTimeout = 30 * time.Second

// Endpoint is one server and how to reach it.
type Endpoint struct {
	// Host is unix:///path, tcp://host:port or ssh://[user@]host[:port].
	Host string
	TLS  TLS
	// Source says in words where Host came from, for `pier info` and error messages.
	Source string
}

// TLS names the files of a TCP connection with TLS. The zero value means plain TCP.
type TLS struct {
	Enabled bool
	Verify  bool   // the server's certificate is checked against CA
	CA      string // path of a PEM file; the only authority trusted
	Cert    string // path of the client's certificate
	Key     string // path of the client's key
}

// Choice is what the command line said.
type Choice struct {
	Host    string // -H
	Context string // -c
	TLS     TLS
}

// Find decides which server to talk to: -H, then PIER_HOST, then the context (-c, PIER_CONTEXT, the current context
// of ~/.docker/config.json), then DefaultHost. Context files are Docker's own (~/.docker/contexts). env is os.Getenv.
func Find(choice Choice, env func(string) string) (Endpoint, error) {
	tlsFiles := tlsFromEnv(choice.TLS, env)
	switch {
	case choice.Host != "" && choice.Context != "":
		return Endpoint{}, errkind.New(errkind.Invalid, "conflicting options: -H/--host and -c/--context cannot both name the daemon")
	case choice.Host != "":
		return checked(Endpoint{Host: choice.Host, TLS: tlsFiles, Source: "-H"})
	case choice.Context == "" && env("PIER_HOST") != "":
		return checked(Endpoint{Host: env("PIER_HOST"), TLS: tlsFiles, Source: "PIER_HOST"})
	}
	name, source := choice.Context, "--context"
	if name == "" {
		name, source = env("PIER_CONTEXT"), "PIER_CONTEXT"
	}
	if name == "" {
		name, source = currentContext(configDir(env)), "the current context"
	}
	if name == "" || name == "default" {
		return Endpoint{Host: DefaultHost, TLS: tlsFiles, Source: "default"}, nil
	}
	e, err := readContext(configDir(env), name)
	if err != nil {
		return Endpoint{}, err
	}
	e.Source = source + " " + name
	return checked(e)
}

func checked(e Endpoint) (Endpoint, error) {
	if !strings.Contains(e.Host, "://") {
		if strings.HasPrefix(e.Host, "/") {
			e.Host = "unix://" + e.Host
		} else {
			e.Host = "tcp://" + e.Host
		}
	}
	_, err := e.dialer()
	return e, err
}

func (e Endpoint) scheme() string {
	scheme, _, _ := strings.Cut(e.Host, "://")
	return scheme
}

// dialer returns how to open one connection.
func (e Endpoint) dialer() (func(context.Context) (net.Conn, error), error) {
	_, address, _ := strings.Cut(e.Host, "://")
	switch e.scheme() {
	case "unix":
		return func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address)
		}, nil
	case "tcp":
		d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
		if !e.TLS.Enabled {
			return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }, nil
		}
		config, err := e.TLS.config()
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", address)
		}, nil
	case "ssh":
		return func(ctx context.Context) (net.Conn, error) { return dialSSH(ctx, address) }, nil
	}
	return nil, errkind.New(errkind.Invalid, "unable to parse host %q: use unix:///path, tcp://host:port or ssh://user@host", e.Host)
}

func (t TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !t.Verify}
	if t.Verify {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "TLS authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errkind.New(errkind.Invalid, "TLS authority %s: holds no certificate in PEM form", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "TLS client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// tlsFromEnv completes the flags with PIER_TLS_VERIFY and PIER_CERT_PATH (ca.pem, cert.pem, key.pem).
func tlsFromEnv(t TLS, env func(string) string) TLS {
	if env("PIER_TLS_VERIFY") != "" {
		t.Enabled, t.Verify = true, true
	}
	t.Enabled = t.Enabled || t.Verify
	if !t.Enabled {
		return TLS{}
	}
	dir := env("PIER_CERT_PATH")
	if dir == "" {
		dir = configDir(env)
	}
	for _, f := range []struct {
		field *string
		name  string
	}{{&t.CA, "ca.pem"}, {&t.Cert, "cert.pem"}, {&t.Key, "key.pem"}} {
		path := filepath.Join(dir, f.name)
		if _, err := os.Stat(path); *f.field == "" && err == nil {
			*f.field = path
		}
	}
	return t
}

func configDir(env func(string) string) string {
	if dir := env("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	return filepath.Join(env("HOME"), ".docker")
}

func currentContext(dir string) string {
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return ""
	}
	return config.CurrentContext
}

// readContext reads one context of Docker's store: contexts/meta/<sha256 of the name>/meta.json.
func readContext(dir, name string) (Endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	key := hex.EncodeToString(sum[:])
	data, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", key, "meta.json"))
	if err != nil {
		return Endpoint{}, errkind.New(errkind.NotFound, "context %q does not exist below %s: choose another with -c, or name the daemon with -H", name, dir)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return Endpoint{}, errkind.New(errkind.Invalid, "context %q: %w", name, err)
	}
	e, ok := meta.Endpoints["docker"]
	if !ok || e.Host == "" {
		return Endpoint{}, errkind.New(errkind.Invalid, "context %q has no engine endpoint", name)
	}
	files := filepath.Join(dir, "contexts", "tls", key, "docker")
	t := TLS{CA: filepath.Join(files, "ca.pem"), Cert: filepath.Join(files, "cert.pem"), Key: filepath.Join(files, "key.pem")}
	if _, err := os.Stat(t.Cert); err != nil {
		return Endpoint{Host: e.Host}, nil
	}
	t.Enabled, t.Verify = true, !e.SkipTLSVerify
	return Endpoint{Host: e.Host, TLS: t}, nil
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
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", append(args, "--", target, "pier", "system", "dial-stdio")...)
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
		return nil, fmt.Errorf("ssh to %s: %w", target, err)
	}
	return &pipeConn{Reader: out, in: in, cmd: cmd, remote: sshAddr(address)}, nil
}

type sshAddr string

func (sshAddr) Network() string  { return "ssh" }
func (a sshAddr) String() string { return string(a) }

// pipeConn is a net.Conn over a command's standard streams. Deadlines are not kept.
type pipeConn struct {
	io.Reader
	in     io.WriteCloser
	cmd    *exec.Cmd
	remote net.Addr
}

func (p *pipeConn) Write(b []byte) (int, error) { return p.in.Write(b) }

// CloseWrite ends the command's input.
func (p *pipeConn) CloseWrite() error { return p.in.Close() }

func (p *pipeConn) Close() error {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed on purpose
	return nil
}

func (p *pipeConn) LocalAddr() net.Addr              { return p.remote }
func (p *pipeConn) RemoteAddr() net.Addr             { return p.remote }
func (p *pipeConn) SetDeadline(time.Time) error      { return nil }
func (p *pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (p *pipeConn) SetWriteDeadline(time.Time) error { return nil }
