package tlspipe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"time"
)

// dialTimeout bounds the connection attempt, the handshake included.
const dialTimeout = 30 * time.Second

// Main is the program: args without its name, then its standard streams. The result is its exit code.
func Main(args []string, in io.Reader, out, diagnostics io.Writer) int {
	// What interrupts pier reaches all programs of its terminal. This one ends with pier, or with the connection.
	signal.Ignore()
	starter := os.Getppid()
	conn, err := open(args)
	if err != nil {
		fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", " "))
		return 1
	}
	defer conn.Close()
	if _, err := io.WriteString(out, "ok\n"); err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, in)
		_ = conn.CloseWrite()
		for os.Getppid() == starter { // one that was killed ends its input too, and hears no more
			time.Sleep(time.Second)
		}
		_ = conn.Close()
	}()
	from := &source{Reader: conn}
	_, _ = io.Copy(out, from)
	if from.err != nil {
		// pier only sees that the connection ends; a server that wants a certificate says so here.
		fmt.Fprintln(diagnostics, "pier-tls:", from.err)
		return 1
	}
	return 0
}

// source remembers why reading failed: not because nobody takes what was read.
type source struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// open connects as the command line says. Its errors begin with their kind: "invalid" for what the command line says,
// "dial" for a server that does not answer, "tls" for one that does, but not as it should.
func open(args []string) (*tls.Conn, error) {
	flags := flag.NewFlagSet("pier-tls", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	verify := flags.Bool("verify", false, "check the server's certificate against --ca")
	ca := flags.String("ca", "", "PEM file of the only authority to trust")
	cert := flags.String("cert", "", "the client's certificate")
	key := flags.String("key", "", "the client's key")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return nil, fmt.Errorf("invalid: pier starts this program; usage: pier-tls [--verify] [--ca FILE] [--cert FILE --key FILE] HOST:PORT")
	}
	config, err := configuration(*verify, *ca, *cert, *key)
	if err != nil {
		return nil, fmt.Errorf("invalid: %w", err)
	}
	d := &tls.Dialer{NetDialer: &net.Dialer{KeepAlive: 30 * time.Second}, Config: config}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", flags.Arg(0))
	var op *net.OpError
	switch {
	case err == nil:
		return conn.(*tls.Conn), nil
	case errors.As(err, &op) && op.Op == "dial":
		return nil, fmt.Errorf("dial: %w", op.Err)
	}
	return nil, fmt.Errorf("tls: %w", err)
}

func configuration(verify bool, ca, cert, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify}
	if verify {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("TLS authority: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TLS authority %s: holds no certificate in PEM form", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("TLS client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
