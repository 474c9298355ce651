package rootfs

import (
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/mountopts"
)

// defaultDevices are in every container's /dev (runtime-spec config-linux.md "Default Devices").
var defaultDevices = [...]struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var devLinks = [...][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	{"pts/ptmx", "ptmx"},
}

// mountDev makes the container's /dev: a tmpfs that the parent fills before anybody sees it, so that device nodes work in
// a user namespace too. Its destination must be a real folder of the root.
func (r *Root) mountDev(m *specs.Mount, o mountopts.Options) error {
	options := map[string]string{"source": "tmpfs"}
	for _, d := range o.Data {
		key, value, _ := strings.Cut(d, "=")
		options[key] = value
	}
	if r.Linux.MountLabel != "" {
		options["context"] = r.Linux.MountLabel
	}
	dev, err := mount.Filesystem("tmpfs", options, mount.Attr((o.Set|o.RecSet)&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return err
	}
	r.dev = r.Own(dev)
	r.devReadOnly = o.ReadOnly()
	uid, gid := r.hostRoot()
	fd := calls.FD(dev)
	if uid != 0 || gid != 0 {
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return os.NewSyscallError("chown /dev", err)
		}
	}
	for _, d := range defaultDevices {
		if err := makeNode(fd, d.name, unix.S_IFCHR|0o666, unix.Mkdev(d.major, d.minor), uid, gid); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], fd, l[1]); err != nil {
			return os.NewSyscallError("symlink /dev/"+l[1], err)
		}
	}
	if _, err := os.Lstat("/proc/kcore"); err == nil {
		if err := unix.Symlinkat("/proc/kcore", fd, "core"); err != nil {
			return os.NewSyscallError("symlink /dev/core", err)
		}
	}
	for i := range r.Linux.Devices {
		if name, ok := underDev(&r.Linux.Devices[i]); ok {
			if err := r.device(fd, name, &r.Linux.Devices[i]); err != nil {
				return err
			}
		}
	}
	if r.Spec.Process.Terminal {
		if err := makeNode(fd, "console", unix.S_IFREG|0o620, 0, uid, gid); err != nil {
			return err
		}
	}
	at := r.place("mount /dev", m, calls.Folder, nil)
	r.MoveMount("mount /dev", "/dev", r.File(dev), spawn.From(at))
	return nil
}

// makeNode makes a file with exactly this mode: the process's umask does not apply.
func makeNode(dir int, name string, mode uint32, dev uint64, uid, gid int) error {
	if err := unix.Mknodat(dir, name, mode, int(dev)); err != nil {
		return os.NewSyscallError("mknod /dev/"+name, err)
	}
	if err := unix.Fchmodat(dir, name, mode&0o7777, 0); err != nil {
		return os.NewSyscallError("chmod /dev/"+name, err)
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return os.NewSyscallError("chown /dev/"+name, err)
		}
	}
	return nil
}

// device makes one of Spec.Linux.Devices in the new /dev. One that is there by default is replaced.
func (r *Root) device(dev int, name string, d *specs.LinuxDevice) error {
	// The tree is ours alone and holds only what this file put there: plain steps are safe.
	dirs := strings.Split(name, "/")
	for i := 1; i < len(dirs); i++ {
		if err := unix.Mkdirat(dev, path.Join(dirs[:i]...), 0o755); err != nil && err != unix.EEXIST {
			return os.NewSyscallError("mkdir /dev/"+path.Join(dirs[:i]...), err)
		}
	}
	if err := unix.Unlinkat(dev, name, 0); err != nil && err != unix.ENOENT {
		return os.NewSyscallError("replace "+d.Path, err)
	}
	return r.node(dev, name, d)
}

// console shows the process's terminal at /dev/console: a bind of the slave, taken from our own devpts by descriptor,
// whatever lies at /dev/pts by now.
func (r *Root) console() {
	if r.Terminal == nil {
		return
	}
	slave, clone := r.Slot(), r.Slot()
	const what = "bind /dev/console"
	r.OpenAt(what, r.File(r.devpts), strconv.Itoa(r.Terminal.Number), unix.O_PATH|unix.O_NOFOLLOW, 0).Into(slave)
	r.CloneMount(what, "", spawn.From(slave), 0, clone)
	at := r.Destination(what, "/dev/console", calls.File, calls.NoFollow)
	r.MoveMount(what, "/dev/console", spawn.From(clone), spawn.From(at))
}
