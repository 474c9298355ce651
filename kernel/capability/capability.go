// Package capability knows the names and numbers of capabilities(7), and which of them can be given away here.
//
// A set is a uint64 with bit n for capability number n. Names are compared without case and with or without "CAP_".
//
// Start reading at Mask.
package capability

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// names by number. The kernel only ever adds to the end.
var names = [...]string{
	unix.CAP_CHOWN:              "CAP_CHOWN",
	unix.CAP_DAC_OVERRIDE:       "CAP_DAC_OVERRIDE",
	unix.CAP_DAC_READ_SEARCH:    "CAP_DAC_READ_SEARCH",
	unix.CAP_FOWNER:             "CAP_FOWNER",
	unix.CAP_FSETID:             "CAP_FSETID",
	unix.CAP_KILL:               "CAP_KILL",
	unix.CAP_SETGID:             "CAP_SETGID",
	unix.CAP_SETUID:             "CAP_SETUID",
	unix.CAP_SETPCAP:            "CAP_SETPCAP",
	unix.CAP_LINUX_IMMUTABLE:    "CAP_LINUX_IMMUTABLE",
	unix.CAP_NET_BIND_SERVICE:   "CAP_NET_BIND_SERVICE",
	unix.CAP_NET_BROADCAST:      "CAP_NET_BROADCAST",
	unix.CAP_NET_ADMIN:          "CAP_NET_ADMIN",
	unix.CAP_NET_RAW:            "CAP_NET_RAW",
	unix.CAP_IPC_LOCK:           "CAP_IPC_LOCK",
	unix.CAP_IPC_OWNER:          "CAP_IPC_OWNER",
	unix.CAP_SYS_MODULE:         "CAP_SYS_MODULE",
	unix.CAP_SYS_RAWIO:          "CAP_SYS_RAWIO",
	unix.CAP_SYS_CHROOT:         "CAP_SYS_CHROOT",
	unix.CAP_SYS_PTRACE:         "CAP_SYS_PTRACE",
	unix.CAP_SYS_PACCT:          "CAP_SYS_PACCT",
	unix.CAP_SYS_ADMIN:          "CAP_SYS_ADMIN",
	unix.CAP_SYS_BOOT:           "CAP_SYS_BOOT",
	unix.CAP_SYS_NICE:           "CAP_SYS_NICE",
	unix.CAP_SYS_RESOURCE:       "CAP_SYS_RESOURCE",
	unix.CAP_SYS_TIME:           "CAP_SYS_TIME",
	unix.CAP_SYS_TTY_CONFIG:     "CAP_SYS_TTY_CONFIG",
	unix.CAP_MKNOD:              "CAP_MKNOD",
	unix.CAP_LEASE:              "CAP_LEASE",
	unix.CAP_AUDIT_WRITE:        "CAP_AUDIT_WRITE",
	unix.CAP_AUDIT_CONTROL:      "CAP_AUDIT_CONTROL",
	unix.CAP_SETFCAP:            "CAP_SETFCAP",
	unix.CAP_MAC_OVERRIDE:       "CAP_MAC_OVERRIDE",
	unix.CAP_MAC_ADMIN:          "CAP_MAC_ADMIN",
	unix.CAP_SYSLOG:             "CAP_SYSLOG",
	unix.CAP_WAKE_ALARM:         "CAP_WAKE_ALARM",
	unix.CAP_BLOCK_SUSPEND:      "CAP_BLOCK_SUSPEND",
	unix.CAP_AUDIT_READ:         "CAP_AUDIT_READ",
	unix.CAP_PERFMON:            "CAP_PERFMON",
	unix.CAP_BPF:                "CAP_BPF",
	unix.CAP_CHECKPOINT_RESTORE: "CAP_CHECKPOINT_RESTORE",
}

const all = "ALL"

// available is the set that exists in the running kernel and that this process may hand to a child: its bounding set.
// A process of ours never changes its bounding set, so one look is enough.
var available = sync.OnceValue(func() uint64 {
	last := len(names) - 1
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			last = min(last, n)
		}
	}
	var mask uint64
	for n := range last + 1 {
		if held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && held == 1 {
			mask |= 1 << n
		}
	}
	return mask
})

// Parse returns the canonical form of one name: "CAP_NET_ADMIN" for "net_admin", "ALL" for "all". An unknown one is
// errkind.Invalid.
func Parse(name string) (string, error) {
	upper := strings.ToUpper(name)
	if upper == all {
		return all, nil
	}
	n, ok := number(upper)
	if !ok {
		return "", errkind.New(errkind.Invalid, "unknown capability %q; see capabilities(7) for the names", name)
	}
	return names[n], nil
}

func number(upper string) (int, bool) {
	upper = strings.TrimPrefix(upper, "CAP_")
	for n, name := range names {
		if name[len("CAP_"):] == upper {
			return n, true
		}
	}
	return 0, false
}

// All returns the capabilities that exist in the running kernel and are in our own bounding set, in numerical order.
func All() []string { return Names(available()) }

// Default returns Docker's default set: what a container's root has without any flag.
func Default() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
		"CAP_AUDIT_WRITE",
	}
}

// Mask returns the set of the named capabilities; "ALL" is All. A name that no kernel knows is errkind.Invalid. One that
// this kernel lacks, or that is outside our bounding set, is left out, as runtimes are expected to do.
func Mask(caps []string) (uint64, error) {
	var mask uint64
	for _, name := range caps {
		upper := strings.ToUpper(name)
		if upper == all {
			mask |= available()
			continue
		}
		n, ok := number(upper)
		if !ok {
			_, err := Parse(name)
			return 0, err
		}
		mask |= 1 << n
	}
	return mask & available(), nil
}

// Names returns the names of the set's members in numerical order. Bits without a name are left out.
func Names(mask uint64) []string {
	var out []string
	for n, name := range names {
		if mask&(1<<n) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Adjust returns base with add and drop applied as docker run's --cap-add and --cap-drop: "ALL" in add begins with
// everything, "ALL" in drop with nothing; then drop takes away and add has the last word. The answer is in numerical
// order. An unknown name is errkind.Invalid.
func Adjust(base, add, drop []string) ([]string, error) {
	contains := func(list []string) bool {
		for _, name := range list {
			if strings.EqualFold(name, all) {
				return true
			}
		}
		return false
	}
	single := func(list []string) ([]string, error) {
		var out []string
		for _, name := range list {
			canonical, err := Parse(name)
			if err != nil {
				return nil, err
			}
			if canonical != all {
				out = append(out, canonical)
			}
		}
		return out, nil
	}
	added, err := single(add)
	if err != nil {
		return nil, err
	}
	dropped, err := single(drop)
	if err != nil {
		return nil, err
	}
	var mask uint64
	switch {
	case contains(add):
		mask = available()
	case !contains(drop):
		if mask, err = Mask(base); err != nil {
			return nil, err
		}
	}
	minus, err := Mask(dropped)
	if err != nil {
		return nil, err
	}
	plus, err := Mask(added)
	if err != nil {
		return nil, err
	}
	return Names(mask&^minus | plus), nil
}
