package security

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

// TestSystemCalls tries system calls that the default filter or the missing capabilities must refuse, with numbers whose
// upper half is set too (CVE-2022-0185 and other holes of the kernel; AF_ALG: CVE-2026-31431).
func TestSystemCalls(t *testing.T) {
	w := start(t)
	path := filepath.Join(w.Dir, "probe")
	build := exec.Command("go", "build", "-o", path, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, args := range map[string][]string{"root": nil, "user": {"-u", "app"}, "nnp": {"--security-opt", "no-new-privileges"}} {
		w.sub(name, func(w *world) {
			if out := w.output(append(args, "-v", path+":/probe:ro", "busybox", "/probe")...); out != "" {
				w.t.Error(out)
			}
		})
	}
	w.background("target", "-v", path+":/probe:ro", "busybox", "sleep", "1000")
	if out := w.pier("exec", "target", "/probe"); out != "" {
		t.Errorf("exec: %s", out)
	}
}

// TestNetworkIsolation looks at a container's network from inside and from a neighbour (CVE-2020-10749, CVE-2020-13401,
// CVE-2024-32473, CVE-2024-29018, CVE-2025-67499).
func TestNetworkIsolation(t *testing.T) {
	w := start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.check(err)
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(secret))
			_ = c.Close()
		}
	}()
	_, local, _ := net.SplitHostPort(listener.Addr().String())
	published := strconv.Itoa(lab.FreePorts(t, 1))

	w.Pier("run", "-d", "--name", "server", "-p", "127.0.0.1:"+published+":80", "busybox", "nc", "-ll", "-p", "80", "-e", "echo", "served")
	t.Cleanup(func() { w.Do("pier", "rm", "-f", "server") })
	w.Eventually("the published port on the host's loopback", func() error {
		c, err := net.DialTimeout("tcp", "127.0.0.1:"+published, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	script := fmt.Sprintf(`
for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do case $f in */lo/*|*/all/*) ;; *) [ "$(cat $f)" = 1 ] || echo "$f $(cat $f)";; esac; done
for f in /proc/sys/net/ipv6/conf/*/accept_ra; do [ "$(cat $f)" = 0 ] || case $f in */lo/*|*/all/*) ;; *) echo "$f $(cat $f)";; esac; done
ip -6 addr 2>/dev/null | grep fe80
gw=$(ip route | grep default | cut -d' ' -f3)
for a in $gw 127.0.0.1; do for p in %s %s; do [ -z "$(nc -w 1 $a $p </dev/null 2>/dev/null)" ] || echo "reached $a:$p"; done; done
ip route add 127.0.0.2 via $gw 2>/dev/null && echo "changed routes"
:`, local, published)
	r := w.Do("pier", "run", "--rm", "busybox", "sh", "-c", script)
	if r.Code != 0 || strings.TrimSpace(r.Out) != "" {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Out, r.Err)
	}
	// From another host the address would be one of ours, not of loopback.
	addrs, err := net.InterfaceAddrs()
	w.check(err)
	for _, a := range addrs {
		ip, _, _ := net.ParseCIDR(a.String())
		if ip == nil || ip.IsLoopback() || ip.To4() == nil {
			continue
		}
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), published), time.Second); err == nil {
			_ = c.Close()
			t.Errorf("what is published on 127.0.0.1 answers on %s", ip)
		}
	}
}
