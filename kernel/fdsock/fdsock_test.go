package fdsock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

func pair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Conn
	for i, n := range fds {
		f := os.NewFile(uintptr(n), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = NewConn(c.(*net.UnixConn))
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

func TestFramesAndFiles(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	big := bytes.Repeat([]byte("0123456789"), 1<<17) // more than a socket's buffer
	go func() {
		_ = a.Send([]byte("one"))
		_ = a.Send(big, w, w)
		_ = a.Send(nil, w)
		_ = a.Send([]byte("last"))
		w.Close()
		a.Close()
	}()
	for i, want := range []struct {
		payload string
		files   int
	}{{"one", 0}, {string(big), 2}, {"", 1}, {"last", 0}} {
		payload, files, err := b.Receive(2 << 20)
		if err != nil || string(payload) != want.payload || len(files) != want.files {
			t.Fatalf("frame %d: %d bytes, %d files, %v", i, len(payload), len(files), err)
		}
		for _, f := range files {
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("a received file stays open across exec (%v)", err)
			}
			if _, err := f.WriteString("x"); err != nil {
				t.Error(err)
			}
			f.Close()
		}
	}
	if _, _, err := b.Receive(100); err != io.EOF {
		t.Errorf("after the last frame: %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "xxx" {
		t.Errorf("the pipe got %q, %v", got, err)
	}
}

func TestBadFrames(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(make([]byte, 101), os.Stdin); err != nil {
		t.Fatal(err)
	}
	if _, files, err := b.Receive(100); !errkind.Is(err, errkind.Invalid) || files != nil {
		t.Errorf("too long a frame: %v", err)
	}
	a, b = pair(t)
	if _, err := a.NetConn().Write([]byte{0, 0, 0, 9, 'x'}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, _, err := b.Receive(100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a frame: %v", err)
	}
	a, _ = pair(t)
	if err := a.Send(nil, make([]*os.File, MaxFiles+1)...); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("too many files: %v", err)
	}
}

func TestPeerCred(t *testing.T) {
	a, _ := pair(t)
	pid, uid, gid, err := PeerCred(a.NetConn())
	if err != nil || pid != os.Getpid() || uid != os.Getuid() || gid != os.Getgid() {
		t.Errorf("PeerCred = %d %d %d, %v", pid, uid, gid, err)
	}
}

func TestUnread(t *testing.T) {
	ca, cb := pair(t)
	a, b := ca.NetConn(), cb.NetConn()
	want := func(when string, unread bool) {
		t.Helper()
		if got, err := Unread(a); err != nil || got != unread {
			t.Fatalf("%s: unread = %v, %v", when, got, err)
		}
	}
	want("at first", false)
	_, _ = a.Write([]byte("head"))
	want("written", true)
	_, _ = io.ReadFull(b, make([]byte, 3))
	want("read in part", true)
	_, _ = io.ReadFull(b, make([]byte, 1))
	want("read", false)
	_, _ = a.Write([]byte("more"))
	_ = b.Close()
	want("the reader is gone", false)
}
