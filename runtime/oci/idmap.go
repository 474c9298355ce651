package oci

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
	"pier/runtime/oci/internal/mountopts"
)

// mapOwners makes a clone show other owners than the file system has (mount_setattr MOUNT_ATTR_IDMAP; Linux >= 5.12): by
// the mappings of the mount, else by those of the container's user namespace.
func (s *start) mapOwners(source *os.File, m *specs.Mount, o mountopts.Options) error {
	ns, err := s.ownersOf(m)
	if err != nil {
		return err
	}
	a := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(fdOf(ns))}
	flags := uint(unix.AT_EMPTY_PATH)
	if o.IdmapRecursive {
		flags |= unix.AT_RECURSIVE
	}
	err = unix.MountSetattr(fdOf(source), "", flags, &a)
	if err == unix.EINVAL || err == unix.EPERM {
		return errkind.New(errkind.Unsupported, "its file system cannot show other owners, or does already: %w", err)
	}
	return os.NewSyscallError("mount_setattr", err)
}

// ownersOf returns the user namespace that holds the mappings. It belongs to the builder.
func (s *start) ownersOf(m *specs.Mount) (*os.File, error) {
	uids, gids := m.UIDMappings, m.GIDMappings
	if (len(uids) == 0) != (len(gids) == 0) {
		return nil, errkind.New(errkind.Invalid, "uidMappings and gidMappings go together")
	}
	if len(uids) > 0 {
		ns, err := s.newUserNamespace(uids, gids)
		if err != nil {
			return nil, err
		}
		return s.own(ns), nil
	}
	switch {
	case s.namespaces.users != nil:
		return s.namespaces.users, nil
	case !s.newUsers:
		return nil, errkind.New(errkind.Invalid, "the option idmap needs mappings: the mount has none, and the container no user namespace")
	case s.owners == nil:
		ns, err := s.newUserNamespace(s.uids, s.gids)
		if err != nil {
			return nil, err
		}
		s.owners = s.own(ns)
	}
	return s.owners, nil
}
