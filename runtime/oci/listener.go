package oci

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// listener is the way of a seccomp listener to the agent that answers it (runtime-spec config-linux.md "Seccomp"):
//
//	child                                   parent (in the meeting)             agent
//	-----                                   -----------------------             -----
//	"I am about to" ----------------------> look into the child's table
//	seccomp: its result is the listener     until a listener is there, take it
//	  (from here on any of its calls        send state and listener ----------> listenerPath
//	  may wait for the agent)
//	read <--------------------------------- done
//
// The parent asks nothing of the child meanwhile: whatever the profile hands on, none waits for the other.
type listener struct {
	*meeting
	conn     *net.UnixConn
	metadata string
	state    specs.State
}

// openListener connects to the agent, before anything is done for the container.
func (t *task) openListener(p *specs.LinuxSeccomp, state specs.State) error {
	if !filepath.IsAbs(p.ListenerPath) {
		return t.fail("connect to", "seccomp listener", errkind.New(errkind.Invalid, "listenerPath %q is not absolute", p.ListenerPath))
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: p.ListenerPath, Net: "unix"})
	if err != nil {
		return t.fail("connect to seccomp listener", p.ListenerPath, err)
	}
	l := &listener{conn: conn, metadata: p.ListenerMetadata, state: state}
	t.listener = l
	l.meeting, err = t.arrange("seccomp listener", l.deliver)
	return err
}

// leave adds what the child does when the filter is loaded. Then it closes what it had for the meeting.
func (l *listener) leave(b *builder) {
	l.await(b)
	for _, fd := range l.descriptors() {
		b.Add("close", "", unix.SYS_CLOSE, spawn.Int(fd)).Tolerate()
	}
}

// descriptors are what the child needs until then.
func (l *listener) descriptors() []int { return []int{fdOf(l.childIn), fdOf(l.childOut)} }

// sendLimit bounds how long an agent may keep a start waiting.
const sendLimit = 10 * time.Second

// deliver takes the listener from the child and sends it to the agent.
func (l *listener) deliver(pid int) error {
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(child)
	number := -1
	for number < 0 {
		if number, err = findListener(pid); err != nil {
			return err
		}
		p := []unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 1); n > 0 {
			return nil // it has ended, and its own error says why
		}
	}
	fd, err := unix.PidfdGetfd(child, number, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	defer unix.Close(fd)
	if l.state.Pid == 0 {
		l.state.Pid = pid
	}
	body, err := json.Marshal(specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid,
		Metadata: l.metadata, State: l.state})
	if err != nil {
		return err
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	n, _, err := l.conn.WriteMsgUnix(body, unix.UnixRights(fd), nil)
	for err == nil && n < len(body) {
		body = body[n:]
		n, err = l.conn.Write(body)
	}
	if err != nil {
		return errkind.New(errkind.Unavailable, "send the seccomp listener: %w", err)
	}
	return l.conn.Close()
}

// findListener returns the number of pid's seccomp listener, -1 while there is none.
func findListener(pid int) (int, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return -1, err
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && to == "anon_inode:seccomp notify" {
			return strconv.Atoi(e.Name())
		}
	}
	return -1, nil
}
