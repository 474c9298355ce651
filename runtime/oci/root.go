package oci

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/mountopts"
	"pier/runtime/oci/internal/rootfs"
)

// openRoot finds the root.
func (s *start) openRoot() error {
	s.root = rootfs.Root{Builder: s.Builder, Options: rootfs.Options{
		Spec: s.spec, Linux: s.linux, Bundle: s.c.Bundle, Rootfs: s.c.Rootfs, EmptyMounts: s.namespaces.empty, Cgroup: s.c.Cgroup,
		OwnCgroups: s.owns(unix.CLONE_NEWCGROUP), Users: s.namespaces.users, NoPivot: s.c.NoPivot,
	}}
	if s.newUsers {
		s.root.UIDs, s.root.GIDs = s.uids, s.gids
	}
	if s.namespaces.mounts != nil {
		return s.checkJoinedRoot()
	}
	return s.rootError(s.root.Open())
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
	err := s.root.Fill(s.join.Tasks)
	s.terminal = s.root.Terminal
	if s.c.MakeCwd && err == nil {
		s.root.MakeFolder("working folder", s.process.Cwd)
	}
	return s.rootError(err)
}

// changeRoot makes the new root the root. Of a mount namespace that was joined the process only sees less: who else is in
// there keeps its root.
func (s *start) changeRoot() {
	if s.namespaces.mounts == nil {
		s.root.Change()
		return
	}
	name := s.spec.Root.Path
	s.Add("chdir", name, unix.SYS_CHDIR, s.String(name))
	s.Add("chroot", name, unix.SYS_CHROOT, s.String("."))
}

// rootError is err, of the root, as the caller's.
func (s *start) rootError(err error) error {
	if failed, ok := err.(*rootfs.Error); ok {
		return s.fail(failed.Call, failed.Path, failed.Err)
	}
	return err
}

// EmptyMounts is mount.Empty, for any number of containers. The caller closes it.
func EmptyMounts() (*os.File, error) { return mount.Empty() }

// MountOptions lists the mount options that are known, sorted; any other is handed to the file system.
func MountOptions() []string { return mountopts.Names() }

// BindSource returns what the bind mount m shows, detached, with the flags of m: for who makes the mounts of a container in
// another way. Bundle is where a relative source begins. nil where m is no bind; the caller closes it.
func BindSource(bundle string, m *specs.Mount) (*os.File, error) { return rootfs.BindSource(bundle, m) }
