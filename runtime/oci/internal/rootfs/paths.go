package rootfs

import (
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/runtime/oci/internal/calls"
)

// openNull opens the real null device for masks: the host's, before the root changes, or the one that we have just made where
// the host's cannot be seen. The child makes sure that it is character device 1:3, so that nothing in a container can stand
// in for it.
func (r *Root) openNull() spawn.Arg {
	if r.haveNull {
		return spawn.From(r.null)
	}
	r.null, r.haveNull = r.Slot(), true
	dev, name := spawn.Int(unix.AT_FDCWD), "/dev/null"
	if r.EmptyMounts != nil {
		dev, name = r.File(r.dev), "null"
	}
	r.OpenAt("open null device", dev, name, unix.O_PATH|unix.O_NOFOLLOW, 0).Into(r.null)
	stx := new(unix.Statx_t)
	r.Add("statx", "/dev/null", unix.SYS_STATX, spawn.From(r.null), r.Empty(), spawn.Int(unix.AT_EMPTY_PATH), spawn.Int(unix.STATX_TYPE), spawn.Pointer(r.List, stx))
	const what = "check null device"
	r.Check(what, "/dev/null", calls.Field(r.List, stx, &stx.Mode), unix.S_IFMT, unix.S_IFCHR, unix.EPERM)
	r.Check(what, "/dev/null", calls.Field(r.List, stx, &stx.Rdev_major), 0xffffffff, 1, unix.EPERM)
	r.Check(what, "/dev/null", calls.Field(r.List, stx, &stx.Rdev_minor), 0xffffffff, 3, unix.EPERM)
	return spawn.From(r.null)
}

// Cover adds what hides Linux.MaskedPaths and protects Linux.ReadonlyPaths.
func (r *Root) Cover() {
	r.maskedPaths()
	r.readonlyPaths()
}

// maskedPaths covers a folder with an empty read-only tmpfs and anything else with the null device. A path that does not
// exist is passed over.
func (r *Root) maskedPaths() {
	if len(r.Linux.MaskedPaths) == 0 {
		return
	}
	null := r.openNull()
	for _, p := range r.Linux.MaskedPaths {
		const what = "mask"
		at, clone := r.Slot(), r.Slot()
		folder := r.OpenAt(what, r.Root, p, unix.O_PATH|unix.O_DIRECTORY, calls.InRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		empty := r.Filesystem(what, p, "tmpfs", []string{"source=tmpfs", "nr_inodes=1"}, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		cover := r.MoveMount(what, p, spawn.From(empty), spawn.From(at))
		folder.OnError(r.Here())
		file := r.OpenAt(what, r.Root, p, unix.O_PATH, calls.InRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		r.CloneMount(what, p, null, 0, clone)
		r.MoveMount(what, p, spawn.From(clone), spawn.From(at))
		file.OnError(r.Here())
		cover.OnSuccess(r.Here())
	}
}

// readonlyPaths binds each path over itself, read-only with all below it. A path that does not exist is passed over.
func (r *Root) readonlyPaths() {
	for _, p := range r.Linux.ReadonlyPaths {
		const what = "make read-only"
		at, clone := r.Slot(), r.Slot()
		open := r.OpenAt(what, r.Root, p, unix.O_PATH, calls.InRoot).Into(at).Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP)
		r.CloneMount(what, p, spawn.From(at), unix.AT_RECURSIVE, clone)
		r.SetAttr(what, p, spawn.From(clone), true, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		r.MoveMount(what, p, spawn.From(clone), spawn.From(at))
		open.OnError(r.Here())
	}
}
