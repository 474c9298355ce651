package oci

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// serveAgent plays an agent: it answers every mkdir that is handed on with EDOM, and says what it was told.
func serveAgent(t *testing.T, socket string) <-chan specs.ContainerProcessState {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	told := make(chan specs.ContainerProcessState, 16)
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			body, oob := make([]byte, 1<<16), make([]byte, 64)
			n, k, _, _, _ := conn.ReadMsgUnix(body, oob)
			var state specs.ContainerProcessState
			_ = json.Unmarshal(body[:n], &state)
			messages, _ := unix.ParseSocketControlMessage(oob[:k])
			told <- state
			if len(messages) == 1 {
				fds, _ := unix.ParseUnixRights(&messages[0])
				go answer(fds[0])
			}
		}
	}()
	return told
}

func answer(listener int) {
	defer unix.Close(listener)
	const receive, send = 0xc0502100, 0xc0182101 // SECCOMP_IOCTL_NOTIF_RECV and _SEND
	for {
		p := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR || p[0].Revents&unix.POLLHUP != 0 {
			return
		}
		var call [80]byte
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), receive, uintptr(unsafe.Pointer(&call))); errno != 0 {
			continue
		}
		reply := struct {
			id    uint64
			val   int64
			error int32
			flags uint32
		}{id: *(*uint64)(unsafe.Pointer(&call)), error: -int32(unix.EDOM)}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), send, uintptr(unsafe.Pointer(&reply)))
	}
}

// A profile hands calls to an agent: those of the first process, started in one or two steps, and of execs in both ways.
func TestSeccompListener(t *testing.T) {
	for _, newPrivs := range []bool{false, true} {
		socket := filepath.Join(t.TempDir(), "agent")
		told := serveAgent(t, socket)
		c := testContainer(t, "sh", "-c", "busybox mkdir /tmp/x 2> /out; exec sleep 1000")
		c.Spec.Process.NoNewPrivileges = !newPrivs
		c.Spec.Annotations = map[string]string{"a": "b"}
		c.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: socket, ListenerMetadata: "meta",
			Flags:    []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, specs.LinuxSeccompFlagLog},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}}}
		check := func(what string, pid int, status specs.ContainerState) {
			t.Helper()
			s := <-told
			if s.Pid == 0 || pid != 0 && s.State.Pid != pid || s.State.Status != status || s.Metadata != "meta" || s.State.ID != c.ID ||
				s.State.Annotations["a"] != "b" || len(s.Fds) != 1 || s.Fds[0] != specs.SeccompFdName || s.Version != specs.Version {
				t.Errorf("%s: the agent was told %+v", what, s)
			}
		}
		p := running(t, c)
		check("start", p.Pid, specs.StateCreating)
		for _, faster := range []bool{false, true} {
			e := execConfig(c, p, "busybox", "mkdir", "/tmp/y")
			e.NoTracers = faster
			out, status := execOutput(t, e)
			if status.Code == 0 || !strings.Contains(out, "out of domain") {
				t.Errorf("exec: %+v, %s", status, out)
			}
			check("exec", p.Pid, specs.StateRunning)
		}

		c2 := testContainer(t, "busybox", "mkdir", "/tmp/x")
		c2.Spec.Linux.Seccomp, c2.Gate, c2.Spec.Process.NoNewPrivileges = c.Spec.Linux.Seccomp, t.TempDir(), !newPrivs
		prepared, err := Create(t.Context(), c2)
		if err != nil {
			t.Fatal(err)
		}
		if s := <-told; s.State.ID != c2.ID || s.Pid != prepared.Pid {
			t.Errorf("create: the agent was told %+v", s)
		}
		if err := prepared.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if status := reapAll(t, &prepared.Process); status.Code != 1 {
			t.Errorf("create: status %+v", status)
		}
	}
	c := testContainer(t, "true")
	c.Spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/nowhere",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
	refuses(t, c, errkind.NotFound, "/nowhere")
	c.Spec.Linux.Seccomp.ListenerPath = ""
	refuses(t, c, errkind.Invalid, "needs a listenerPath")
}
