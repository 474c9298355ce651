package link

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// TestCalls calls into this program's own namespace.
func TestCalls(t *testing.T) {
	self, err := pidfd.Open(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	calls := []Call{
		{Process: self, To: at, Say: []byte("hello")},
		{Process: self, To: netip.MustParseAddrPort("192.0.2.1:80")},
		{Process: self, To: at},
	}
	home := namespace(t)
	PlaceCalls(calls)
	if now := namespace(t); now != home {
		t.Errorf("in %s, was in %s", now, home)
	}
	for i, want := range []string{"hello", "", ""} {
		c := &calls[i]
		if i == 1 {
			if !errkind.Is(c.Err, errkind.Invalid) {
				t.Errorf("a foreign address: %v", c.Err)
			}
			continue
		}
		if c.Err != nil || !c.Connected {
			t.Fatalf("%+v", c)
		}
		other, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := other.Read(got); err != nil && want != "" || string(got) != want {
			t.Errorf("said %q, %v", got, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(c.fd, &st); err != nil || st.Uid != nobody {
			t.Errorf("the socket belongs to %d, %v", st.Uid, err)
		}
		if i == 0 {
			_ = c.Conn().Close()
		} else {
			c.Drop()
		}
		_ = other.Close()
	}
}

func namespace(t *testing.T) string {
	t.Helper()
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestCallItself has the kernel choose the port that is called for the caller, as it may where nobody listens.
func TestCallItself(t *testing.T) {
	self, err := pidfd.Open(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	fd, err := socket("tcp", unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, own); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	if there, err := reached(fd); there || !Refused(err) {
		t.Errorf("connected to itself: %v, %v", there, err)
	}
	port := strconv.Itoa(own.(*unix.SockaddrInet4).Port)
	calls := []Call{{Process: self, To: netip.MustParseAddrPort("127.0.0.2:" + port)}}
	PlaceCalls(calls)
	if !Refused(calls[0].Err) {
		t.Errorf("where nobody listens: %+v", calls[0])
	}
}
