package oci

import (
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/mountopts"
)

// openRoot finds the root as a detached mount: the one given, or a clone of Spec.Root.Path.
func (s *start) openRoot() error {
	if s.namespaces.mounts != nil {
		return s.checkJoinedRoot()
	}
	s.rootfs = s.c.Rootfs
	if s.rootfs == nil {
		if s.spec.Root == nil || s.spec.Root.Path == "" {
			return s.fail("open", "root", errkind.New(errkind.Invalid, "the configuration names no root"))
		}
		name := s.spec.Root.Path
		if !filepath.IsAbs(name) {
			name = filepath.Join(s.c.Bundle, name)
		}
		clone, err := mount.OpenTree(name, true)
		if err != nil {
			return s.fail("open root", name, err)
		}
		s.rootfs = s.own(clone)
		var o mountopts.Options
		// A slave goes on to get what the host mounts below the root. Anything else gets and gives nothing.
		if p := rootPropagations[s.linux.RootfsPropagation]; p == unix.MS_SLAVE {
			o.Propagation, o.PropagateRecursive = p, true
		}
		if err := setBindAttrs(clone, o); err != nil {
			return s.fail("open root", name, err)
		}
	}
	s.root = s.File(s.rootfs)
	return nil
}

// checkJoinedRoot refuses, for a mount namespace that is joined, everything that would change it: it is somebody else's.
func (s *start) checkJoinedRoot() error {
	l := s.linux
	var what string
	switch {
	case s.c.Rootfs != nil || s.spec.Root == nil || !filepath.IsAbs(s.spec.Root.Path):
		what = "a root path that is not absolute (it is looked up in that namespace)"
	case s.spec.Root.Readonly:
		what = "a read-only root"
	case len(s.spec.Mounts) > 0:
		what = "mounts"
	case len(l.Devices) > 0:
		what = "devices"
	case len(l.MaskedPaths)+len(l.ReadonlyPaths) > 0:
		what = "masked and read-only paths"
	case l.RootfsPropagation != "":
		what = "rootfsPropagation"
	case s.process.Terminal:
		what = "a terminal"
	default:
		return nil
	}
	return s.fail("enter namespace", s.namespaces.mounts.Name(), errkind.New(errkind.Unsupported,
		"a mount namespace that is joined is taken as it is: %s cannot be had there", what))
}

// fillRoot adds the root and all that is mounted in it.
func (s *start) fillRoot() error {
	if s.namespaces.mounts != nil {
		return nil
	}
	s.attachRoot()
	if err := s.mounts(); err != nil {
		return err
	}
	if err := s.otherDevices(); err != nil {
		return s.fail("make", "devices", err)
	}
	if s.process.Terminal && s.terminal == nil {
		return s.fail("open", "terminal", errkind.New(errkind.Invalid, "a terminal needs a devpts mount at /dev/pts"))
	}
	s.console()
	return nil
}

// attachRoot adds the root to the child's mount namespace, which it makes its own first: nothing mounted from here on
// reaches the host. It lies upon "/", or at its path on the host where hooks of the container are to see both.
func (s *start) attachRoot() {
	if empty := s.namespaces.empty; empty != nil {
		s.Add("join namespace", empty.Name(), unix.SYS_SETNS, s.File(empty), spawn.Int(unix.CLONE_NEWNS))
		s.Add("unshare", "mnt", unix.SYS_UNSHARE, spawn.Int(unix.CLONE_NEWNS))
	} else {
		s.Add("make mounts private", "/", unix.SYS_MOUNT, s.empty(), s.String("/"), spawn.Int(0), spawn.Int(unix.MS_REC|unix.MS_PRIVATE), spawn.Int(0))
	}
	s.Add("attach root", s.rootfs.Name(), unix.SYS_MOVE_MOUNT, s.root, s.empty(), spawn.Int(unix.AT_FDCWD), s.String(s.hostPlace()),
		spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// EmptyMounts is mount.Empty, for any number of containers. The caller closes it.
func EmptyMounts() (*os.File, error) { return mount.Empty() }

// plainRoot reports whether the child finds its way without the host's mounts: it has its own /dev with nothing odd in it,
// and no hook is to see both roots.
func (s *start) plainRoot() bool {
	odd := func(d specs.LinuxDevice) bool {
		name, under := underDev(&d)
		return !under || name == "null"
	}
	dev := func(m specs.Mount) bool { return m.Type == "tmpfs" && path.Clean(m.Destination) == "/dev" }
	return s.spec.Hooks == nil && !s.c.NoPivot && !s.newUsers && slices.ContainsFunc(s.spec.Mounts, dev) && !slices.ContainsFunc(s.linux.Devices, odd)
}

// hostPlace is where the root lies until it is the root.
func (s *start) hostPlace() string {
	if h := s.spec.Hooks; h != nil && len(h.CreateContainer) > 0 {
		if s.c.Rootfs == nil {
			return s.rootfs.Name()
		}
		// Hooks of a container whose root came as a mount look for it where the bundle's configuration says.
		if s.c.Bundle != "" && s.spec.Root != nil && filepath.IsAbs(s.spec.Root.Path) {
			return s.spec.Root.Path
		}
	}
	return "/"
}

// changeRoot makes the new root the root, and read-only what must be; the host's mounts go. Of a mount namespace that was
// joined the process only sees less: who else is in there keeps its root.
func (s *start) changeRoot() {
	if s.namespaces.mounts != nil {
		name := s.spec.Root.Path
		s.Add("chdir", name, unix.SYS_CHDIR, s.String(name))
		s.Add("chroot", name, unix.SYS_CHROOT, s.String("."))
		return
	}
	if s.devReadOnly {
		s.setAttr("make read-only", "/dev", s.File(s.dev), false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if s.spec.Root != nil && s.spec.Root.Readonly {
		s.setAttr("make read-only", "/", s.root, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	s.Add("fchdir", "/", unix.SYS_FCHDIR, s.root)
	dot := s.String(".")
	if s.c.NoPivot || s.namespaces.empty != nil { // an empty one has nothing below the root that could be found
		if s.hostPlace() != "/" {
			s.Add("move root", "/", unix.SYS_MOVE_MOUNT, s.root, s.empty(), spawn.Int(unix.AT_FDCWD), s.String("/"), spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
		}
		s.Add("chroot", "/", unix.SYS_CHROOT, dot)
	} else {
		s.Add("pivot_root", "/", unix.SYS_PIVOT_ROOT, dot, dot)
		s.Add("unmount old root", "/", unix.SYS_UMOUNT2, dot, spawn.Int(unix.MNT_DETACH))
	}
	if p := rootPropagations[s.linux.RootfsPropagation]; p != 0 {
		s.setAttr("set propagation", "/", s.root, s.linux.RootfsPropagation[0] == 'r', unix.MountAttr{Propagation: p})
	}
	s.Add("chdir", "/", unix.SYS_CHDIR, s.String("/"))
}

var rootPropagations = map[string]uint64{
	"": 0, "private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE,
}
