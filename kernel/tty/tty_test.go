package tty

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestPair(t *testing.T) {
	pts, err := Instance(map[string]string{"mode": "0620"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pts.Close()
	for number := range 2 {
		p, err := Open(pts)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if p.Number != number {
			t.Errorf("number %d, want %d: the devpts is not our own", p.Number, number)
		}
		if err := SetSize(p.Master, 132, 43); err != nil {
			t.Fatal(err)
		}
		if w, h, err := Size(p.Slave); w != 132 || h != 43 || err != nil {
			t.Errorf("size %d %d %v", w, h, err)
		}
		state, err := MakeRaw(p.Slave)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Slave.WriteString("a\nb\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := io.ReadFull(p.Master, buf); err != nil || string(buf) != "a\nb\n" {
			t.Errorf("raw output %q %v", buf, err)
		}
		if err := Restore(p.Slave, state); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSend(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sent := make(chan error, 1)
	go func() { sent <- Send(socket, w); w.Close() }()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := Receive(conn)
	if err != nil || <-sent != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("here"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, err := io.ReadAll(r); !bytes.Equal(got, []byte("here")) {
		t.Errorf("%q %v", got, err)
	}
}
