package api

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector takes what log drivers send over streams, one stream after the other.
type collector struct {
	t     *testing.T
	l     net.Listener
	mu    sync.Mutex // guards what follows
	texts []*strings.Builder
}

func collect(t *testing.T, l net.Listener, err error) *collector {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{t: t, l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			text := &strings.Builder{}
			c.mu.Lock()
			c.texts = append(c.texts, text)
			c.mu.Unlock()
			go func() {
				defer conn.Close()
				_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
					c.mu.Lock()
					defer c.mu.Unlock()
					return text.Write(b)
				}), conn)
			}()
		}
	}()
	return c
}

type writerFunc func(b []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all strings.Builder
	for _, text := range c.texts {
		all.WriteString(text.String())
	}
	return all.String()
}

// TestRemoteLogs has containers log to a receiver over TCP while pierd is killed: every line arrives, and can be read back.
func TestRemoteLogs(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	c := collect(t, l, err)
	const lines = 300
	p.create("chatty", object{"Image": "busybox", "Cmd": []string{"sh", "-c", fmt.Sprintf("for i in $(seq %d); do echo line $i.; sleep 0.005; done", lines)},
		"HostConfig": object{"NetworkMode": "none", "LogConfig": object{"Type": "syslog", "Config": object{
			"syslog-address": "tcp://" + l.Addr().String(), "syslog-format": "rfc5424", "tag": "{{.Name}}"}}}})
	p.want(204, "POST", "/containers/chatty/start", nil, nil)
	p.Eventually("the first lines", func() error {
		if !strings.Contains(c.String(), " line 20.\n") {
			return errors.New(c.String())
		}
		return nil
	})
	p.killPierd()
	p.want(200, "POST", "/containers/chatty/wait", nil, nil)
	p.Eventually("the last line", func() error {
		if !strings.Contains(c.String(), fmt.Sprintf(" line %d.\n", lines)) {
			return errors.New(c.String())
		}
		return nil
	})
	last := 0
	for s := bufio.NewScanner(strings.NewReader(c.String())); s.Scan(); {
		n := 0
		if _, text, ok := strings.Cut(s.Text(), " - line "); !ok {
			t.Fatalf("received %q", s.Text())
		} else if _, err := fmt.Sscanf(text, "%d.", &n); err != nil || n > last+1 {
			t.Fatalf("%q after line %d", s.Text(), last)
		}
		last = max(last, n) // a batch that was on its way when pierd died may come again
	}
	a := p.want(200, "GET", "/containers/chatty/logs?stdout=1&tail=2", nil, nil)
	if want := fmt.Sprintf("line %d.\n", lines); !strings.HasSuffix(string(a.body), want) {
		t.Errorf("logs: %q", a.body)
	}
	p.want(204, "DELETE", "/containers/chatty", nil, nil)

	// A container that goes with its last line, and one whose receiver never comes.
	gelf := object{"Type": "gelf", "Config": object{"gelf-address": "tcp://" + l.Addr().String()}}
	p.create("brief", object{"Image": "busybox", "Cmd": []string{"echo", "farewell"}, "HostConfig": object{"NetworkMode": "none", "AutoRemove": true, "LogConfig": gelf}})
	p.want(204, "POST", "/containers/brief/start", nil, nil)
	p.create("lonely", object{"Image": "busybox", "Cmd": []string{"seq", "50000"}, "HostConfig": object{"NetworkMode": "none",
		"LogConfig": object{"Type": "fluentd", "Config": object{"fluentd-address": "127.0.0.1:1"}}}})
	p.want(204, "POST", "/containers/lonely/start", nil, nil)
	p.want(200, "POST", "/containers/lonely/wait", nil, nil)
	p.want(204, "DELETE", "/containers/lonely", nil, nil)
	p.Eventually("the line of a removed container", func() error {
		if !strings.Contains(c.String(), `"short_message":"farewell"`) {
			return errors.New(c.String())
		}
		return nil
	})
}

// TestSyslogTLS sends to a receiver whose certificate an authority of our own has signed.
func TestSyslogTLS(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	c := collect(t, l, err)
	options := object{"syslog-address": "tcp+tls://" + l.Addr().String(), "syslog-format": "rfc5424", "syslog-tls-ca-cert": ca}
	p.create("sealed", object{"Image": "busybox", "Cmd": []string{"echo", "secret"}, "HostConfig": object{"NetworkMode": "none",
		"LogConfig": object{"Type": "syslog", "Config": options}}})
	p.want(204, "POST", "/containers/sealed/start", nil, nil)
	p.Eventually("the line", func() error {
		var n int
		if _, err := fmt.Sscanf(c.String(), "%d <30>1 ", &n); err != nil || !strings.HasSuffix(c.String(), " - secret\n") || len(c.String()) != n+len(fmt.Sprint(n))+1 {
			return fmt.Errorf("received %q", c.String())
		}
		return nil
	})
	p.want(200, "POST", "/containers/sealed/wait", nil, nil)
	p.want(204, "DELETE", "/containers/sealed", nil, nil)
	options["syslog-tls-ca-cert"] = "/nonexistent"
	if a := p.do("POST", "/containers/create?name=none", object{"Image": "busybox", "HostConfig": object{"LogConfig": object{"Type": "syslog", "Config": options}}}); a.status != 400 ||
		!strings.Contains(a.message(), "syslog-tls-ca-cert") {
		t.Errorf("a certificate that is not there: %d %s", a.status, a.body)
	}
}

// TestFullLogDisk leaves a running container's log no room: the container goes on, everything answers, inspect says what is
// wrong, and once there is room the log says what it lacks.
func TestFullLogDisk(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	id := p.create("loud", object{"Image": "busybox", "HostConfig": object{"NetworkMode": "none"},
		"Cmd": []string{"sh", "-c", "seq 100000; touch /full; while [ ! -e /room ]; do seq 100; sleep 0.01; done; echo back"}})
	folder := filepath.Join(p.Dir, "data", "containers", id)
	must := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	must("mount", "-t", "tmpfs", "-o", "size=512k", "pier-test", folder)
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			must("umount", folder)
		}
	}
	t.Cleanup(unmount)
	p.want(204, "POST", "/containers/loud/start", nil, nil)
	var state struct {
		State struct{ Status, Error string }
	}
	p.Eventually("the container to write on", func() error {
		if p.Do("pier", "exec", "loud", "test", "-e", "/full").Code != 0 {
			return errors.New("it is stuck")
		}
		return nil
	})
	p.Eventually("inspect to say so", func() error {
		p.want(200, "GET", "/containers/loud/json", nil, &state)
		if !strings.Contains(state.State.Error, "no space left on device") {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	p.want(200, "GET", "/containers/json", nil, nil)
	if a := p.want(200, "GET", "/containers/loud/logs?stdout=1&stderr=1&tail=1", nil, nil); len(a.body) < 10 || a.body[len(a.body)-1] != '\n' {
		t.Errorf("the last line: %q", a.body)
	}
	p.Eventually("pierd to say so", func() error {
		if !strings.Contains(p.Log(), "output of container is not logged, and is lost") {
			return errors.New("its log has no word of it")
		}
		return nil
	})
	must("mount", "-o", "remount,size=64m", folder)
	p.Pier("exec", "loud", "touch", "/room")
	p.want(200, "POST", "/containers/loud/wait", nil, nil)
	a := p.want(200, "GET", "/containers/loud/logs?stdout=1&stderr=1", nil, nil)
	if !strings.Contains(string(a.body), "bytes of output are missing here: no space left on device\n") || !strings.HasSuffix(string(a.body), "back\n") {
		t.Errorf("after there was room: %d bytes, ... %q", len(a.body), a.body[max(0, len(a.body)-200):])
	}
	unmount()
	p.want(204, "DELETE", "/containers/loud", nil, nil)
}
