package security

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLimits sends what is too large, too slow or never ends, and wants pierd to go on with the same memory, goroutines and
// descriptors (CVE-2022-23471, CVE-2022-31030, CVE-2025-64329, CVE-2023-2253, CVE-2025-4437).
func TestLimits(t *testing.T) {
	w := start(t)
	w.background("talks", "busybox", "sh", "-c", "while :; do head -c 100000 /dev/zero | tr '\\0' x; sleep 0.01; done")
	w.background("idle", "-i", "busybox", "cat")
	w.sub("bodies", func(w *world) {
		huge := `{"Image":"busybox","Env":["` + strings.Repeat("x", 64<<20) + `"]}`
		status, _, err := w.raw("POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(huge)) + "\r\n\r\n" + huge)
		if err == nil && status < 400 {
			w.t.Errorf("a huge body: %d", status)
		}
		deep := strings.Repeat(`{"a":`, 100000)
		if status, _ := w.request("POST", "/containers/create", strings.NewReader(deep)); status < 400 || status >= 500 {
			w.t.Errorf("deep JSON: %d", status)
		}
		if status, _, err := w.raw("GET /_ping HTTP/1.1\r\nHost: x\r\n" + "X: " + strings.Repeat("y", 4<<20) + "\r\n\r\n"); err == nil && status < 400 {
			w.t.Errorf("a huge header: %d", status)
		}
		for _, path := range []string{"/containers/json?filters=" + strings.Repeat("%7B%22a%22:", 10000), "/containers/json?limit=99999999999999999999", "/containers/talks/logs?stdout=1&tail=99999999999999999999",
			"/containers/talks/logs?stdout=1&tail=-5", "/events?since=x", "/containers/talks/top?ps_args=-o%20pid,$(id)", "/containers/talks/resize?h=-1&w=70000", "/containers/talks/stats?stream=0&one-shot=x", "/images/json?filters=%7B%22before%22:%5B%22../x%22%5D%7D"} {
			if status, text := w.request("GET", path, nil); status >= 500 && status != 501 {
				w.t.Errorf("GET %s: %d %s", path, status, text)
			}
		}
	})
	w.sub("slow", func(w *world) { // pierd serves others while many clients send half a request
		var conns []net.Conn
		for range 200 {
			c, err := net.Dial("unix", w.Socket)
			w.check(err)
			_, _ = io.WriteString(c, "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
			conns = append(conns, c)
		}
		if status, _ := w.request("GET", "/_ping", nil); status != 200 {
			w.t.Errorf("ping: %d", status)
		}
		for _, c := range conns { // so the answer has waited for none of them
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				w.t.Errorf("half a request is over: %d, %v", n, err)
			}
			_ = c.Close()
		}
	})
	w.sub("attach and leave", func(w *world) {
		leave := func(n int) {
			var all sync.WaitGroup
			for i := range n {
				path := []string{"/containers/talks/attach?stream=1&stdout=1", "/containers/idle/attach?stream=1&stdin=1&stdout=1", "/containers/talks/logs?follow=1&stdout=1", "/events", "/containers/idle/stats", "/containers/idle/wait"}[i%6]
				method := "POST"
				if i%6 > 1 && i%6 < 5 {
					method = "GET"
				}
				all.Go(func() {
					c, err := net.Dial("unix", w.Socket)
					if err != nil {
						w.t.Error(err)
						return
					}
					defer c.Close()
					_, _ = io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
					_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
					_, _ = io.CopyN(io.Discard, c, 512)
				})
				if i%20 == 19 {
					all.Wait()
				}
			}
			all.Wait()
		}
		leave(120)
		time.Sleep(time.Second)
		files, goroutines := len(w.files()), w.goroutines()
		memory := w.memory(w.Pid())
		leave(600)
		w.Eventually("descriptors as before", func() error {
			if n := len(w.files()); n > files+10 {
				return fmt.Errorf("%d, were %d", n, files)
			}
			return nil
		})
		w.Eventually("goroutines as before", func() error {
			if n := w.goroutines(); n > goroutines+10 {
				return fmt.Errorf("%d, were %d", n, goroutines)
			}
			return nil
		})
		w.Eventually("memory as before", func() error { // garbage is collected now and then, and given back at rest
			if m := w.memory(w.Pid()); m > memory+10<<10 {
				return fmt.Errorf("%d KiB, were %d", m, memory)
			}
			return nil
		})
	})
	w.sub("output", func(w *world) { // a reader that reads nothing, and a line without an end
		before := w.memory(w.Pid()) + w.memory(w.Supervisor())
		c, err := net.Dial("unix", w.Socket)
		w.check(err)
		defer c.Close()
		_, _ = io.WriteString(c, "POST /containers/talks/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		r := w.run("--log-opt", "max-size=1m", "busybox", "sh", "-c", "head -c 64000000 /dev/zero | tr '\\0' y")
		if r.Code != 0 || len(r.Out) != 64000000 {
			w.t.Errorf("exit code %d, %d bytes, %s", r.Code, len(r.Out), r.Err)
		}
		if after := w.memory(w.Pid()) + w.memory(w.Supervisor()); after > before+64<<10 {
			w.t.Errorf("%d KiB, were %d", after, before)
		}
	})
	if strings.Contains(w.Log(), "panic") {
		t.Error("something panicked")
	}
}

// raw sends bytes and returns the status of the answer.
func (w *world) raw(data string) (int, string, error) {
	c, err := net.Dial("unix", w.Socket)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	go func() { _, _ = io.WriteString(c, data) }()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	var status int
	_, err = fmt.Sscanf(line, "HTTP/1.1 %d", &status)
	return status, line, err
}

// memory is what a process has resident, in KiB.
func (w *world) memory(pid int) (kb int) {
	_, _ = fmt.Sscan(strings.TrimSuffix(w.status(pid)["VmRSS"], " kB"), &kb)
	return kb
}

func (w *world) goroutines() int {
	_, text := w.request("GET", "/info", nil)
	var info struct{ NGoroutines int }
	w.check(json.Unmarshal([]byte(text), &info))
	return info.NGoroutines
}

// TestOtherUsers looks at pierd's folders and sockets as a user of the host without rights (CVE-2021-41091, CVE-2021-41103,
// CVE-2024-25621, CVE-2020-15257).
func TestOtherUsers(t *testing.T) {
	w := start(t)
	w.image("suid", nil, entry{name: "bin/suid", body: "x", mode: 0o6755}, text("secret", "x"))
	data := w.volume("vol")
	w.check(os.WriteFile(filepath.Join(data, "suid"), []byte("x"), 0o755))
	w.background("other", "-v", "vol:/v", "suid", "sh", "-c", "echo of the container; sleep 1000")
	if err := os.Chmod(w.Dir, 0o755); err != nil { // the lab's own folder is closed
		t.Fatal(err)
	}
	w.check(os.MkdirAll(filepath.Join(w.Dir, "seen"), 0o755)) // what is to be seen, so that the script is known to work
	w.check(os.WriteFile(filepath.Join(w.Dir, "seen", "file"), []byte("seen"), 0o644))
	if out := w.asNobody("cat " + w.Dir + "/seen/file"); out != "seen" {
		t.Fatalf("the other user reads %q", out)
	}
	script := "cd " + w.Dir + "/data && ls layers/* images/* containers/* volumes/* build/* 2>/dev/null; cat pier.db; cd " + w.Dir + "/run && ls tasks; cat supervisor.log volatile.db tasks/*/*; ls " + data + "/.."
	for _, p := range []string{"find " + w.Dir + "/data " + w.Dir + "/run -name '*suid*' -o -name 'secret' -o -name '*.log' -readable"} {
		script += "; " + p
	}
	out := w.asNobody(script)
	if out != "" {
		t.Errorf("another user reads: %s", out)
	}
	for _, socket := range []string{"pier.sock", "supervisor.sock"} {
		if out := w.asNobody("/bin/busybox nc -w 1 local:" + w.Dir + "/run/" + socket + " < /dev/null && echo connected"); out != "" {
			t.Errorf("another user connects to %s: %s", socket, out)
		}
	}
	err := filepath.WalkDir(filepath.Join(w.Dir, "run"), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := e.Info()
		if err == nil && info.Mode()&os.ModeSymlink == 0 && info.Mode().Perm()&0o002 != 0 {
			t.Errorf("all may write to %s: %s", p, info.Mode())
		}
		return nil
	})
	w.check(err)
	w.check(os.Chmod(w.Dir, 0o700))
}

// asNobody runs a shell command as user and group 65534 and returns its output.
func (w *world) asNobody(script string) string {
	cmd := w.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run()
	return out.String()
}

// TestAbstractSockets looks for sockets that a container in the host's network could connect to (CVE-2020-15257).
func TestAbstractSockets(t *testing.T) {
	w := start(t)
	own := map[string]bool{}
	for _, pid := range []int{w.Pid(), w.Supervisor()} {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		w.check(err)
		for _, e := range list {
			link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
			if m := regexp.MustCompile(`socket:\[(\d+)\]`).FindStringSubmatch(link); m != nil {
				own[m[1]] = true
			}
		}
	}
	table := w.output("--network", "host", "busybox", "cat", "/proc/net/unix")
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 7 && own[f[6]] && strings.HasPrefix(f[7], "@") && f[3] == "00010000" {
			t.Errorf("pierd listens on an abstract socket: %s", line)
		}
	}
}

// TestSecrets looks for credentials and environment where they do not belong (CVE-2019-13509, CVE-2021-21334, CVE-2020-14370).
func TestSecrets(t *testing.T) {
	w := start(t, "--debug")
	const password = "hunter-two"
	w.output("-e", "PASSWORD="+password, "busybox", "true")
	auth := "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Imh1bnRlci10d28ifQ=="
	_, _, _ = w.raw("POST /images/create?fromImage=127.0.0.1:1/x&tag=y HTTP/1.1\r\nHost: x\r\nX-Registry-Auth: " + auth + "\r\nContent-Length: 0\r\n\r\n")
	w.build("buildargs=%7B%22PASSWORD%22:%22"+password+"%22%7D", "FROM busybox\nARG PASSWORD\nRUN true\n")
	if log := w.Log(); strings.Contains(log, password) || strings.Contains(log, auth) {
		t.Errorf("the log tells a secret:\n%s", log)
	}
	if out := w.output("busybox", "env"); strings.Contains(out, password) {
		t.Errorf("another container's environment: %s", out)
	}
	for _, pid := range []int{w.Pid(), w.Supervisor()} {
		for _, file := range []string{"environ", "cmdline"} {
			if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)); strings.Contains(string(b), password) {
				t.Errorf("%s of process %d tells a secret", file, pid)
			}
		}
	}
	_, inspected := w.request("GET", "/images/built/json", nil)
	if strings.Contains(inspected, password) {
		t.Errorf("the built image's configuration tells a secret: %s", inspected)
	}
}
