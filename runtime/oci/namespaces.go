package oci

import (
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

var namespaceFlags = map[specs.LinuxNamespaceType]uintptr{
	specs.PIDNamespace: unix.CLONE_NEWPID, specs.NetworkNamespace: unix.CLONE_NEWNET, specs.MountNamespace: unix.CLONE_NEWNS,
	specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.UserNamespace: unix.CLONE_NEWUSER,
	specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.TimeNamespace: unix.CLONE_NEWTIME,
}

// namespaces is where the child will live.
type namespaces struct {
	flags uintptr // new ones, made by the clone
	late  uintptr // new ones, made by the child: those whose content depends on what it did before
	own   uintptr // all that are not the parent's
	join  []spawn.Namespace
}

// openNamespaces sorts Spec.Linux.Namespaces and opens those to be joined.
func (s *start) openNamespaces() error {
	n := &s.namespaces
	list := s.linux.Namespaces
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
			if kind == unix.CLONE_NEWCGROUP || kind == unix.CLONE_NEWTIME {
				n.late |= kind
			} else {
				n.flags |= kind
			}
			continue
		}
		if kind == unix.CLONE_NEWNS || kind == unix.CLONE_NEWUSER || kind == unix.CLONE_NEWTIME {
			return s.fail("enter namespace", list[i].Path, errkind.New(errkind.Unsupported, "joining a %s namespace is not supported", list[i].Type))
		}
		f, err := os.Open(list[i].Path)
		if err != nil {
			return s.fail("open namespace", list[i].Path, err)
		}
		if err := s.joinNamespace(s.own(f), kind); err != nil {
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
	s.newUsers = n.own&unix.CLONE_NEWUSER != 0
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
	s.namespaces.own |= kind
	s.namespaces.join = append(s.namespaces.join, spawn.Namespace{File: f, Kind: int(kind)})
	return nil
}

// owns reports whether the container has a namespace of this kind that is not the host's.
func (s *start) owns(kind uintptr) bool { return s.namespaces.own&kind != 0 }

// enter adds the joins and the late namespaces. A pid namespace is entered by the thread before the clone, as it holds
// for children only; so are all if the child has a user namespace of its own, which would forbid it to join them.
func (n *namespaces) enter(b *builder) {
	for _, ns := range n.join {
		if ns.Kind == unix.CLONE_NEWPID || n.flags&unix.CLONE_NEWUSER != 0 {
			b.opts.Enter = append(b.opts.Enter, ns)
			continue
		}
		b.Add("join namespace", ns.File.Name(), unix.SYS_SETNS, b.File(ns.File), spawn.Int(ns.Kind))
	}
	if n.late != 0 {
		b.Add("unshare", namesOf(n.late), unix.SYS_UNSHARE, spawn.Int(n.late))
	}
}

func namesOf(flags uintptr) string {
	var names []string
	for kind, name := range namespaceFiles {
		if flags&kind != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// hostRoot returns who on the host is root in the container.
func (s *start) hostRoot() (uid, gid int) {
	if !s.newUsers {
		return 0, 0
	}
	return s.hostID(0, s.linux.UIDMappings), s.hostID(0, s.linux.GIDMappings)
}

// hostID maps a number of the container to the host's. Without a user namespace, or outside the maps, it is the number
// itself.
func (s *start) hostID(id uint32, maps []specs.LinuxIDMapping) int {
	if s.newUsers {
		for _, m := range maps {
			if id >= m.ContainerID && id-m.ContainerID < m.Size {
				return int(m.HostID + id - m.ContainerID)
			}
		}
	}
	return int(id)
}
