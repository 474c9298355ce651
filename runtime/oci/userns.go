package oci

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// userMaps adds the meeting at which the parent writes the maps of the child's new user namespace.
func (s *start) userMaps() error {
	uids, gids := formatMaps(s.uids), formatMaps(s.gids)
	if uids == "" || gids == "" {
		return s.fail("write", "user namespace maps", errkind.New(errkind.Invalid, "a user namespace needs uid and gid mappings"))
	}
	return s.meet("user namespace maps", func(pid int) error { return writeMaps(pid, uids, gids) })
}

// becomeRoot makes the child root in a user namespace.
func (t *task) becomeRoot() {
	t.Add("setresgid", "0", unix.SYS_SETRESGID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
	t.Add("setgroups", "", unix.SYS_SETGROUPS, spawn.Int(0), spawn.Int(0))
	t.Add("setresuid", "0", unix.SYS_SETRESUID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
}

// formatMaps writes maps as /proc/PID/uid_map takes them (user_namespaces(7)).
func formatMaps(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// writeMaps is called while the child waits: its number is its own.
func writeMaps(pid int, uids, gids string) error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if err := os.WriteFile(dir+"gid_map", []byte(gids), 0); err != nil {
		return errkind.New(errkind.Invalid, "gid mappings: %w", err)
	}
	if err := os.WriteFile(dir+"uid_map", []byte(uids), 0); err != nil {
		return errkind.New(errkind.Invalid, "uid mappings: %w", err)
	}
	return nil
}

// visit runs a process that does what prepare adds to its list, and work while it waits afterwards.
func (s *start) visit(flags uintptr, prepare func(*builder), work func(pid int) error) error {
	t := &task{builder: newBuilder(callsToStart), id: s.id}
	defer t.close()
	prepare(t.builder)
	done := false
	if err := t.meet("its visitor", func(pid int) error {
		done = true
		return work(pid)
	}); err != nil {
		return err
	}
	t.opts.Flags = flags
	for _, m := range t.meetings {
		m.serve(t.List)
	}
	_, err := t.Run(t.opts) // it ends with its list: that is no failure
	for _, m := range t.meetings {
		if failed := m.result(); failed != nil {
			return failed
		}
	}
	if done {
		return nil
	}
	return err
}

// newUserNamespace makes a user namespace without a process. The caller closes it.
func (s *start) newUserNamespace(uids, gids []specs.LinuxIDMapping) (ns *os.File, err error) {
	err = s.visit(unix.CLONE_NEWUSER, func(*builder) {}, func(pid int) error {
		if err := writeMaps(pid, formatMaps(uids), formatMaps(gids)); err != nil {
			return err
		}
		ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		return err
	})
	if err != nil && ns != nil {
		ns.Close()
		ns = nil
	}
	return ns, err
}

// readMaps fills uids and gids from a user namespace that is to be joined.
func (s *start) readMaps(ns *os.File) error {
	return s.visit(0, func(b *builder) {
		b.Add("join namespace", ns.Name(), unix.SYS_SETNS, b.File(ns), spawn.Int(unix.CLONE_NEWUSER))
	}, func(pid int) (err error) {
		if s.uids, err = parseMaps(fmt.Sprintf("/proc/%d/uid_map", pid)); err == nil {
			s.gids, err = parseMaps(fmt.Sprintf("/proc/%d/gid_map", pid))
		}
		return err
	})
}

func parseMaps(file string) (maps []specs.LinuxIDMapping, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var m specs.LinuxIDMapping
		if _, err := fmt.Sscan(lines.Text(), &m.ContainerID, &m.HostID, &m.Size); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		maps = append(maps, m)
	}
	return maps, lines.Err()
}
