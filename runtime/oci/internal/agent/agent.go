// Package agent hands seccomp listeners to the agent that answers their calls (runtime-spec config-linux.md "Seccomp").
//
// Start reading at Agent.Deliver.
package agent

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Agent is a connection to who answers the calls of one process.
type Agent struct {
	conn     *net.UnixConn
	metadata string
	state    specs.State
}

// Dial connects to the agent that a profile names, which gets state, the container's. The caller closes it.
func Dial(p *specs.LinuxSeccomp, state specs.State) (*Agent, error) {
	if !filepath.IsAbs(p.ListenerPath) {
		return nil, errkind.New(errkind.Invalid, "listenerPath %q is not absolute", p.ListenerPath)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: p.ListenerPath, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return &Agent{conn: conn, metadata: p.ListenerMetadata, state: state}, nil
}

// Close ends the connection. Further calls do nothing.
func (a *Agent) Close() { _ = a.conn.Close() }

// sendLimit bounds how long an agent may keep a start waiting.
const sendLimit = 10 * time.Second

// Deliver waits until the process has its listener, takes it and sends it to the agent. That pid ends before is no error:
// its own says why. pid is a child that nobody reaps meanwhile.
func (a *Agent) Deliver(pid int) error {
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(child)
	number := -1
	for number < 0 {
		if number, err = find(pid); err != nil {
			return err
		}
		p := []unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 1); n > 0 {
			return nil
		}
	}
	fd, err := unix.PidfdGetfd(child, number, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	defer unix.Close(fd)
	if a.state.Pid == 0 {
		a.state.Pid = pid
	}
	body, err := json.Marshal(specs.ContainerProcessState{Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid,
		Metadata: a.metadata, State: a.state})
	if err != nil {
		return err
	}
	if err := a.conn.SetWriteDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	n, _, err := a.conn.WriteMsgUnix(body, unix.UnixRights(fd), nil)
	for err == nil && n < len(body) {
		body = body[n:]
		n, err = a.conn.Write(body)
	}
	if err != nil {
		return errkind.New(errkind.Unavailable, "send the seccomp listener: %w", err)
	}
	return a.conn.Close()
}

// find returns the number of pid's seccomp listener, -1 while there is none.
func find(pid int) (int, error) {
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
