package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/lib/errkind"
)

// authority signs certificates for 127.0.0.1 and writes them as files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.sign("ca", nil)
	return a
}

// sign makes NAME-cert.pem and NAME-key.pem; parent nil: the authority itself.
func (a *authority) sign(name string, parent *authority) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	by, byKey := template, key
	if parent != nil {
		by, byKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		a.key = key
		a.cert, _ = x509.ParseCertificate(der)
	}
	secret, _ := x509.MarshalPKCS8PrivateKey(key)
	a.write(name+"-cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(name+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	pair, err := tls.LoadX509KeyPair(a.path(name+"-cert.pem"), a.path(name+"-key.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, data []byte) {
	if err := os.WriteFile(a.path(name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// buildTLSProgram puts pier-tls on PATH, alone.
func buildTLSProgram(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "pier/cmd/"+tlsProgram)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", dir)
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/attach"):
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			all, _ := io.ReadAll(buf) // until the client has closed its side
			fmt.Fprintf(conn, "got %d bytes", len(all))
		default:
			fmt.Fprintf(w, `{"Version":%q}`, r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.sign("server", ours)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ours.sign("client", ours)
	ours.write("empty.pem", nil)
	host := "tcp://" + server.Listener.Addr().String()
	good := TLS{Enabled: true, Verify: true, CA: ours.path("ca-cert.pem"), Cert: ours.path("client-cert.pem"), Key: ours.path("client-key.pem")}

	ask := func(t *testing.T, host string, files TLS) (*Client, string, error) {
		t.Helper()
		c, err := New(Endpoint{Host: host, TLS: files})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		v, err := c.System().Version(context.Background())
		return c, v.Version, err
	}
	t.Run("without the program", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, _, err := ask(t, host, good); !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), tlsProgram) {
			t.Errorf("%v", err)
		}
	})
	buildTLSProgram(t)
	for range 2 {
		c, name, err := ask(t, host, good)
		if err != nil || name != "client" {
			t.Fatalf("the server sees %q, %v", name, err)
		}
		conn, err := c.Streams().Attach(context.Background(), "x", AttachOptions{Stdin: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(make([]byte, 1<<20))
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(conn); string(got) != fmt.Sprintf("got %d bytes", 1<<20) || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		conn.Close()
	}
	with := func(change func(*TLS)) TLS {
		files := good
		change(&files)
		return files
	}
	if _, name, err := ask(t, host, with(func(f *TLS) { f.Verify, f.CA = false, "" })); err != nil || name != "client" {
		t.Errorf("without --tlsverify: %q, %v", name, err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, test := range map[string]struct {
		host  string
		files TLS
		kind  errkind.Kind
		words string
	}{
		"another authority":     {host, with(func(f *TLS) { f.CA = theirs.path("ca-cert.pem") }), errkind.Unavailable, "unknown authority"},
		"no certificate":        {host, with(func(f *TLS) { f.Cert, f.Key = "", "" }), errkind.Unavailable, "connection"},
		"another name":          {strings.Replace(host, "127.0.0.1", "localhost", 1), good, errkind.Unavailable, "localhost"},
		"nobody listens":        {"tcp://" + free.Addr().String(), good, errkind.Unavailable, "is pierd running?"},
		"no TLS there":          {"tcp://" + plain.Listener.Addr().String(), good, errkind.Unavailable, "TLS"},
		"no such authority":     {host, with(func(f *TLS) { f.CA = "/nosuch.pem" }), errkind.Invalid, "/nosuch.pem"},
		"an empty authority":    {host, with(func(f *TLS) { f.CA = ours.path("empty.pem") }), errkind.Invalid, "no certificate in PEM form"},
		"a key of another pair": {host, with(func(f *TLS) { f.Key = ours.path("ca-key.pem") }), errkind.Invalid, "TLS client certificate"},
	} {
		if _, _, err := ask(t, test.host, test.files); !errkind.Is(err, test.kind) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v (%v)", name, err, errkind.Of(err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes the connection and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := New(Endpoint{Host: "tcp://" + silent.Addr().String(), TLS: good})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.System().Version(ctx); err != context.DeadlineExceeded {
		t.Errorf("a server that does not answer: %v", err)
	}
}
