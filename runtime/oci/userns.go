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

// userMaps adds the meeting at which the parent writes the maps, if the child gets a user namespace, and makes the child
// root in there.
func (s *start) userMaps() error {
	if !s.newUsers {
		return nil
	}
	uids, gids := formatMaps(s.linux.UIDMappings), formatMaps(s.linux.GIDMappings)
	if uids == "" || gids == "" {
		return s.fail("write", "user namespace maps", errkind.New(errkind.Invalid, "a user namespace needs uid and gid mappings"))
	}
	if err := s.meet("user namespace maps", func(pid int) error { return writeMaps(pid, uids, gids) }); err != nil {
		return err
	}
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
