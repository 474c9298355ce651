package oci

import (
	"os"
	"sort"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// openNull opens the real null device for masks: the host's, before the root changes, or the one that we have just made where
// the host's cannot be seen. The child makes sure that it is character device 1:3, so that nothing in a container can stand
// in for it.
func (s *start) openNull() spawn.Arg {
	if s.haveNull {
		return spawn.From(s.null)
	}
	s.null, s.haveNull = s.Slot(), true
	dev, name := spawn.Int(unix.AT_FDCWD), "/dev/null"
	if s.namespaces.empty != nil {
		dev, name = s.File(s.dev), "null"
	}
	s.openAt("open null device", dev, name, unix.O_PATH|unix.O_NOFOLLOW, 0).Into(s.null)
	stx := new(unix.Statx_t)
	s.Add("statx", "/dev/null", unix.SYS_STATX, spawn.From(s.null), s.empty(), spawn.Int(unix.AT_EMPTY_PATH), spawn.Int(unix.STATX_TYPE), spawn.Pointer(s.List, stx))
	const what = "check null device"
	s.Check(what, "/dev/null", field(s.List, stx, &stx.Mode), unix.S_IFMT, unix.S_IFCHR, unix.EPERM)
	s.Check(what, "/dev/null", field(s.List, stx, &stx.Rdev_major), 0xffffffff, 1, unix.EPERM)
	s.Check(what, "/dev/null", field(s.List, stx, &stx.Rdev_minor), 0xffffffff, 3, unix.EPERM)
	return spawn.From(s.null)
}

// field is the address of one field of a struct that is kept for the child.
func field[S, F any](l *spawn.List, _ *S, f *F) spawn.Arg { return spawn.Pointer(l, f) }

// maskedPaths covers a folder with an empty read-only tmpfs and anything else with the null device. A path that does not
// exist is passed over.
func (s *start) maskedPaths() {
	if len(s.linux.MaskedPaths) == 0 {
		return
	}
	null := s.openNull()
	for _, p := range s.linux.MaskedPaths {
		const what = "mask"
		at, clone := s.Slot(), s.Slot()
		folder := s.openAt(what, s.root, p, unix.O_PATH|unix.O_DIRECTORY, inRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		empty := s.filesystem(what, p, "tmpfs", []string{"source=tmpfs", "nr_inodes=1"}, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		cover := s.moveMount(what, p, spawn.From(empty), spawn.From(at))
		folder.OnError(s.Here())
		file := s.openAt(what, s.root, p, unix.O_PATH, inRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		s.cloneMount(what, p, null, 0, clone)
		s.moveMount(what, p, spawn.From(clone), spawn.From(at))
		file.OnError(s.Here())
		cover.OnSuccess(s.Here())
	}
}

// readonlyPaths binds each path over itself, read-only with all below it. A path that does not exist is passed over.
func (s *start) readonlyPaths() {
	for _, p := range s.linux.ReadonlyPaths {
		const what = "make read-only"
		at, clone := s.Slot(), s.Slot()
		open := s.openAt(what, s.root, p, unix.O_PATH, inRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		s.cloneMount(what, p, spawn.From(at), unix.AT_RECURSIVE, clone)
		s.setAttr(what, p, spawn.From(clone), true, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		s.moveMount(what, p, spawn.From(clone), spawn.From(at))
		open.OnError(s.Here())
	}
}

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
		s.openAt("open sysctl "+key, s.proc(), file, unix.O_WRONLY, ownProcfs|unix.RESOLVE_NO_SYMLINKS).Into(fd)
		s.write("write sysctl "+key, file, spawn.From(fd), s.linux.Sysctl[key])
		s.closeFD(fd)
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

// sameNamespace reports whether two namespace files are of one namespace.
func sameNamespace(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
