package idmap

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/meeting"
)

// Namespace makes a user namespace without a process. The caller closes it.
func Namespace(uids, gids []specs.LinuxIDMapping) (ns *os.File, err error) {
	err = visit(unix.CLONE_NEWUSER, func(*calls.Builder) {}, func(pid int) error {
		if err := Write(pid, Format(uids), Format(gids)); err != nil {
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

// Of reads the maps of the user namespace ns, as they are seen from ours.
func Of(ns *os.File) (uids, gids []specs.LinuxIDMapping, err error) {
	err = visit(0, func(b *calls.Builder) {
		b.Add("join namespace", ns.Name(), unix.SYS_SETNS, b.File(ns), spawn.Int(unix.CLONE_NEWUSER))
	}, func(pid int) (err error) {
		if uids, err = Read(fmt.Sprintf("/proc/%d/uid_map", pid)); err == nil {
			gids, err = Read(fmt.Sprintf("/proc/%d/gid_map", pid))
		}
		return err
	})
	return uids, gids, err
}

// visit runs a process that does what prepare adds to its list, and work while it waits afterwards.
func visit(flags uintptr, prepare func(*calls.Builder), work func(pid int) error) error {
	b := calls.New(calls.ToEnter)
	defer b.Close()
	prepare(b)
	done := false
	m, err := meeting.New("its visitor", func(pid int) error {
		done = true
		return work(pid)
	})
	if err != nil {
		return err
	}
	defer m.Close()
	m.Arrive(b)
	m.Await(b)
	m.Serve(b.List)
	_, err = b.Run(spawn.Options{Flags: flags}) // it ends with its list: that is no failure
	if failed := m.Result(); failed != nil || done {
		return failed
	}
	return err
}
