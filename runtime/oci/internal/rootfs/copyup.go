package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/copytree"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/mountopts"
)

// mountCopy makes a tmpfs that begins with what the image has at its destination (option tmpcopyup). The parent makes and
// fills it, before anybody sees it.
func (r *Root) mountCopy(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	dest := path.Clean(m.Destination)
	if m.Type != "tmpfs" || kernelFolder(dest) {
		return errkind.New(errkind.Invalid, "the option tmpcopyup is for a tmpfs outside of /dev, /proc and /sys")
	}
	for i := range before {
		if within(dest, path.Clean(before[i].Destination)) {
			return errkind.New(errkind.Unsupported, "tmpcopyup copies from the root, but %s lies in the mount at %s", dest, before[i].Destination)
		}
	}
	options := map[string]string{"source": "tmpfs"}
	for _, d := range o.Data {
		key, value, _ := strings.Cut(d, "=")
		options[key] = value
	}
	tmp, err := mount.Filesystem("tmpfs", options, mount.Attr((o.Set|o.RecSet)&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return err
	}
	r.Own(tmp)
	uid, gid := r.hostRoot()
	if err := unix.Fchownat(calls.FD(tmp), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("chown", err)
	}
	from, err := fsroot.FromFile(r.tree).OpenFile(dest, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		_, hasMode := options["mode"]
		err = copytree.Copy(context.Background(), fsroot.FromFile(tmp), from, copytree.Options{Itself: !hasMode, Lossy: true})
		from.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const what = "mount tmpfs"
	at := r.place(what, m, calls.Folder, before)
	r.MoveMount(what, m.Destination, r.File(tmp), spawn.From(at))
	if o.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		r.SetAttr(what, m.Destination, r.File(tmp), false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if o.Propagation != 0 {
		r.SetAttr(what, m.Destination, r.File(tmp), o.PropagateRecursive, unix.MountAttr{Propagation: o.Propagation})
	}
	return nil
}
