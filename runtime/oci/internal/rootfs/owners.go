package rootfs

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/idmap"
	"pier/runtime/oci/internal/mountopts"
)

// mapOwners makes a clone show other owners than the file system has (mount_setattr MOUNT_ATTR_IDMAP; Linux >= 5.12): by
// the mappings of the mount, else by those of the container's user namespace.
func (r *Root) mapOwners(source *os.File, m *specs.Mount, o mountopts.Options) error {
	ns, err := r.ownersOf(m)
	if err != nil {
		return err
	}
	a := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(calls.FD(ns))}
	flags := uint(unix.AT_EMPTY_PATH)
	if o.IdmapRecursive {
		flags |= unix.AT_RECURSIVE
	}
	err = unix.MountSetattr(calls.FD(source), "", flags, &a)
	if err == unix.EINVAL || err == unix.EPERM {
		return errkind.New(errkind.Unsupported, "its file system cannot show other owners, or does already: %w", err)
	}
	return os.NewSyscallError("mount_setattr", err)
}

// ownersOf returns the user namespace that holds the mappings. It belongs to the builder.
func (r *Root) ownersOf(m *specs.Mount) (*os.File, error) {
	uids, gids := m.UIDMappings, m.GIDMappings
	if (len(uids) == 0) != (len(gids) == 0) {
		return nil, errkind.New(errkind.Invalid, "uidMappings and gidMappings go together")
	}
	if len(uids) > 0 {
		ns, err := idmap.Namespace(uids, gids)
		if err != nil {
			return nil, err
		}
		return r.Own(ns), nil
	}
	switch {
	case r.Users != nil:
		return r.Users, nil
	case len(r.UIDs) == 0:
		return nil, errkind.New(errkind.Invalid, "the option idmap needs mappings: the mount has none, and the container no user namespace")
	case r.owners == nil:
		ns, err := idmap.Namespace(r.UIDs, r.GIDs)
		if err != nil {
			return nil, err
		}
		r.owners = r.Own(ns)
	}
	return r.owners, nil
}
