// Package idmap reads and writes the maps of user namespaces (user_namespaces(7)), and makes such namespaces for their maps.
//
// Start reading at Write.
package idmap

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/lib/errkind"
)

// Format writes maps as /proc/PID/uid_map takes them (user_namespaces(7)).
func Format(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// Write gives a process that is new in its user namespace, and waits, its maps, in the form of Format. It is called while
// the process waits, so its number is its own.
func Write(pid int, uids, gids string) error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if err := os.WriteFile(dir+"gid_map", []byte(gids), 0); err != nil {
		return errkind.New(errkind.Invalid, "gid mappings: %w", err)
	}
	if err := os.WriteFile(dir+"uid_map", []byte(uids), 0); err != nil {
		return errkind.New(errkind.Invalid, "uid mappings: %w", err)
	}
	return nil
}

// Read reads a file like /proc/PID/uid_map.
func Read(file string) (maps []specs.LinuxIDMapping, err error) {
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

// Host maps a number of the namespace to one outside; a number outside the maps is itself.
func Host(id uint32, maps []specs.LinuxIDMapping) uint32 {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID
		}
	}
	return id
}
