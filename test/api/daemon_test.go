package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"pier/test/lab"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/sys/signal"
)

var sigterm = signal.SignalMap["TERM"]

func TestSecondPierdIsRefused(t *testing.T) {
	p := startPierd(t)
	for _, flags := range [][]string{
		p.Flags(),
		append(p.Flags(), "--exec-root", filepath.Join(p.Dir, "run2"), "-H", "unix://"+p.Dir+"/other.sock"), // the last flag counts
	} {
		out, err := exec.Command(filepath.Join(bin, "pierd"), flags...).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("another pierd")) {
			t.Errorf("a second pierd: %v\n%s", err, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(p.Dir, "run2")); err != nil {
		t.Fatal(err)
	}
	p.want(200, "GET", "/_ping", nil, nil)
}

func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "pier-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "stale.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close() // the file stays, nobody answers
	p := startPierd(t, "-H", "unix://"+path)
	for _, socket := range []string{p.Socket, path} {
		info, err := os.Stat(socket)
		if err != nil || info.Mode() != os.ModeSocket|0o660 {
			t.Errorf("%s: %v, %v", socket, info.Mode(), err)
		}
	}
	p.Socket = path
	p.want(200, "GET", "/_ping", nil, nil)

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{path, file} {
		flags := append(p.Flags(), "--data-root", filepath.Join(dir, "d"), "--exec-root", filepath.Join(dir, "r"), "-H", "unix://"+taken)
		if out, err := exec.Command(filepath.Join(bin, "pierd"), flags...).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("use another -H")) {
			t.Errorf("pierd on %s: %v\n%s", taken, err, out)
		}
	}
}

func TestLiveRestore(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	long := p.create("long", sleeper())
	gate := t.TempDir()
	brief := p.create("brief", object{"Image": "busybox", "Cmd": []string{"sh", "-c", "while [ ! -e /gate/open ]; do sleep 0.05; done; echo done; exit 5"},
		"HostConfig": object{"NetworkMode": "none", "Binds": []string{gate + ":/gate"}}})
	for _, id := range []string{long, brief} {
		p.want(204, "POST", "/containers/"+id+"/start", nil, nil)
	}
	type state struct {
		State struct {
			Status        string
			Pid, ExitCode int
		}
	}
	inspect := func(id string) (s state) {
		p.want(200, "GET", "/containers/"+id+"/json", nil, &s)
		return s
	}
	before, ends := inspect(long), inspect(brief)
	// Clients that only follow something do not hold the end up.
	for _, path := range []string{"GET /events", "POST /containers/long/wait", "GET /containers/long/logs?follow=1&stdout=1"} {
		method, path, _ := strings.Cut(path, " ")
		defer p.send(method, path, nil).Body.Close()
	}
	_, conn, _ := p.hijack("/containers/long/attach?stream=1&stdout=1", true, nil)
	if err := p.Signal(sigterm); err != nil {
		t.Fatalf("pierd ended with %v\n%s", err, p.Log())
	}
	if strings.Contains(p.Log(), "cut off") {
		t.Errorf("the end of pierd cut requests off:\n%s", p.Log())
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the attached stream ends with %v", err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", before.State.Pid)); err != nil {
		t.Fatal("the container died with pierd")
	}
	// brief ends while no pierd runs
	if err := os.WriteFile(filepath.Join(gate, "open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Eventually("the end of brief", func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", ends.State.Pid)); err == nil {
			return fmt.Errorf("process %d is there", ends.State.Pid)
		}
		return nil
	})
	p.Run()
	if after := inspect(long); after.State.Status != "running" || after.State.Pid != before.State.Pid {
		t.Errorf("long was %+v, is %+v", before, after)
	}
	p.Eventually("the end of brief to be known", func() error {
		if s := inspect(brief); s.State.Status != "exited" || s.State.ExitCode != 5 {
			return fmt.Errorf("it is %+v, want exited with 5", s)
		}
		return nil
	})
	logs := p.want(200, "GET", "/containers/brief/logs?stdout=1", nil, nil)
	if got := frames(t, bytes.NewReader(logs.body)); got[1] != "done\n" {
		t.Errorf("log of brief = %q", got)
	}
}

func TestInterruptStopsContainers(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	var created struct{ Id string }
	p.want(201, "POST", "/containers/create?name=xx", sleeper(), &created)
	p.want(204, "POST", "/containers/xx/start", nil, nil)
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatalf("pierd ended with %v\n%s", err, p.Log())
	}
	for _, left := range lab.Leftovers(t, p.Dir, p.Name) {
		if strings.HasPrefix(left, "process") || strings.HasPrefix(left, "mount") {
			t.Errorf("after the interrupt: %s", left)
		}
	}
	p.Run()
	var c struct{ State struct{ Status string } }
	p.want(200, "GET", "/containers/xx/json", nil, &c)
	if c.State.Status != "exited" {
		t.Errorf("state = %s", c.State.Status)
	}
}

func TestConcurrency(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	const workers, rounds = 8, 4
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("c%d-%d", w, i)
				body := object{"Image": "busybox", "Cmd": []string{"sh", "-c", "exit 6"}, "HostConfig": object{"AutoRemove": i%2 == 0}}
				if a := p.do("POST", "/containers/create?name="+name, body); a.status != 201 {
					t.Errorf("create %s = %d %s", name, a.status, a.body)
					return
				}
				wait := p.send("POST", "/containers/"+name+"/wait?condition=next-exit", nil)
				if a := p.do("POST", "/containers/"+name+"/start", nil); a.status != 204 {
					t.Errorf("start %s = %d %s", name, a.status, a.body)
				}
				data, _ := io.ReadAll(wait.Body)
				_ = wait.Body.Close()
				if !bytes.Contains(data, []byte(`"StatusCode":6`)) {
					t.Errorf("wait %s = %s", name, data)
				}
				p.do("GET", "/containers/json?all=1", nil)
				if a := p.do("DELETE", "/containers/"+name+"?force=1", nil); a.status != 204 && a.status != 404 && a.status != 409 {
					t.Errorf("remove %s = %d %s", name, a.status, a.body)
				}
			}
		})
	}
	all.Wait()
	p.Eventually("all containers to be gone", func() error { // --rm ends a moment after the exit
		var left []object
		if p.want(200, "GET", "/containers/json?all=1", nil, &left); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	other := newAuthority(t)
	ca.issue(t, filepath.Join(dir, "server"), "127.0.0.1")
	client := ca.issue(t, filepath.Join(dir, "client"), "")
	stranger := other.issue(t, filepath.Join(dir, "stranger"), "")
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", lab.FreePorts(t, 1))
	startPierd(t, "-H", "tcp://"+addr, "--tlsverify", "--tlscacert", filepath.Join(dir, "ca.pem"),
		"--tlscert", filepath.Join(dir, "server.crt"), "--tlskey", filepath.Join(dir, "server.key"))
	try := func(certs ...tls.Certificate) error {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca.pem())
		c := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}}
		response, err := c.Get("https://" + addr + "/_ping")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != 200 {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}
	if err := try(client); err != nil {
		t.Errorf("with the right certificate: %v", err)
	}
	if err := try(); err == nil {
		t.Error("without a certificate pierd answers")
	}
	if err := try(stranger); err == nil {
		t.Error("a stranger's certificate is accepted")
	}
	plain := http.Client{Timeout: time.Minute}
	if response, err := plain.Get("http://" + addr + "/_ping"); err == nil {
		_ = response.Body.Close()
		if response.StatusCode == 200 {
			t.Error("pierd answers without TLS")
		}
	}
}

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue writes path.crt and path.key; with an address for a server, else for a client.
func (a *authority) issue(t *testing.T, path, address string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if address != "" {
		template.IPAddresses = []net.IP{net.ParseIP(address)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt, private := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for name, data := range map[string][]byte{".crt": crt, ".key": private} {
		if err := os.WriteFile(path+name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := tls.X509KeyPair(crt, private)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
