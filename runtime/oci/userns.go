package oci

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/idmap"
)

// userMaps adds the meeting at which the parent writes the maps of the child's new user namespace.
func (s *start) userMaps() error {
	uids, gids := idmap.Format(s.uids), idmap.Format(s.gids)
	if uids == "" || gids == "" {
		return s.fail("write", "user namespace maps", errkind.New(errkind.Invalid, "a user namespace needs uid and gid mappings"))
	}
	return s.meet("user namespace maps", func(pid int) error { return idmap.Write(pid, uids, gids) })
}

// becomeRoot makes the child root in a user namespace.
func (t *task) becomeRoot() {
	t.Add("setresgid", "0", unix.SYS_SETRESGID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
	t.Add("setgroups", "", unix.SYS_SETGROUPS, spawn.Int(0), spawn.Int(0))
	t.Add("setresuid", "0", unix.SYS_SETRESUID, spawn.Int(0), spawn.Int(0), spawn.Int(0))
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
		if err := idmap.Write(pid, idmap.Format(uids), idmap.Format(gids)); err != nil {
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
		if s.uids, err = idmap.Read(fmt.Sprintf("/proc/%d/uid_map", pid)); err == nil {
			s.gids, err = idmap.Read(fmt.Sprintf("/proc/%d/gid_map", pid))
		}
		return err
	})
}
