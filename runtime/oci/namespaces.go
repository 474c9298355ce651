package oci

import (
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/idmap"
	"pier/runtime/oci/internal/rootfs"
)

var namespaceFlags = map[specs.LinuxNamespaceType]uintptr{
	specs.PIDNamespace: unix.CLONE_NEWPID, specs.NetworkNamespace: unix.CLONE_NEWNET, specs.MountNamespace: unix.CLONE_NEWNS,
	specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.UserNamespace: unix.CLONE_NEWUSER,
	specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.TimeNamespace: unix.CLONE_NEWTIME,
}

// Namespaces lists the kinds of namespace that a container can have, sorted.
func Namespaces() []string {
	names := make([]string, 0, len(namespaceFlags))
	for name := range namespaceFlags {
		names = append(names, string(name))
	}
	sort.Strings(names)
	return names
}

// namespaces is where the child will live.
type namespaces struct {
	flags uintptr // new ones, made by the clone
	late  uintptr // new ones, made by the child: those whose content depends on what it did before
	own   uintptr // all that are not the parent's
	join  []spawn.Namespace

	users, mounts *os.File // to be joined in their own moments, nil for none
	empty         *os.File // what the new one of mounts is a copy of, once the root comes; nil for the host's
	// split is set where some namespaces hold for children only: the child enters them, and is divided in two. It then
	// makes all of its namespaces itself; above are those that wait for its second half.
	split    bool
	children uintptr // new ones, of pids and times, made for the second half
	// pids is the pid namespace of others in which only the second half will live: it is divided off at the end, when it has
	// no right, descriptor or memory any more that its program will not have, for they may trace what appears among them.
	pids *os.File
}

// openNamespaces sorts Spec.Linux.Namespaces and opens those to be joined.
func (s *start) openNamespaces() error {
	n := &s.namespaces
	list := s.linux.Namespaces
	s.uids, s.gids = s.linux.UIDMappings, s.linux.GIDMappings
	for i := range list {
		kind, ok := namespaceFlags[list[i].Type]
		if !ok {
			return s.fail("enter namespace", string(list[i].Type), errkind.New(errkind.Invalid, "unknown type"))
		}
		if kind == unix.CLONE_NEWNET && s.c.Netns != nil {
			continue
		}
		if list[i].Path == "" {
			n.own |= kind
			if kind == unix.CLONE_NEWCGROUP {
				n.late |= kind
			} else {
				n.flags |= kind
			}
			continue
		}
		if !filepath.IsAbs(list[i].Path) {
			return s.fail("enter namespace", list[i].Path, errkind.New(errkind.Invalid, "the path is not absolute"))
		}
		f, err := os.Open(list[i].Path)
		if err != nil {
			return s.fail("open namespace", list[i].Path, err)
		}
		if err := s.joinNamespace(s.Own(f), kind); err != nil {
			return err
		}
	}
	if s.c.Netns != nil {
		if err := s.joinNamespace(s.c.Netns, unix.CLONE_NEWNET); err != nil {
			return err
		}
	}
	if n.own&unix.CLONE_NEWNS == 0 {
		return s.fail("enter namespace", "mount", errkind.New(errkind.Invalid, "a container needs a mount namespace of its own"))
	}
	if err := s.checkTimes(); err != nil {
		return err
	}
	s.newUsers = s.owns(unix.CLONE_NEWUSER)
	if n.users != nil {
		var err error
		if s.uids, s.gids, err = idmap.Of(n.users); err != nil {
			return s.fail("look at", "user namespace", err)
		}
	}
	n.arrange()
	s.Pids = n.hideFromPids()
	if s.c.Empty != nil && n.flags&unix.CLONE_NEWNS != 0 && s.Pids == nil && !s.c.NoPivot && !s.newUsers && rootfs.Plain(s.spec, s.linux) {
		n.empty = s.c.Empty
		n.flags &^= unix.CLONE_NEWNS
	}
	if (s.spec.Hostname != "" || s.spec.Domainname != "") && !s.owns(unix.CLONE_NEWUTS) {
		return s.fail("sethostname", s.spec.Hostname, errkind.New(errkind.Invalid, "a host name needs a uts namespace of its own"))
	}
	return nil
}

var namespaceFiles = map[uintptr]string{unix.CLONE_NEWPID: "pid", unix.CLONE_NEWNET: "net", unix.CLONE_NEWIPC: "ipc",
	unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWCGROUP: "cgroup", unix.CLONE_NEWUSER: "user", unix.CLONE_NEWNS: "mnt", unix.CLONE_NEWTIME: "time"}

func (s *start) joinNamespace(f *os.File, kind uintptr) error {
	// To join the parent's own is to share it: it must not count as the container's.
	mine, err := os.Open("/proc/thread-self/ns/" + namespaceFiles[kind])
	if err != nil {
		return s.fail("open namespace", namespaceFiles[kind], err)
	}
	defer mine.Close()
	if sameNamespace(f, mine) {
		return nil
	}
	n := &s.namespaces
	n.own |= kind
	switch kind {
	case unix.CLONE_NEWUSER:
		n.users = f
	case unix.CLONE_NEWNS:
		n.mounts = f
	default:
		n.join = append(n.join, spawn.Namespace{File: f, Kind: int(kind)})
	}
	return nil
}

// arrange finds the moment for each namespace.
//
// A child that joins a user namespace must do so before it makes others, which are to belong to that one; and a clone has
// made them already when the child begins. New pids and times, then, are for children only. So is another time namespace,
// joined or new, for a child that shares our memory, and with it the pages that tell the time.
func (n *namespaces) arrange() {
	const forChildren = unix.CLONE_NEWPID | unix.CLONE_NEWTIME
	newUsers := n.flags&unix.CLONE_NEWUSER != 0
	n.split = n.own&unix.CLONE_NEWTIME != 0 || n.users != nil && n.flags&unix.CLONE_NEWPID != 0 || n.mounts != nil && newUsers
	if !n.split && n.users == nil {
		return
	}
	n.children = n.flags & forChildren
	n.late |= n.flags &^ (forChildren | unix.CLONE_NEWUSER)
	n.flags = 0
	if newUsers { // by the child, once it has joined what only the host's root may join
		n.children |= unix.CLONE_NEWUSER
	}
}

// hideFromPids sets pids, and returns it, where a pid namespace is joined and the kernel can mount its procfs from outside
// (Linux >= 6.18). Not with what has the child divided early for another reason, nor in a user namespace: who has rights
// there has none over our memory.
func (n *namespaces) hideFromPids() *os.File {
	i := slices.IndexFunc(n.join, func(ns spawn.Namespace) bool { return ns.Kind == unix.CLONE_NEWPID })
	if i >= 0 && !n.split && n.own&unix.CLONE_NEWUSER == 0 && mount.ShowsPids(n.join[i].File) {
		n.pids = n.join[i].File
	}
	return n.pids
}

// owns reports whether the container has a namespace of this kind that is not the host's.
func (s *start) owns(kind uintptr) bool { return s.namespaces.own&kind != 0 }

// enterNamespaces adds the joins and those new namespaces that the clone does not make. A pid namespace is entered by the
// thread before the clone, as it holds for children only, unless they are a second half; so are all if the child is born in a user namespace of its own,
// which would forbid it to join them.
func (s *start) enterNamespaces() error {
	n := &s.namespaces
	procSelf := s.Slot()
	if n.children&unix.CLONE_NEWTIME != 0 {
		s.Add("open", "/proc/self", unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), s.String("/proc/self"),
			spawn.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(procSelf)
	}
	join := func(f *os.File, kind int) {
		s.Add("join namespace", f.Name(), unix.SYS_SETNS, s.File(f), spawn.Int(kind))
	}
	for _, ns := range n.join {
		if ns.File == n.pids {
			join(ns.File, ns.Kind) // for children, of which the second half is the first
			continue
		}
		if ns.Kind == unix.CLONE_NEWPID || n.flags&unix.CLONE_NEWUSER != 0 {
			s.opts.Enter = append(s.opts.Enter, ns)
			continue
		}
		join(ns.File, ns.Kind)
	}
	if n.mounts != nil {
		join(n.mounts, unix.CLONE_NEWNS)
	}
	if n.users != nil {
		join(n.users, unix.CLONE_NEWUSER)
	} else if s.newUsers {
		if n.children&unix.CLONE_NEWUSER != 0 {
			s.Add("unshare", "user", unix.SYS_UNSHARE, spawn.Int(unix.CLONE_NEWUSER))
		}
		if err := s.userMaps(); err != nil {
			return err
		}
	}
	if kinds := n.children &^ unix.CLONE_NEWUSER; kinds != 0 {
		s.Add("unshare", namesOf(kinds), unix.SYS_UNSHARE, spawn.Int(kinds))
		s.timeOffsets(spawn.From(procSelf))
	}
	if n.split {
		s.tellRun()
		s.Split()
	}
	if s.newUsers {
		s.becomeRoot()
	}
	if n.late != 0 {
		s.Add("unshare", namesOf(n.late), unix.SYS_UNSHARE, spawn.Int(n.late))
	}
	return nil
}

func namesOf(flags uintptr) string {
	var names []string
	for kind, name := range namespaceFiles {
		if flags&kind != 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return strings.Join(names, ",")
}

// sameNamespace reports whether two namespace files are of one namespace.
func sameNamespace(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

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
