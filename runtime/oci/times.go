package oci

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// The clocks that a time namespace moves (time_namespaces(7)).
var clocks = map[string]bool{"monotonic": true, "boottime": true}

// checkTimes refuses offsets that have no namespace to go to.
func (s *start) checkTimes() error {
	if len(s.linux.TimeOffsets) == 0 {
		return nil
	}
	if s.namespaces.flags&unix.CLONE_NEWTIME == 0 {
		return s.fail("set", "time offsets", errkind.New(errkind.Invalid, "they need a new time namespace"))
	}
	for clock, o := range s.linux.TimeOffsets {
		if !clocks[clock] {
			return s.fail("set", "time offsets", errkind.New(errkind.Invalid, "clock %q is neither monotonic nor boottime", clock))
		}
		if o.Nanosecs >= 1e9 {
			return s.fail("set", "time offsets", errkind.New(errkind.Invalid, "%d nanoseconds are more than a second", o.Nanosecs))
		}
	}
	return nil
}

// timeOffsets adds the write of the offsets of a time namespace that has no process yet. It is for the child, in the user
// namespace that owns the new one; self is its folder in the host's procfs.
func (s *start) timeOffsets(self spawn.Arg) {
	names := make([]string, 0, len(s.linux.TimeOffsets))
	for clock := range s.linux.TimeOffsets {
		names = append(names, clock)
	}
	sort.Strings(names)
	for _, clock := range names {
		const what, file = "set time offset", "timens_offsets"
		o, fd := s.linux.TimeOffsets[clock], s.Slot()
		s.Add(what, clock, unix.SYS_OPENAT, self, s.String(file), spawn.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
		s.Write(what, clock, spawn.From(fd), fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs))
		s.CloseFD(fd)
	}
}
