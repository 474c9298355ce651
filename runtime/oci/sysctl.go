package oci

import (
	"sort"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
)

// sysctls writes Spec.Linux.Sysctl through the child's own procfs: below its root, on that very mount, no links.
func (s *start) sysctls() error {
	keys := make([]string, 0, len(s.linux.Sysctl))
	for k := range s.linux.Sysctl {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, key := range keys {
		file, err := s.sysctlFile(key, s.linux.Sysctl[key])
		if err != nil {
			return s.fail("sysctl", key, err)
		}
		fd := s.Slot()
		s.OpenAt("open sysctl "+key, s.root.Proc(), file, unix.O_WRONLY, calls.OwnProcfs|unix.RESOLVE_NO_SYMLINKS).Into(fd)
		s.Write("write sysctl "+key, file, spawn.From(fd), s.linux.Sysctl[key])
		s.CloseFD(fd)
	}
	return nil
}

// Sysctls that belong to the ipc namespace, apart from fs.mqueue.*.
var ipcSysctls = map[string]bool{
	"kernel/msgmax": true, "kernel/msgmnb": true, "kernel/msgmni": true, "kernel/sem": true, "kernel/shmall": true,
	"kernel/shmmax": true, "kernel/shmmni": true, "kernel/shm_rmid_forced": true, "kernel/msg_next_id": true,
	"kernel/sem_next_id": true, "kernel/shm_next_id": true,
}

// sysctlFile returns the file of a sysctl below /proc, or an error unless it belongs to a namespace that is the
// container's own.
func (s *start) sysctlFile(key, value string) (string, error) {
	for _, r := range value {
		if unicode.IsControl(r) && r != '\t' || r > unicode.MaxASCII {
			return "", errkind.New(errkind.Invalid, "sysctl %s: its value holds a control character", key)
		}
	}
	file := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		// "net.ipv4.conf.eth0/1.forwarding" is the other way to write a name with a dot in it.
		file = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." || strings.IndexFunc(part, notSysctl) >= 0 {
			return "", errkind.New(errkind.Invalid, "sysctl %q: not a name of the form a.b.c", key)
		}
	}
	var kind uintptr
	switch {
	case strings.HasPrefix(file, "net/"):
		kind = unix.CLONE_NEWNET
	case ipcSysctls[file], strings.HasPrefix(file, "fs/mqueue/"):
		kind = unix.CLONE_NEWIPC
	case file == "kernel/domainname":
		kind = unix.CLONE_NEWUTS
	case file == "kernel/hostname":
		return "", errkind.New(errkind.Invalid, "sysctl %s: use the hostname field", key)
	default:
		return "", errkind.New(errkind.Invalid, "sysctl %s: it is not in a namespace; set it on the host", key)
	}
	if !s.owns(kind) {
		return "", errkind.New(errkind.Invalid, "sysctl %s: not allowed in the host's namespace", key)
	}
	return "sys/" + file, nil
}

func notSysctl(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:@", r))
}
