package outside

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/kernel/link"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

const serverEnv = "PIER_PROBE_SERVER"

// TestMain is also the program that is probed, in a network namespace of its own.
func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// server is the process that is probed, and where it listens.
type server struct {
	t     *testing.T
	pid   int
	start uint64
	ports map[string]string
	end   func()
}

// newServer starts one; it ends with the test.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, ports: map[string]string{}}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serverEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() { // whose thread the process inherits the namespace from
		err := link.Isolate()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.end = func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(s.end)
	for {
		var name, port string
		if _, err := fmt.Fscanln(out, &name, &port); err != nil {
			t.Fatalf("the server does not say where it listens: %v", err)
		}
		if name == "all" {
			break
		}
		s.ports[name] = port
	}
	s.pid = cmd.Process.Pid
	if s.start, err = pidfd.StartTime(s.pid); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve is the program: it prints names and ports, and ends with its standard input.
func serve() error {
	for name, answer := range answers() {
		at := "127.0.0.1:0"
		if strings.HasSuffix(name, "6") {
			at = "[::1]:0"
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		fmt.Println(name, port)
		go answer(l)
	}
	fmt.Println("all", 0)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// answers are what listens, by name.
func answers() map[string]func(net.Listener) {
	web := func(l net.Listener) {
		_ = (&http.Server{Handler: http.HandlerFunc(page), ErrorLog: log.New(io.Discard, "", 0)}).Serve(l)
	}
	endless := func(first, then string) func(net.Listener) {
		return raw(func(c net.Conn) {
			for what := first; ; what = then {
				if _, err := io.WriteString(c, what); err != nil {
					return
				}
			}
		})
	}
	return map[string]func(net.Listener){
		"http": web, "http6": web,
		"tls": func(l net.Listener) {
			web(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}}))
		},
		"silent": raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
		"deaf": func(l net.Listener) {
			for { // it is closed when nobody has it
				time.Sleep(time.Hour)
				_ = l.Addr()
			}
		},
		"closing":  raw(func(net.Conn) {}),
		"cut":      raw(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort") }),
		"headless": endless("HTTP/1.1 200 OK\r\n", strings.Repeat("A: b\r\n", 1000)),
		"line":     endless("HTTP/1.1 200 ", strings.Repeat("x", 4000)),
		"interim":  endless("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"drip": raw(func(c net.Conn) {
			for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
				_, _ = c.Write([]byte{b})
				time.Sleep(time.Millisecond)
			}
		}),
		"reset": raw(func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }),
		"ssh":   raw(func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9\r\n") }),
		"grpc":  grpc,
	}
}

// raw serves something of its own, once a first request has come.
func raw(say func(c net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				say(c)
			}()
		}
	}
}

func page(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		fmt.Fprintf(w, "%s %s %s", r.Host[:strings.LastIndexByte(r.Host, ':')], r.URL.RawQuery, r.UserAgent())
	case "/long":
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
	case "/binary":
		_, _ = w.Write([]byte{0xff, 'a', 0xfe})
	case "/early":
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "late")
	case "/away":
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	default:
		code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
	}
}

// grpc answers by HTTP/2 what the asked service is called, in hexadecimal.
func grpc(l net.Listener) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || len(body) < 5 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		name := []byte{1<<3 | 0, 1}
		if len(body) > 5 {
			name = body[7:]
		}
		status, message := "0", name
		if text := string(name); strings.HasPrefix(text, "status") {
			status, message = text[6:], nil
		} else if text == "wrong" {
			message = []byte{0x12, 0}
		} else if len(body) > 5 {
			message, _ = hex.DecodeString(text)
		}
		if message != nil {
			_, _ = w.Write(append([]byte{0, 0, 0, 0, byte(len(message))}, message...))
		}
		w.Header().Set("Grpc-Status", status)
		w.Header().Set("Grpc-Message", "because")
	})}
	_ = s.Serve(l)
}

// certificate is one that nobody would trust: no names, long expired.
func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// test is a Test with the ports of the servers that are named in it.
func (s *server) test(words ...string) []string {
	s.t.Helper()
	for i, w := range words {
		if name, ok := between(w, "{", "}"); ok {
			if s.ports[name] == "" {
				s.t.Fatalf("no server is called %s", name)
			}
			words[i] = strings.Replace(w, "{"+name+"}", s.ports[name], 1)
		}
	}
	return words
}

func between(s, a, b string) (string, bool) {
	_, s, ok := strings.Cut(s, a)
	s, _, end := strings.Cut(s, b)
	return s, ok && end
}

// subject is the server as it is checked by test, until ctx ends.
func (s *server) subject(ctx context.Context, test ...string) *Subject {
	s.t.Helper()
	c, err := Parse(s.test(test...))
	if err != nil || c == nil {
		s.t.Fatalf("%q: %v", test, err)
	}
	return &Subject{Check: c, ID: strings.Join(test, " "), Pid: s.pid, StartTime: s.start, Within: ctx}
}

// long is a timeout that nothing which works comes near.
const long = 5 * time.Minute

func (s *server) probe(timeout time.Duration, test ...string) Answer {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var p Prober
	told := make(chan Answer, 1)
	p.Run([]Job{{Subject: s.subject(ctx, test...), Timeout: timeout, Tell: func(a Answer) { told <- a }}})
	return <-told
}

func TestAnswers(t *testing.T) {
	s := newServer(t)
	free := func() string { // where nobody listens
		p := 20000
		for slicesContain(s.ports, strconv.Itoa(p)) {
			p++
		}
		return strconv.Itoa(p)
	}()
	dir := t.TempDir()
	if err := os.Symlink("/nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		test []string
		code int
		want string // {name} for its port
	}{
		{[]string{"HTTP", "http://:{http}/200"}, 0, "GET http://:{http}/200: 200 OK"},
		{[]string{"HTTP", ":{http}/204"}, 0, "GET :{http}/204: 204 No Content"},
		{[]string{"HTTP", ":{http}/399"}, 0, "GET :{http}/399: 399"},
		{[]string{"HTTP", ":{http}/400"}, 1, "GET :{http}/400: 400 Bad Request"},
		{[]string{"HTTP", ":{http}/503"}, 1, "GET :{http}/503: 503 Service Unavailable"},
		{[]string{"HTTP", ":{http}/echo?a=b%20c"}, 0, "GET :{http}/echo?a=b%20c: 200 OK\nlocalhost a=b%20c Pier-Health/1"},
		{[]string{"HTTP", "localhost:{http}/early"}, 0, "GET localhost:{http}/early: 200 OK\nlate"},
		{[]string{"HTTP", "http://127.0.0.1:{http}/binary"}, 0, "GET http://127.0.0.1:{http}/binary: 200 OK\n\uFFFDa\uFFFD"},
		{[]string{"HTTP", ":{http}/away"}, 0, "GET :{http}/away: 302 Found\n<a href=\"http://192.0.2.1/\">Found</a>.\n\n"},
		{[]string{"HTTP", ":{http6}/echo"}, 0, "GET :{http6}/echo: 200 OK\nlocalhost  Pier-Health/1"},
		{[]string{"HTTP", "[::1]:{http6}/echo"}, 0, "GET [::1]:{http6}/echo: 200 OK\n[::1]  Pier-Health/1"},
		{[]string{"HTTP", "127.0.0.1:{http6}/echo"}, 1, "GET 127.0.0.1:{http6}/echo: connection refused"},
		{[]string{"HTTP", "https://:{tls}/echo"}, 0, "GET https://:{tls}/echo: 200 OK\nlocalhost  Pier-Health/1"},
		{[]string{"HTTP", "http://:{tls}/"}, 1, "GET http://:{tls}/: 400 Bad Request\nClient sent an HTTP request to an HTTPS server.\n"},
		{[]string{"HTTP", "https://:{http}/"}, 1, "GET https://:{http}/: tls: first record does not look like a TLS handshake"},
		{[]string{"HTTP", ":" + free + "/"}, 1, "GET :" + free + "/: connection refused"},
		{[]string{"HTTP", ":{closing}/"}, 1, "GET :{closing}/: the connection was closed without an answer"},
		{[]string{"HTTP", ":{cut}/"}, 1, "GET :{cut}/: the connection was closed within the answer"},
		{[]string{"HTTP", ":{reset}/"}, 1, "GET :{reset}/: connection reset by peer"},
		{[]string{"HTTP", ":{headless}/"}, 1, "GET :{headless}/: the answer is too long"},
		{[]string{"HTTP", ":{line}/"}, 1, "GET :{line}/: the answer is too long"},
		{[]string{"HTTP", ":{interim}/"}, 1, "GET :{interim}/: the answer is too long"},
		{[]string{"HTTP", ":{drip}/"}, 0, "GET :{drip}/: 200 OK\nok"},
		{[]string{"HTTP", ":{ssh}/"}, 1, "GET :{ssh}/: malformed HTTP response \"SSH-2.0-OpenSSH_9\""},
		{[]string{"TCP", ":{deaf}"}, 0, "TCP :{deaf}: connected"},
		{[]string{"TCP", ":{http6}"}, 0, "TCP :{http6}: connected"},
		{[]string{"TCP", ":" + free}, 1, "TCP :" + free + ": connection refused"},
		{[]string{"TCP", "192.0.2.1:80"}, 1, "TCP 192.0.2.1:80: 192.0.2.1 is no address of the container"},
		{[]string{"TCP", "[2001:db8::1]:80"}, 1, "TCP [2001:db8::1]:80: 2001:db8::1 is no address of the container"},
		{[]string{"GRPC", ":{grpc}"}, 0, "GRPC :{grpc}: SERVING"},
		{[]string{"GRPC", ":{grpc}", "0801"}, 0, "GRPC :{grpc} 0801: SERVING"},
		{[]string{"GRPC", ":{grpc}", "0802"}, 1, "GRPC :{grpc} 0802: NOT_SERVING"},
		{[]string{"GRPC", ":{grpc}", "0800"}, 1, "GRPC :{grpc} 0800: UNKNOWN"},
		{[]string{"GRPC", ":{grpc}", "0809"}, 1, "GRPC :{grpc} 0809: an answer that is no HealthCheckResponse"},
		{[]string{"GRPC", ":{grpc}", "wrong"}, 1, "GRPC :{grpc} wrong: an answer that is no HealthCheckResponse"},
		{[]string{"GRPC", ":{grpc}", "status5"}, 1, "GRPC :{grpc} status5: the server does not know the service"},
		{[]string{"GRPC", ":{grpc}", "status12"}, 1, "GRPC :{grpc} status12: the server does not have grpc.health.v1.Health"},
		{[]string{"GRPC", ":{grpc}", "status14"}, 1, "GRPC :{grpc} status14: grpc-status 14: because"},
		{[]string{"GRPC", ":{closing}"}, 1, "GRPC :{closing}:"},
		{[]string{"GRPC", ":" + free}, 1, "GRPC :" + free + ": connection refused"},
		{[]string{"FILE", "/proc/version"}, 0, "FILE /proc/version: found"},
		{[]string{"FILE", dir}, 0, "FILE " + dir + ": found"},
		{[]string{"FILE", dir + "/missing"}, 1, "FILE " + dir + "/missing: no such file or directory"},
		{[]string{"FILE", dir + "/dangling"}, 1, "FILE " + dir + "/dangling: no such file or directory"},
		{[]string{"FILE", "/etc/passwd/x"}, 1, "FILE /etc/passwd/x: not a directory"},
	} {
		got := s.probe(long, tt.test...)
		want := s.test(tt.want)[0]
		if got.Code != tt.code || got.Late || got.Err != nil || got.Output != want && !strings.HasPrefix(got.Output, want+" ") {
			t.Errorf("%q: %+v; want %d, %q", tt.test, got, tt.code, want)
		}
	}
	if got := s.probe(long, "HTTP", ":{http}/long"); got.Code != 0 || len(got.Output) > maxOutput || len(got.Output) < maxOutput-2 || !strings.HasSuffix(got.Output, "x") {
		t.Errorf("of a long answer %d bytes are kept: %+.100v", len(got.Output), got)
	}
}

func slicesContain(ports map[string]string, p string) bool {
	for _, one := range ports {
		if one == p {
			return true
		}
	}
	return false
}

// TestLate asks what never answers.
func TestLate(t *testing.T) {
	s := newServer(t)
	for _, test := range [][]string{{"HTTP", ":{silent}/"}, {"HTTP", ":{deaf}/"}, {"HTTP", "https://:{silent}/"}, {"GRPC", ":{deaf}"}} {
		if got := s.probe(50*time.Millisecond, test...); got.Code != 1 || !got.Late || got.Err != nil || !strings.HasSuffix(got.Output, ": no answer") {
			t.Errorf("%q: %+v", test, got)
		}
	}
}

// TestGiveUp ends jobs whose answer nobody wants any more, and those of a process that is gone.
func TestGiveUp(t *testing.T) {
	s := newServer(t)
	var p Prober
	told := make(chan Answer)
	for _, test := range [][]string{{"HTTP", ":{silent}/"}, {"HTTP", "https://:{silent}/"}, {"GRPC", ":{deaf}"}} {
		ctx, cancel := context.WithCancel(context.Background())
		p.Run([]Job{{Subject: s.subject(ctx, test...), Timeout: long, Tell: func(a Answer) { told <- a }}})
		cancel()
		if a := <-told; !errkind.Is(a.Err, errkind.Unavailable) {
			t.Errorf("%q, given up: %+v", test, a)
		}
	}
	tests := [][]string{{"TCP", ":{deaf}"}, {"HTTP", ":{http}/200"}, {"FILE", "/"}}
	var known []*Subject
	for _, test := range tests {
		known = append(known, s.subject(t.Context(), test...))
		p.Run([]Job{{Subject: known[len(known)-1], Timeout: long, Tell: func(a Answer) { told <- a }}})
		if a := <-told; a.Code != 0 || a.Err != nil {
			t.Errorf("%q: %+v", test, a)
		}
	}
	s.end()
	for i, test := range tests {
		for _, sub := range []*Subject{known[i], s.subject(t.Context(), test...)} {
			p.Run([]Job{{Subject: sub, Timeout: long, Tell: func(a Answer) { told <- a }}})
			if a := <-told; !errkind.Is(a.Err, errkind.Unavailable) {
				t.Errorf("%q of a process that has ended: %+v", test, a)
			}
		}
	}
}

// TestProxy has the environment name a proxy for everything.
func TestProxy(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://192.0.2.1:1")
	}
	for _, test := range [][]string{{"HTTP", ":{http}/200"}, {"HTTP", "https://:{tls}/200"}, {"GRPC", ":{grpc}"}} {
		if a := s.probe(long, test...); a.Code != 0 {
			t.Errorf("%q: %+v", test, a)
		}
	}
}

// TestOften probes well and badly behaved servers by the thousand: goroutines and descriptors stay what they were.
func TestOften(t *testing.T) {
	s := newServer(t)
	var p Prober
	told := make(chan Answer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var subjects []*Subject
	for _, test := range [][]string{{"HTTP", ":{http}/200"}, {"HTTP", ":{http}/long"}, {"HTTP", ":{http6}/200"}, {"HTTP", ":{closing}/"}, {"HTTP", ":{reset}/"},
		{"HTTP", ":{headless}/"}, {"TCP", ":{http}"}, {"GRPC", ":{grpc}"}, {"GRPC", ":{http}"}, {"FILE", "/proc"}, {"TCP", "192.0.2.1:1"}, {"HTTP", "https://:{tls}/200"}} {
		subjects = append(subjects, s.subject(ctx, test...))
	}
	round := func() {
		jobs := make([]Job, 0, 2*len(subjects))
		for _, sub := range subjects {
			for range 2 {
				jobs = append(jobs, Job{Subject: sub, Timeout: long, Tell: func(a Answer) { told <- a }})
			}
		}
		p.Run(jobs)
		for range jobs {
			<-told
		}
	}
	count := func() (goroutines, files int) {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(open)
	}
	for range 5 {
		round()
	}
	goroutines, files := count()
	for range 50 {
		round()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		g, f := count()
		if g <= goroutines+2 && f <= files+2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d descriptors, before %d and %d", g, f, goroutines, files)
		}
	}
}

// TestStuck has a look that does not return: later ones hold no thread, and go on when it has.
func TestStuck(t *testing.T) {
	s := newServer(t)
	sub := s.subject(t.Context(), "FILE", "/proc")
	var p Prober
	if _, mine := p.begin(sub.ID); !mine {
		t.Fatal("somebody looks already")
	}
	told := make(chan Answer, 1)
	job := Job{Subject: sub, Timeout: time.Millisecond, Tell: func(a Answer) { told <- a }}
	p.Run([]Job{job})
	if a := <-told; a.Code != 1 || !a.Late || a.Err != nil || !strings.HasSuffix(a.Output, ": the file system does not answer") {
		t.Errorf("%+v", a)
	}
	job.Timeout = long
	p.Run([]Job{job})
	p.end(sub.ID)
	if a := <-told; a.Code != 0 || a.Err != nil {
		t.Errorf("%+v", a)
	}
}

// TestWire reads no more than there is leave for.
func TestWire(t *testing.T) {
	w := &wire{in: bytes.NewReader(make([]byte, 100)), left: 10}
	if b, err := io.ReadAll(w); len(b) != 10 || err != errTooLong {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
