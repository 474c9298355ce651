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
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/idmap"
	"pier/runtime/oci/internal/mountopts"
)

var deviceTypes = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// underDev reports whether a device belongs below /dev, and its path there.
func underDev(d *specs.LinuxDevice) (string, bool) {
	return strings.CutPrefix(path.Clean(d.Path), "/dev/")
}

// node makes one of Spec.Linux.Devices under name in the folder dir, which is ours alone.
func (r *Root) node(dir int, name string, d *specs.LinuxDevice) error {
	kind, known := deviceTypes[d.Type]
	if !known {
		return errkind.New(errkind.Invalid, "device %s: unknown type %q", d.Path, d.Type)
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	uid, gid := r.hostRoot()
	if d.UID != nil {
		uid = int(idmap.Host(*d.UID, r.UIDs))
	}
	if d.GID != nil {
		gid = int(idmap.Host(*d.GID, r.GIDs))
	}
	return makeNode(dir, name, kind|mode, unix.Mkdev(uint32(d.Major), uint32(d.Minor)), uid, gid)
}

// otherDevices adds the devices that are not in our own tmpfs at /dev: those elsewhere, and all of them where nothing is
// mounted at /dev. They are binds of nodes in a tmpfs that nobody sees, so that they work in a user namespace too. A /dev
// that is bound shows what it shows.
func (r *Root) otherDevices() error {
	bound, bare := false, r.dev == nil
	for i := range r.Spec.Mounts {
		if m := &r.Spec.Mounts[i]; path.Clean(m.Destination) == "/dev" {
			o, _ := mountopts.Parse(m.Options)
			bound, bare = bound || o.Bind || m.Type == "bind", false
		}
	}
	var list []specs.LinuxDevice
	if bare {
		for _, d := range defaultDevices {
			list = append(list, specs.LinuxDevice{Path: "/dev/" + d.name, Type: "c", Major: int64(d.major), Minor: int64(d.minor)})
		}
	}
	for _, d := range r.Linux.Devices {
		if _, under := underDev(&d); !under || r.dev == nil && !bound {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil
	}
	nodes, err := mount.Filesystem("tmpfs", map[string]string{"source": "tmpfs", "mode": "711"}, mount.Nosuid|mount.Noexec)
	if err != nil {
		return err
	}
	r.Own(nodes)
	// Before Linux 6.15 only what is mounted somewhere can be bound. The host's /sys is where nobody looks meanwhile.
	const what, place = "make devices", "/sys"
	r.Add(what, place, unix.SYS_MOVE_MOUNT, r.File(nodes), r.Empty(), spawn.Int(unix.AT_FDCWD), r.String(place), spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
	defer func() { r.Add(what, place, unix.SYS_UMOUNT2, r.String(place), spawn.Int(unix.MNT_DETACH)) }()
	done := make(map[string]int, len(list))
	for i := range list {
		if !path.IsAbs(list[i].Path) {
			return errkind.New(errkind.Invalid, "device %q: its path is not absolute", list[i].Path)
		}
		done[path.Clean(list[i].Path)] = i // the last one of a path counts
	}
	for i := range list {
		d := &list[i]
		dest := path.Clean(d.Path)
		if done[dest] != i {
			continue
		}
		if kernelFolder(dest) || within(dest, "/proc") || within(dest, "/sys") {
			return errkind.New(errkind.Invalid, "device %s: not in /proc and /sys", d.Path)
		}
		name := strconv.Itoa(i)
		if err := r.node(calls.FD(nodes), name, d); err != nil {
			return err
		}
		r.showNode(nodes, name, dest)
	}
	if bare {
		r.devSymlinks()
	}
	return nil
}

// showNode adds the bind of a node to its place.
func (r *Root) showNode(nodes *os.File, name, dest string) {
	const what = "make device"
	node, clone := r.Slot(), r.Slot()
	r.OpenAt(what, r.File(nodes), name, unix.O_PATH|unix.O_NOFOLLOW, 0).Into(node)
	r.CloneMount(what, dest, spawn.From(node), 0, clone)
	resolve := uint64(calls.InRoot)
	if within(dest, "/dev") {
		resolve = calls.NoFollow
	}
	at := r.Destination(what, dest, calls.File, resolve)
	r.CheckNot(what+" over procfs", dest, r.StatfsType(dest, spawn.From(at)), ^uint64(0), unix.PROC_SUPER_MAGIC, unix.EPERM)
	r.MoveMount(what, dest, spawn.From(clone), spawn.From(at))
}

// devSymlinks adds the links of /dev to a root that has nothing mounted there.
func (r *Root) devSymlinks() {
	at := r.Destination("make folder", "/dev", calls.Folder, calls.NoFollow)
	for _, l := range devLinks {
		r.Add("symlink", "/dev/"+l[1], unix.SYS_SYMLINKAT, r.String(l[0]), spawn.From(at), r.String(l[1])).Tolerate(unix.EEXIST, unix.EROFS)
	}
}

// mountDevpts makes the container's own devpts, and the process's terminal in it.
func (r *Root) mountDevpts(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	options := make(map[string]string)
	for _, d := range o.Data {
		key, value, _ := strings.Cut(d, "=")
		// The parent mounts: its numbers, not the container's, name users and groups.
		if n, err := strconv.ParseUint(value, 10, 32); err == nil && (key == "gid" || key == "uid") {
			ids := r.GIDs
			if key == "uid" {
				ids = r.UIDs
			}
			value = strconv.Itoa(int(idmap.Host(uint32(n), ids)))
		}
		options[key] = value
	}
	if r.Linux.MountLabel != "" {
		options["context"] = r.Linux.MountLabel
	}
	pts, err := tty.Instance(options, mount.Attr(o.Set|o.RecSet))
	if err != nil {
		return err
	}
	r.devpts = r.Own(pts)
	if r.Spec.Process.Terminal {
		if r.Terminal, err = tty.Open(pts); err != nil {
			return err
		}
	}
	at := r.place("mount devpts", m, calls.Folder, before)
	r.MoveMount("mount devpts", "/dev/pts", r.File(pts), spawn.From(at))
	return nil
}
