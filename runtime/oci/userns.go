package oci

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// mapping is the meeting of parent and child about a new user namespace: the child says that it is there and waits; a
// goroutine of the parent (whose thread is blocked in the clone) writes the maps and lets it go on.
type mapping struct {
	uids, gids string

	childIn, childOut   *os.File // the child's ends: it reads go-ahead, it writes that it is there
	parentIn, parentOut *os.File
	done                chan error
}

// userMaps adds the meeting, if the child gets a user namespace, and makes it root in there.
func (s *start) userMaps() error {
	if !s.newUsers {
		return nil
	}
	m := &mapping{uids: formatMaps(s.linux.UIDMappings), gids: formatMaps(s.linux.GIDMappings), done: make(chan error, 1)}
	if m.uids == "" || m.gids == "" {
		return s.fail("write", "user namespace maps", errkind.New(errkind.Invalid, "a user namespace needs uid and gid mappings"))
	}
	s.maps = m
	var err error
	if m.parentIn, m.childOut, err = os.Pipe(); err != nil {
		return s.fail("open", "pipe", err)
	}
	if m.childIn, m.parentOut, err = os.Pipe(); err != nil {
		return s.fail("open", "pipe", err)
	}
	const what = "wait for user namespace maps"
	s.write(what, "", s.File(m.childOut), "1")
	answer := new(uint64)
	// The read end must block; the parent's ends stay in the netpoller.
	s.Add(what, "", unix.SYS_FCNTL, s.File(m.childIn), spawn.Int(unix.F_SETFL), spawn.Int(0))
	s.Add("close", "", unix.SYS_CLOSE, s.File(m.parentOut))
	s.Add(what, "", unix.SYS_READ, s.File(m.childIn), spawn.Pointer(s.List, answer), spawn.Int(1))
	s.Check(what, "", spawn.Pointer(s.List, answer), 0xff, '1', unix.ECANCELED)
	s.Add("setresgid", "0", unix.SYS_SETRESGID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
	s.Add("setgroups", "", unix.SYS_SETGROUPS, spawn.Int(0), spawn.Int(0))
	s.Add("setresuid", "0", unix.SYS_SETRESUID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
	return nil
}

// formatMaps writes maps as /proc/PID/uid_map takes them (user_namespaces(7)).
func formatMaps(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// serve starts the parent's side.
func (m *mapping) serve(l *spawn.List) {
	go func() {
		var b [1]byte
		if _, err := m.parentIn.Read(b[:]); err != nil {
			m.done <- nil // the child never came so far; its own error says why
			return
		}
		pid, _ := l.Child()
		err := m.writeMaps(pid)
		if err == nil {
			b[0] = '1'
		} else {
			b[0] = '0'
		}
		_, _ = m.parentOut.Write(b[:])
		m.done <- err
	}()
}

func (m *mapping) writeMaps(pid int) error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if err := os.WriteFile(dir+"gid_map", []byte(m.gids), 0); err != nil {
		return errkind.New(errkind.Invalid, "gid mappings: %w", err)
	}
	if err := os.WriteFile(dir+"uid_map", []byte(m.uids), 0); err != nil {
		return errkind.New(errkind.Invalid, "uid mappings: %w", err)
	}
	return nil
}

// result ends the meeting and returns what went wrong in it.
func (m *mapping) result() error {
	m.childOut.Close() // a child that died leaves the goroutine at the end of file
	m.childOut = nil
	return <-m.done
}

func (m *mapping) close() {
	for _, f := range []*os.File{m.childIn, m.childOut, m.parentIn, m.parentOut} {
		if f != nil {
			f.Close()
		}
	}
}
