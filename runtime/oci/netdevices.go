package oci

import (
	"os"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"pier/kernel/netdev"
	"pier/lib/errkind"
)

// checkDevices looks at Spec.Linux.NetDevices.
func (s *start) checkDevices() error {
	places := make(map[string]bool)
	for name, d := range s.linux.NetDevices {
		as := d.Name
		if as == "" {
			as = name
		}
		if err := netdev.CheckName(name, false); err != nil {
			return err
		}
		if err := netdev.CheckName(as, true); err != nil {
			return err
		}
		if places[as] {
			return errkind.New(errkind.Invalid, "two network devices are to be %s", as)
		}
		places[as] = true
	}
	return nil
}

// moveDevices adds the meeting at which the parent moves Spec.Linux.NetDevices into the child's network namespace.
func (s *start) moveDevices() error {
	if len(s.linux.NetDevices) == 0 {
		return nil
	}
	if !s.owns(unix.CLONE_NEWNET) {
		return s.fail("move", "network devices", errkind.New(errkind.Invalid, "they need a network namespace that is not the host's"))
	}
	names := make([]string, 0, len(s.linux.NetDevices))
	for name := range s.linux.NetDevices {
		names = append(names, name)
	}
	sort.Strings(names)
	return s.meet("network devices", func(pid int) error {
		ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
		if err != nil {
			return err
		}
		defer ns.Close()
		for _, name := range names {
			if err := netdev.Move(name, ns, s.linux.NetDevices[name].Name); err != nil {
				return err
			}
		}
		return nil
	})
}
