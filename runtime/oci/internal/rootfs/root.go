package rootfs

import (
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/cgroup"
	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/idmap"
	"pier/runtime/oci/internal/mountopts"
)

// Options say what a root is made of. All files are borrowed.
type Options struct {
	// Spec is the container's configuration, Linux what that says of Linux, not nil. Neither is changed.
	Spec  *specs.Spec
	Linux *specs.Linux
	// Bundle is the folder that relative paths of the host start from.
	Bundle string
	// Rootfs is the root as a detached mount, which is used up; nil for a clone of what is at Spec.Root.Path.
	Rootfs *os.File
	// EmptyMounts, where not nil, is what the container's mount namespace begins as a copy of (mount.Empty): see Plain.
	EmptyMounts *os.File
	// Cgroup is the container's, OwnCgroups whether it has a cgroup namespace of its own.
	Cgroup     *cgroup.Cgroup
	OwnCgroups bool
	// UIDs and GIDs are the maps of the container's user namespace, empty without one. Users is that, where it is joined.
	UIDs, GIDs []specs.LinuxIDMapping
	Users      *os.File
	// NoPivot changes the root by chroot.
	NoPivot bool
}

// Root is the root file system of one container in the making. The calls of its methods, each called once and in the
// order Open, Fill, Cover, Change, are the child's; what the parent opens for them belongs to the Builder. Errors are *Error.
type Root struct {
	*calls.Builder
	Options
	// Terminal is nil without one. The caller closes it.
	Terminal *tty.Pair

	tasks       []string // see Fill
	tree        *os.File // the root as a detached mount; the child's descriptor of it is Builder.Root
	dev         *os.File // our tmpfs for /dev, nil if the specification has none
	devReadOnly bool
	devpts      *os.File   // our devpts, nil if the specification has none
	owners      *os.File   // a user namespace with the container's mappings for mounts, once needed
	procfs      spawn.Slot // the child's own procfs, once mounted
	haveProc    bool
	null        spawn.Slot // the host's real /dev/null, once opened
	haveNull    bool
}

// Error says what the parent could not do, and for what path.
type Error struct {
	Call, Path string
	Err        error
}

func (e *Error) Error() string { return e.Call + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func fail(call, name string, err error) error { return &Error{call, name, err} }

// Open finds the root as a detached mount: the one given, or a clone of Spec.Root.Path.
func (r *Root) Open() error {
	r.tree = r.Rootfs
	if r.tree == nil {
		if r.Spec.Root == nil || r.Spec.Root.Path == "" {
			return fail("open", "root", errkind.New(errkind.Invalid, "the configuration names no root"))
		}
		name := r.Spec.Root.Path
		if !filepath.IsAbs(name) {
			name = filepath.Join(r.Bundle, name)
		}
		clone, err := mount.OpenTree(name, true)
		if err != nil {
			return fail("open root", name, err)
		}
		r.tree = r.Own(clone)
		var o mountopts.Options
		// A slave goes on to get what the host mounts below the root. Anything else gets and gives nothing.
		if p := propagations[r.Linux.RootfsPropagation]; p == unix.MS_SLAVE {
			o.Propagation, o.PropagateRecursive = p, true
		}
		if err := setBindAttrs(clone, o); err != nil {
			return fail("open root", name, err)
		}
	}
	r.Root = r.File(r.tree)
	return nil
}

// Fill adds the root and all that is mounted in it. tasks are the files of the container's groups in the hierarchies of
// cgroup v1, empty on v2. Afterwards Terminal is the process's terminal, where it has one.
func (r *Root) Fill(tasks []string) error {
	r.tasks = tasks
	r.attach()
	if err := r.mounts(); err != nil {
		return err
	}
	if err := r.otherDevices(); err != nil {
		return fail("make", "devices", err)
	}
	if r.Spec.Process.Terminal && r.Terminal == nil {
		return fail("open", "terminal", errkind.New(errkind.Invalid, "a terminal needs a devpts mount at /dev/pts"))
	}
	r.console()
	return nil
}

// attach adds the root to the child's mount namespace, which it makes its own first: nothing mounted from here on
// reaches the host. It lies upon "/", or at its path on the host where hooks of the container are to see both.
func (r *Root) attach() {
	if empty := r.EmptyMounts; empty != nil {
		r.Add("join namespace", empty.Name(), unix.SYS_SETNS, r.File(empty), spawn.Int(unix.CLONE_NEWNS))
		r.Add("unshare", "mnt", unix.SYS_UNSHARE, spawn.Int(unix.CLONE_NEWNS))
	} else {
		r.Add("make mounts private", "/", unix.SYS_MOUNT, r.Empty(), r.String("/"), spawn.Int(0), spawn.Int(unix.MS_REC|unix.MS_PRIVATE), spawn.Int(0))
	}
	r.Add("attach root", r.tree.Name(), unix.SYS_MOVE_MOUNT, r.Root, r.Empty(), spawn.Int(unix.AT_FDCWD), r.String(r.hostPlace()),
		spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// Plain reports whether the child finds its way without the host's mounts: it has its own /dev with nothing odd in it,
// and no hook is to see both roots.
func Plain(spec *specs.Spec, linux *specs.Linux) bool {
	odd := func(d specs.LinuxDevice) bool {
		name, under := underDev(&d)
		return !under || name == "null"
	}
	dev := func(m specs.Mount) bool { return m.Type == "tmpfs" && path.Clean(m.Destination) == "/dev" }
	return spec.Hooks == nil && slices.ContainsFunc(spec.Mounts, dev) && !slices.ContainsFunc(linux.Devices, odd)
}

// hostPlace is where the root lies until it is the root.
func (r *Root) hostPlace() string {
	if h := r.Spec.Hooks; h != nil && len(h.CreateContainer) > 0 {
		if r.Rootfs == nil {
			return r.tree.Name()
		}
		// Hooks of a container whose root came as a mount look for it where the bundle's configuration says.
		if r.Bundle != "" && r.Spec.Root != nil && filepath.IsAbs(r.Spec.Root.Path) {
			return r.Spec.Root.Path
		}
	}
	return "/"
}

// hostRoot returns who on the host is root in the container.
func (r *Root) hostRoot() (uid, gid int) {
	return int(idmap.Host(0, r.UIDs)), int(idmap.Host(0, r.GIDs))
}

// MakeFolder adds the making of a folder where there is none yet. It comes after Fill and before Change, after which the
// root may be read-only.
func (r *Root) MakeFolder(what, name string) {
	if name = path.Clean(name); name != "/" {
		r.CloseFD(r.Destination(what, name, calls.Folder, calls.InRoot))
	}
}

// Change makes the new root the root, and read-only what must be; the host's mounts go.
func (r *Root) Change() {
	if r.devReadOnly {
		r.SetAttr("make read-only", "/dev", r.File(r.dev), false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if r.Spec.Root != nil && r.Spec.Root.Readonly {
		r.SetAttr("make read-only", "/", r.Root, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	r.Add("fchdir", "/", unix.SYS_FCHDIR, r.Root)
	dot := r.String(".")
	if r.NoPivot || r.EmptyMounts != nil { // an empty one has nothing below the root that could be found
		if r.hostPlace() != "/" {
			r.Add("move root", "/", unix.SYS_MOVE_MOUNT, r.Root, r.Empty(), spawn.Int(unix.AT_FDCWD), r.String("/"), spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
		}
		r.Add("chroot", "/", unix.SYS_CHROOT, dot)
	} else {
		r.Add("pivot_root", "/", unix.SYS_PIVOT_ROOT, dot, dot)
		r.Add("unmount old root", "/", unix.SYS_UMOUNT2, dot, spawn.Int(unix.MNT_DETACH))
	}
	if p := propagations[r.Linux.RootfsPropagation]; p != 0 {
		r.SetAttr("set propagation", "/", r.Root, r.Linux.RootfsPropagation[0] == 'r', unix.MountAttr{Propagation: p})
	}
	r.Add("chdir", "/", unix.SYS_CHDIR, r.String("/"))
}

var propagations = map[string]uint64{
	"": 0, "private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE,
}
