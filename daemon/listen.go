package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pier/lib/errkind"
)

// listen opens all sockets of the configuration; on an error none stays open.
// Those that a former program in this process has left are used as they are.
func listen(c Config, log *slog.Logger) (out []socket, err error) {
	ready := inherited()
	defer func() {
		for _, l := range ready { // of hosts that are in the configuration no more
			_ = l.Close()
		}
		if err != nil {
			for _, s := range out {
				_ = s.Close()
			}
		}
	}()
	for _, host := range c.Sockets() {
		s := socket{host: host, raw: ready[host]}
		delete(ready, host)
		path, isUnix := strings.CutPrefix(host, "unix://")
		switch {
		case s.raw != nil:
		case isUnix:
			s.raw, err = listenUnix(path, c.Group, log)
		default:
			s.raw, err = listenTCP(strings.TrimPrefix(host, "tcp://"))
		}
		if err != nil {
			return out, err
		}
		if s.Listener = s.raw; !isUnix {
			s.Listener, err = secured(s.raw, c)
		}
		out = append(out, s)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// listenUnix makes the socket with mode 0660 for root and the group. One that is there already is replaced if nobody
// answers on it. Go makes sockets with the umask's mode, under which only root can write to them before chmod.
func listenUnix(path, group string, log *slog.Logger) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, errkind.New(errkind.Conflict, "listen on unix://%s: another program answers there; stop it or use another -H", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, errkind.New(errkind.Conflict, "listen on unix://%s: a file that is no socket is there; remove it or use another -H", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the stale socket: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	gid, err := groupID(group)
	if err == nil && gid >= 0 {
		err = os.Lchown(path, 0, gid)
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	log.Debug("listening", "host", "unix://"+path, "gid", gid)
	return l, nil
}

// groupID finds the group of the socket, -1 for none: a group that was asked for must exist, the usual ones need not.
func groupID(name string) (int, error) {
	names := []string{name}
	if name == "" {
		names = []string{"pier", "docker"}
	}
	for _, n := range names {
		g, err := user.LookupGroup(n)
		var unknown user.UnknownGroupError
		switch {
		case err == nil:
			return strconv.Atoi(g.Gid)
		case !errors.As(err, &unknown):
			return -1, err
		case name != "":
			return -1, errkind.New(errkind.NotFound, "group %s does not exist: create it or drop --group", name)
		}
	}
	return -1, nil
}

func listenTCP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp://%s: %w", addr, err)
	}
	return l, nil
}

// secured is a TCP socket with TLS, unless the configuration declines it. It returns l itself with an error.
func secured(l net.Listener, c Config) (net.Listener, error) {
	if !c.TLSVerify {
		return l, nil // Validate saw to it that somebody asked for this
	}
	t, err := tlsConfig(c)
	if err != nil {
		return l, err
	}
	return tls.NewListener(l, t), nil
}

// tlsConfig asks for client certificates of the configured authority alone; the system's authorities do not count.
func tlsConfig(c Config) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "load the server's certificate: %w", err)
	}
	pem, err := os.ReadFile(c.TLSCACert)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "read the authority's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errkind.New(errkind.Invalid, "read the authority's certificate: %s holds none in PEM form", c.TLSCACert)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}, nil
}
