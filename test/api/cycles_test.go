package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAttachCycles attaches two thousand times to containers with and without a terminal and leaves in all ways there
// are. Goroutines, descriptors of both processes and memory of pierd stay as they were.
func TestAttachCycles(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	for name, terminal := range map[string]bool{"pipes": false, "terminal": true} {
		body := object{"Image": "busybox", "Cmd": []string{"sh", "-c", "while true; do echo line; sleep 0.05; done"}, "StopSignal": "SIGKILL",
			"OpenStdin": true, "Tty": terminal, "HostConfig": object{"NetworkMode": "none"}}
		p.create(name, body)
		p.want(204, "POST", "/containers/"+name+"/start", nil, nil)
	}
	type usage struct{ NFd, NGoroutines, supervisor int }
	count := func() (u usage) {
		p.http.CloseIdleConnections()
		p.want(200, "GET", "/info", nil, &u)
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Supervisor()))
		if err != nil {
			t.Fatal(err)
		}
		u.supervisor = len(files)
		return u
	}
	memory := func() (kib int) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(status), "RssAnon:")
		kib, _ = strconv.Atoi(strings.Fields(after)[0])
		return kib
	}
	cycle := func(i int) error {
		conn, err := net.Dial("unix", p.Socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
		name := []string{"pipes", "terminal"}[i%2]
		_, _ = fmt.Fprintf(conn, "POST %s/containers/%s/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: pierd\r\nConnection: Upgrade\r\n"+
			"Upgrade: tcp\r\nContent-Length: 0\r\n\r\n", p.version, name)
		head := make([]byte, 256)
		switch i / 2 % 4 {
		case 0: // at once
			return nil
		case 1: // with the head
		case 2: // after half a close
			if _, err := conn.Read(head); err != nil {
				return err
			}
			return conn.(*net.UnixConn).CloseWrite()
		case 3: // by the detach keys, which count in a terminal
			if _, err := conn.Write([]byte{16, 17}); err != nil {
				return err
			}
			if name == "terminal" {
				_, err := io.Copy(io.Discard, conn)
				return err
			}
		}
		_, err = conn.Read(head)
		return err
	}
	cycles := func(n int) {
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				for i := w; i < n; i += 8 {
					if err := cycle(i); err != nil {
						t.Errorf("cycle %d: %v", i, err)
					}
				}
			})
		}
		all.Wait()
	}
	cycles(200)
	time.Sleep(time.Second)
	before, kib := count(), memory()
	cycles(2000)
	p.Eventually("goroutines and descriptors to go", func() error {
		if after := count(); after.NFd > before.NFd+8 || after.NGoroutines > before.NGoroutines+8 || after.supervisor > before.supervisor+8 {
			return fmt.Errorf("before %+v, after %+v", before, after)
		}
		return nil
	})
	// pierd gives memory back when nobody has asked for anything for some seconds.
	p.Eventually("memory to be given back", func() error {
		if now := memory(); now > kib+16<<10 {
			return fmt.Errorf("before %d KiB, after %d KiB", kib, now)
		}
		return nil
	})
}

// TestInputWhole pipes 256 MiB of noise into a container, by pier and by docker, with the stream's end as its only end.
func TestInputWhole(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	const size = 256 << 20
	for _, program := range []string{"pier", "docker"} {
		t.Run(program, func(t *testing.T) {
			sum := sha256.New()
			noise := rand.NewChaCha8([32]byte{1})
			cmd := p.Command(program, "run", "--rm", "-i", "--network", "none", "busybox", "sha256sum")
			cmd.Stdin = io.TeeReader(io.LimitReader(noise, size), sum)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := hex.EncodeToString(sum.Sum(nil)) + "  -\n"; string(out) != want {
				t.Errorf("sum = %q, want %q", out, want)
			}
		})
	}
	// The other way: binary output, taken slowly, comes whole.
	sum := sha256.New()
	_, _, in := p.hijack("/containers/"+p.create("source", object{"Image": "busybox", "Tty": false, "AttachStdout": true,
		"Cmd":        []string{"sh", "-c", "i=0; while [ $i -lt 64 ]; do dd if=/bin/busybox bs=64k count=8 2>/dev/null; i=$((i+1)); done"},
		"HostConfig": object{"NetworkMode": "none", "LogConfig": object{"Type": "none"}}})+"/attach?stream=1&stdout=1", true, nil)
	p.want(204, "POST", "/containers/source/start", nil, nil)
	time.Sleep(500 * time.Millisecond) // the container waits for its reader
	head, whole := make([]byte, 8), 0
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			break
		}
		n := int(head[4])<<24 | int(head[5])<<16 | int(head[6])<<8 | int(head[7])
		if _, err := io.CopyN(sum, in, int64(n)); err != nil {
			t.Fatal(err)
		}
		whole += n
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.New()
	for range 64 {
		want.Write(program[:min(len(program), 8<<16)])
	}
	if hex.EncodeToString(sum.Sum(nil)) != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("of %d bytes came %d, or others", 64*min(len(program), 8<<16), whole)
	}
}
