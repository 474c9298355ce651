package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/mountopts"
)

// mounts adds everything in Spec.Mounts, in order. Bind sources, /dev and devpts are made ready by the parent, which may
// do more than a child in a user namespace; file systems that belong to the child's namespaces (proc, sysfs, mqueue,
// cgroup) and tmpfs are made by the child.
func (r *Root) mounts() error {
	for i := range r.Spec.Mounts {
		m := &r.Spec.Mounts[i]
		o, err := mountopts.Parse(m.Options)
		if err == nil {
			err = r.mount(m, o, r.Spec.Mounts[:i])
		}
		if err != nil {
			return fail("mount", m.Destination, err)
		}
	}
	return nil
}

func (r *Root) mount(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	o.Bind = o.Bind || m.Type == "bind"
	o.Idmap = o.Idmap || len(m.UIDMappings)+len(m.GIDMappings) > 0
	switch {
	case o.Idmap && !o.Bind:
		return errkind.New(errkind.Unsupported, "only a bind can have id mappings of its own")
	case o.Remount:
		return r.remount(m, o)
	case o.CopyUp:
		return r.mountCopy(m, o, before)
	case o.Bind:
		return r.mountBind(m, o, before)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		return r.mountCgroup(m, o, before)
	case m.Type == "tmpfs" && path.Clean(m.Destination) == "/dev":
		return r.mountDev(m, o)
	case m.Type == "devpts" && path.Clean(m.Destination) == "/dev/pts":
		return r.mountDevpts(m, o, before)
	}
	return r.mountFilesystem(m, o, before)
}

// place pins the destination of a mount. The folders of the kernel's own file systems must be what they look like.
func (r *Root) place(what string, m *specs.Mount, kind calls.Kind, before []specs.Mount) spawn.Slot {
	dest := path.Clean(m.Destination)
	resolve := uint64(calls.InRoot)
	if kernelFolder(dest) || m.Type == "proc" || m.Type == "sysfs" {
		resolve = calls.NoFollow
	} else {
		r.prepareDestination(dest, kind, before)
	}
	at := r.Destination(what, dest, kind, resolve)
	if !within(dest, "/proc") {
		// However the path came to lead there: nothing covers the kernel's own files.
		r.CheckNot(what+" over procfs", m.Destination, r.StatfsType(m.Destination, spawn.From(at)), ^uint64(0), unix.PROC_SUPER_MAGIC, unix.EPERM)
	}
	return at
}

// kernelFolder reports whether dest is a folder that the kernel's files will be found in.
func kernelFolder(dest string) bool { return dest == "/proc" || dest == "/sys" || dest == "/dev" }

// prepareDestination makes a missing destination in the root file system itself. It is here for symbolic links whose
// target is missing (an image's /etc/resolv.conf), which the child's simpler way does not follow. What it cannot
// do, the child tries again and reports.
func (r *Root) prepareDestination(dest string, kind calls.Kind, before []specs.Mount) {
	for i := range before {
		if within(dest, path.Clean(before[i].Destination)) {
			return // it lies in another mount, which is not in place yet
		}
	}
	uid, gid := r.hostRoot()
	root := fsroot.FromFile(r.tree)
	if _, err := root.Stat(dest); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if kind == calls.Folder {
		_ = root.MkdirAll(dest, 0o755, uid, gid)
		return
	}
	for range 40 { // the kernel's bound on links in one path
		node, err := root.At(dest)
		if err != nil {
			break
		}
		target, err := node.Readlink()
		node.Close()
		if err != nil {
			return
		}
		if !strings.HasPrefix(target, "/") {
			target = path.Dir(dest) + "/" + target
		}
		dest = target
	}
	if err := root.MkdirAll(path.Dir(dest), 0o755, uid, gid); err != nil {
		return
	}
	f, err := root.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return
	}
	_ = f.Chown(uid, gid)
	f.Close()
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

// mountBind moves a clone of m.Source into place.
func (r *Root) mountBind(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	name := m.Source
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.Bundle, name)
	}
	source, err := openSource(name, o)
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.Invalid, "bind source path does not exist: %s: %w", m.Source, err)
	}
	if err != nil {
		return err
	}
	r.Own(source)
	if err := setBindAttrs(source, o); err != nil {
		return err
	}
	if o.Idmap {
		if err := r.mapOwners(source, m, o); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(calls.FD(source), &st); err != nil {
		return err
	}
	kind := calls.File
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		kind = calls.Folder
	}
	dest := path.Clean(m.Destination)
	if kernelFolder(dest) && kind != calls.Folder {
		return errkind.New(errkind.Invalid, "%s must stay a folder", dest)
	}
	if dest == "/proc" {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(calls.FD(source), &fs); err != nil {
			return os.NewSyscallError("statfs "+m.Source, err)
		}
		if fs.Type != unix.PROC_SUPER_MAGIC {
			return errkind.New(errkind.Invalid, "only procfs may be mounted on /proc, not %s", m.Source)
		}
	}
	what := "bind"
	at := r.place(what, m, kind, before)
	r.MoveMount(what, m.Destination, r.File(source), spawn.From(at))
	return nil
}

// BindSource returns what the bind mount m shows, detached, with the flags of m: for who makes the mounts of a container in
// another way. Bundle is where a relative source begins. nil where m is no bind; the caller closes it.
func BindSource(bundle string, m *specs.Mount) (*os.File, error) {
	o, err := mountopts.Parse(m.Options)
	if err != nil {
		return nil, err
	}
	if !o.Bind && m.Type != "bind" {
		return nil, nil
	}
	if o.Idmap || len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return nil, errkind.New(errkind.Unsupported, "id mappings of a bind cannot be made again")
	}
	name := m.Source
	if !filepath.IsAbs(name) {
		name = filepath.Join(bundle, name)
	}
	f, err := openSource(name, o)
	if err != nil {
		return nil, err
	}
	if err := setBindAttrs(f, o); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openSource clones what a bind shows.
func openSource(name string, o mountopts.Options) (*os.File, error) {
	if o.Subpath == "" {
		return mount.OpenTree(name, o.Recursive)
	}
	root, err := fsroot.Open(name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	part, err := root.OpenFile(o.Subpath, fsroot.OPath, 0)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	return mount.OpenTreeAt(part, "", o.Recursive)
}

// setBindAttrs gives a clone its flags. Without another word it is private: what is mounted in the container later
// stays there, and what is mounted on the host stays out.
func setBindAttrs(source *os.File, o mountopts.Options) error {
	if o.Propagation == 0 {
		o.Propagation, o.PropagateRecursive = unix.MS_PRIVATE, true
	}
	all := mountopts.Attr(o.RecSet, o.RecClear)
	one := mountopts.Attr(o.Set, o.Clear)
	if o.PropagateRecursive {
		all.Propagation = o.Propagation
	} else {
		one.Propagation = o.Propagation
	}
	fd := calls.FD(source)
	if all != (unix.MountAttr{}) {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &all); err != nil {
			return os.NewSyscallError("mount_setattr", err)
		}
	}
	if one != (unix.MountAttr{}) {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &one); err != nil {
			return os.NewSyscallError("mount_setattr", err)
		}
	}
	return nil
}

// remount changes the mount that is at a destination: its attributes, and the options of its file system.
func (r *Root) remount(m *specs.Mount, o mountopts.Options) error {
	const what = "remount"
	dest := path.Clean(m.Destination)
	at := r.Slot()
	r.OpenAt(what, r.Root, dest, unix.O_PATH, calls.InRoot).Into(at)
	stx := new(unix.Statx_t)
	r.Add(what, dest, unix.SYS_STATX, spawn.From(at), r.Empty(), spawn.Int(unix.AT_EMPTY_PATH), spawn.Int(unix.STATX_TYPE), spawn.Pointer(r.List, stx))
	r.Check(what, dest, calls.Field(r.List, stx, &stx.Attributes), unix.STATX_ATTR_MOUNT_ROOT, unix.STATX_ATTR_MOUNT_ROOT, unix.EINVAL)
	if all := mountopts.Attr(o.RecSet, o.RecClear); all != (unix.MountAttr{}) {
		r.SetAttr(what, dest, spawn.From(at), true, all)
	}
	if one := mountopts.Attr(o.Set, o.Clear); one != (unix.MountAttr{}) {
		r.SetAttr(what, dest, spawn.From(at), false, one)
	}
	if o.Propagation != 0 {
		r.SetAttr(what, dest, spawn.From(at), o.PropagateRecursive, unix.MountAttr{Propagation: o.Propagation})
	}
	if options := append(o.Flags, o.Data...); len(options) > 0 && !o.Bind {
		ctx := r.Slot()
		r.Add(what, dest, unix.SYS_FSPICK, spawn.From(at), r.Empty(), spawn.Int(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)).Into(ctx)
		r.SetOptions(what, dest, ctx, options)
		r.Add(what, dest, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_CMD_RECONFIGURE), spawn.Int(0), spawn.Int(0), spawn.Int(0))
		r.CloseFD(ctx)
	}
	return nil
}

// labeled are the file systems that take a SELinux label for everything in them.
var labeled = map[string]bool{"tmpfs": true, "mqueue": true, "devpts": true, "ramfs": true}

// mountFilesystem makes a new file system in the child and moves it into place.
func (r *Root) mountFilesystem(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	what := "mount " + m.Type
	if m.Type == "" || m.Type == "none" {
		return errkind.New(errkind.Invalid, "a mount needs a type or the option bind")
	}
	options := append(o.Flags, o.Data...)
	if r.Linux.MountLabel != "" && labeled[m.Type] {
		options = append(options, "context="+r.Linux.MountLabel)
	}
	if m.Source != "" && m.Source != "none" {
		options = append([]string{"source=" + m.Source}, options...)
	}
	fsMount := r.Filesystem(what, m.Destination, m.Type, options, o.Set|o.RecSet)
	at := r.place(what, m, calls.Folder, before)
	r.MoveMount(what, m.Destination, spawn.From(fsMount), spawn.From(at))
	if o.Propagation != 0 {
		r.SetAttr(what, m.Destination, spawn.From(fsMount), o.PropagateRecursive, unix.MountAttr{Propagation: o.Propagation})
	}
	if m.Type == "proc" && path.Clean(m.Destination) == "/proc" {
		r.procfs, r.haveProc = fsMount, true
	}
	return nil
}

// Proc returns the child's own procfs, mounting one that nobody sees if the container has none.
func (r *Root) Proc() spawn.Arg {
	if !r.haveProc {
		r.procfs, r.haveProc = r.Filesystem("mount proc", "/proc", "proc", nil, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC), true
	}
	return spawn.From(r.procfs)
}

// Delegated reports whether a mount leaves the container what limits nothing of its control groups.
func Delegated(m specs.Mount) bool {
	return m.Type == "cgroup" && slices.Contains(m.Options, shim.DelegateOption)
}

// mountCgroup shows the container its control groups: on v2 the file system itself, seen from the container's cgroup
// namespace; on v1 a small tmpfs with a bind of the container's own group in each hierarchy.
func (r *Root) mountCgroup(m *specs.Mount, o mountopts.Options, before []specs.Mount) error {
	what := "mount cgroup"
	attrs := o.Set | o.RecSet
	free := attrs // for what may be written to
	v1 := len(r.tasks) > 0
	if Delegated(*m) && (v1 || r.OwnCgroups) { // v2 shows all that the cgroup namespace has
		free &^= unix.MOUNT_ATTR_RDONLY
	}
	if !v1 {
		fsMount := r.Filesystem(what, m.Destination, "cgroup2", nil, free)
		at := r.place(what, m, calls.Folder, before)
		r.MoveMount(what, m.Destination, spawn.From(fsMount), spawn.From(at))
		return nil
	}
	var dirs []string
	for _, tasks := range r.tasks {
		dirs = append(dirs, filepath.Dir(tasks))
	}
	top, err := mount.Filesystem("tmpfs", map[string]string{"mode": "755", "source": "tmpfs"}, mount.Attr(o.Set&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return err
	}
	r.Own(top)
	uid, gid := r.hostRoot()
	dest := path.Clean(m.Destination)
	at := r.place(what, m, calls.Folder, before)
	r.MoveMount(what, dest, r.File(top), spawn.From(at))
	for _, dir := range dirs {
		name := filepath.Base(strings.TrimSuffix(dir, r.Cgroup.Path()))
		bind, err := mount.OpenTree(dir, false)
		if err != nil {
			return err
		}
		r.Own(bind)
		set := attrs
		if bare, err := cgroup.Bare(dir); err == nil && bare {
			set = free
		}
		if err := setBindAttrs(bind, mountopts.Options{Set: set}); err != nil {
			return err
		}
		if err := unix.Mkdirat(calls.FD(top), name, 0o755); err != nil {
			return os.NewSyscallError("mkdir "+name, err)
		}
		if err := unix.Fchownat(calls.FD(top), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return os.NewSyscallError("chown "+name, err)
		}
		sub := r.Slot()
		r.OpenAt(what, r.File(top), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0).Into(sub)
		r.MoveMount(what, dest+"/"+name, r.File(bind), spawn.From(sub))
		// Hierarchies with several controllers are mounted under all their names joined; each name leads there too.
		for alias := range strings.SplitSeq(name, ",") {
			if alias != name {
				if err := unix.Symlinkat(name, calls.FD(top), alias); err != nil {
					return os.NewSyscallError("symlink "+alias, err)
				}
			}
		}
	}
	if o.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		r.SetAttr(what, dest, r.File(top), false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}
