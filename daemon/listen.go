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
func listen(c Config, log *slog.Logger) (_ []net.Listener, err error) {
	var out []net.Listener
	defer func() {
		if err != nil {
			for _, l := range out {
				_ = l.Close()
			}
		}
	}()
	for _, host := range c.Sockets() {
		var l net.Listener
		if path, ok := strings.CutPrefix(host, "unix://"); ok {
			l, err = listenUnix(path, c.Group, log)
		} else {
			l, err = listenTCP(strings.TrimPrefix(host, "tcp://"), c)
		}
		if err != nil {
			return out, err
		}
		out = append(out, l)
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

// listenTCP opens a TCP socket, with TLS unless the configuration declines it.
func listenTCP(addr string, c Config) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp://%s: %w", addr, err)
	}
	if !c.TLSVerify {
		return l, nil // Validate saw to it that somebody asked for this
	}
	t, err := tlsConfig(c)
	if err != nil {
		_ = l.Close()
		return nil, err
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
