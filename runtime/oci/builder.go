package oci

import (
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/kernel/spawn"
)

// builder collects the child's calls, and what the parent holds open for them until the child has executed its program.
type builder struct {
	*spawn.List
	files []*os.File
	opts  spawn.Options

	root     spawn.Arg  // the root's descriptor: every path of the container starts here
	pids     *os.File   // the pid namespace that a procfs shows, nil for the child's own
	procfs   spawn.Slot // the child's own procfs, once mounted
	haveProc bool
	null     spawn.Slot // the host's real /dev/null, once opened
	haveNull bool

	execs []spawn.Call // the attempts at execve, in order of the search path
}

// How many calls it takes to make a container, and to enter one.
const (
	callsToStart = 384
	callsToEnter = 112
)

func newBuilder(calls int) *builder { return &builder{List: spawn.New(calls)} }

// own keeps f until close and returns it.
func (b *builder) own(f *os.File) *os.File {
	b.files = append(b.files, f)
	return f
}

// close lets go of what the parent held open. Detached mounts that the child did not take vanish with it.
func (b *builder) close() {
	for _, f := range b.files {
		f.Close()
	}
	b.files = nil
}

// How paths of the container are resolved: never out of the root, never through /proc's magic links.
const (
	inRoot    = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	noFollow  = inRoot | unix.RESOLVE_NO_SYMLINKS
	ownProcfs = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS
)

// openAt adds openat2 of name from dir. The descriptor is close-on-exec.
func (b *builder) openAt(what string, dir spawn.Arg, name string, flags int, resolve uint64) spawn.Call {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	rel := name
	if resolve&unix.RESOLVE_IN_ROOT != 0 {
		if rel = strings.TrimLeft(name, "/"); rel == "" {
			rel = "."
		}
	}
	return b.Add(what, name, unix.SYS_OPENAT2, dir, b.String(rel), spawn.Pointer(b.List, how), spawn.Int(unsafeSizeofHow))
}

const unsafeSizeofHow = 24 // sizeof(struct open_how)

// moveMount adds the move of a detached mount onto a pinned place.
func (b *builder) moveMount(what, name string, from, to spawn.Arg) spawn.Call {
	return b.Add(what, name, unix.SYS_MOVE_MOUNT, from, b.empty(), to, b.empty(),
		spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// cloneMount adds a detached clone of what from is open on.
func (b *builder) cloneMount(what, name string, from spawn.Arg, flags uint, into spawn.Slot) spawn.Call {
	return b.Add(what, name, unix.SYS_OPEN_TREE, from, b.empty(),
		spawn.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|flags)).Into(into)
}

// setAttr adds mount_setattr of the mount that f is open on.
func (b *builder) setAttr(what, name string, f spawn.Arg, recursive bool, attr unix.MountAttr) spawn.Call {
	flags := unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	p := new(unix.MountAttr)
	*p = attr
	return b.Add(what, name, unix.SYS_MOUNT_SETATTR, f, b.empty(), spawn.Int(flags), spawn.Pointer(b.List, p), spawn.Int(unix.MOUNT_ATTR_SIZE_VER0))
}

func (b *builder) empty() spawn.Arg { return b.String("") }

func (b *builder) closeFD(fd spawn.Slot) {
	b.Add("close", "", unix.SYS_CLOSE, spawn.From(fd)).Tolerate()
}

// write adds one write of data and demands that it is taken whole.
func (b *builder) write(what, name string, fd spawn.Arg, data string) spawn.Call {
	return b.Add(what, name, unix.SYS_WRITE, fd, b.String(data), spawn.Int(len(data)))
}

// filesystem adds a new detached mount of fstype and returns its slot.
func (b *builder) filesystem(what, name, fstype string, options []string, attrs uint64) spawn.Slot {
	ctx, m := b.Slot(), b.Slot()
	b.Add(what, name, unix.SYS_FSOPEN, b.String(fstype), spawn.Int(unix.FSOPEN_CLOEXEC)).Into(ctx)
	b.setOptions(what, name, ctx, options)
	if fstype == "proc" && b.pids != nil {
		b.Add(what, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_FD), b.String(mount.PidsOption), spawn.Int(0), b.File(b.pids))
	}
	b.Add(what, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_CMD_CREATE), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	b.Add(what, name, unix.SYS_FSMOUNT, spawn.From(ctx), spawn.Int(unix.FSMOUNT_CLOEXEC), spawn.Int(attrs)).Into(m)
	b.closeFD(ctx)
	return m
}

// setOptions adds the options of a file system, each "key=value" or "flag".
func (b *builder) setOptions(what, name string, ctx spawn.Slot, options []string) {
	for _, o := range options {
		key, value, isString := strings.Cut(o, "=")
		if isString {
			b.Add(what+" option "+o, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_STRING), b.String(key), b.String(value), spawn.Int(0))
		} else {
			b.Add(what+" option "+o, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_FLAG), b.String(key), spawn.Int(0), spawn.Int(0))
		}
	}
}

// kindOf a mount's destination.
type kindOf int

const (
	aFolder kindOf = iota
	aFile
)

// destination adds what it takes to hold the place at name open in the returned slot, making it where it is missing. It
// is resolved in the child, when the mounts before it are in place, and whatever path it had then, the mount lands on
// this very descriptor.
func (b *builder) destination(what, name string, kind kindOf, resolve uint64) spawn.Slot {
	at := b.Slot()
	flags := unix.O_PATH
	if kind == aFolder {
		flags |= unix.O_DIRECTORY
	}
	try := b.openAt(what+": open destination", b.root, name, flags, resolve).Into(at).Tolerate(unix.ENOENT)
	parent := b.root
	parts := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if last && kind == aFile {
			b.Add("make file", name, unix.SYS_MKNODAT, parent, b.String(part), spawn.Int(unix.S_IFREG|0o644), spawn.Int(0)).Tolerate()
		} else {
			b.Add("make folder", name, unix.SYS_MKDIRAT, parent, b.String(part), spawn.Int(0o755)).Tolerate()
		}
		if last {
			b.openAt(what+": open destination", b.root, name, flags, resolve).Into(at)
			break
		}
		next := b.Slot()
		b.openAt(what+": open destination", b.root, strings.Join(parts[:i+1], "/"), unix.O_PATH|unix.O_DIRECTORY, resolve).Into(next)
		parent = spawn.From(next)
	}
	try.OnSuccess(b.Here())
	return at
}

// statfsType adds a look at the file system that fd is on; the first eight bytes at the returned address are its type.
func (b *builder) statfsType(name string, fd spawn.Arg) spawn.Arg {
	buf := spawn.Pointer(b.List, new(unix.Statfs_t))
	b.Add("statfs", name, unix.SYS_FSTATFS, fd, buf)
	return buf
}

// fdOf returns the number of f without changing its mode. The caller keeps f open.
func fdOf(f *os.File) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

func errnoOf(err error) syscall.Errno {
	for err != nil {
		if e, ok := err.(syscall.Errno); ok {
			return e
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		err = u.Unwrap()
	}
	return 0
}
