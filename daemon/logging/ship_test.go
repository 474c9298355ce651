package logging

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver counts the lines that come in on a unix socket.
type receiver struct {
	t     *testing.T
	l     net.Listener
	lines chan string

	mu    sync.Mutex
	conns []net.Conn
}

// stop goes away, with all connections.
func (r *receiver) stop() {
	r.l.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

func listen(t *testing.T, path string) *receiver {
	t.Helper()
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, l: l, lines: make(chan string, 1000)}
	t.Cleanup(r.stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns = append(r.conns, c)
			r.mu.Unlock()
			go func() {
				for s := bufio.NewScanner(c); s.Scan(); {
					r.lines <- s.Text()
				}
			}()
		}
	}()
	return r
}

func (r *receiver) expect(from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		select {
		case got := <-r.lines:
			if !strings.HasSuffix(got, fmt.Sprintf(" web[%d]: line %d", os.Getpid(), i)) {
				r.t.Fatalf("got %q, want line %d", got, i)
			}
		case <-time.After(2 * time.Minute):
			r.t.Fatalf("line %d does not come", i)
		}
	}
	select {
	case got := <-r.lines:
		r.t.Fatalf("%q came too", got)
	case <-time.After(50 * time.Millisecond):
	}
}

// TestShipper delivers a log over the end of the shipper, of the receiver and of the container, each line once.
func TestShipper(t *testing.T) {
	dir := t.TempDir()
	path, socket := filepath.Join(dir, "log"), filepath.Join(dir, "socket")
	c, err := Parse(Syslog, map[string]string{"syslog-address": "unix://" + socket, "tag": "{{.Name}}"})
	if err != nil {
		t.Fatal(err)
	}
	subject := Subject{ContainerID: strings.Repeat("c", 64), ContainerName: "/web"}
	log := slog.New(slog.DiscardHandler)

	r := listen(t, socket)
	s := NewShipper(log)
	s.Begin("c", path, c, subject)
	write(t, path, lines(0, 100))
	r.expect(0, 100)
	s.Close()

	write(t, path, lines(100, 2000)) // while nobody is there
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	pack(t, path+".1", 300)
	write(t, path, lines(2000, 2500))
	s = NewShipper(log)
	defer s.Close()
	s.Begin("c", path, c, subject)
	r.expect(100, 2500)

	s.End("c") // and a new run
	s.Begin("c", path, c, subject)
	write(t, path, lines(2500, 2510))
	r.expect(2500, 2510)

	// Removed while the receiver is away for a moment: the last lines come all the same.
	r.stop()
	write(t, path, lines(2510, 2520))
	s.Remove("c")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, socket).expect(2510, 2520)
}
