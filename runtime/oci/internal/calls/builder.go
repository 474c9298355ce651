// Package calls writes down what the child between clone3 and execve does: it adds to a list of system calls (kernel/spawn)
// those that open a path inside the container's root, make a file system, move a mount into place.
//
// Nothing is done until the list is run. What an addition returns stands for what its call will have returned.
//
// Start reading at Builder.
package calls

import (
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pier/kernel/mount"
	"pier/kernel/spawn"
)

// Builder collects the child's calls, and what the parent holds open for them until the child has executed its program. It
// belongs to one goroutine.
type Builder struct {
	*spawn.List
	Root spawn.Arg // the root's descriptor: every path of the container starts here
	Pids *os.File  // the pid namespace that a procfs shows, nil for the child's own

	files []*os.File
}

// How many calls it takes to make a container, and to enter one.
const (
	ToStart = 384
	ToEnter = 112
)

// New returns a Builder with room for so many calls; it may become more.
func New(calls int) *Builder { return &Builder{List: spawn.New(calls)} }

// Own keeps f until Close and returns it.
func (b *Builder) Own(f *os.File) *os.File {
	b.files = append(b.files, f)
	return f
}

// Close lets go of what is owned. Detached mounts that the child did not take vanish with it.
func (b *Builder) Close() {
	for _, f := range b.files {
		f.Close()
	}
	b.files = nil
}

// How paths of the container are resolved: never out of the root, never through /proc's magic links.
const (
	InRoot    = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	NoFollow  = InRoot | unix.RESOLVE_NO_SYMLINKS
	OwnProcfs = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS
)

// OpenAt adds openat2 of name from dir. The descriptor is close-on-exec.
func (b *Builder) OpenAt(what string, dir spawn.Arg, name string, flags int, resolve uint64) spawn.Call {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	rel := name
	if resolve&unix.RESOLVE_IN_ROOT != 0 {
		if rel = strings.TrimLeft(name, "/"); rel == "" {
			rel = "."
		}
	}
	return b.Add(what, name, unix.SYS_OPENAT2, dir, b.String(rel), spawn.Pointer(b.List, how), spawn.Int(sizeofHow))
}

const sizeofHow = 24 // sizeof(struct open_how)

// MoveMount adds the move of a detached mount onto a pinned place.
func (b *Builder) MoveMount(what, name string, from, to spawn.Arg) spawn.Call {
	return b.Add(what, name, unix.SYS_MOVE_MOUNT, from, b.Empty(), to, b.Empty(),
		spawn.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// CloneMount adds a detached clone of what from is open on.
func (b *Builder) CloneMount(what, name string, from spawn.Arg, flags uint, into spawn.Slot) spawn.Call {
	return b.Add(what, name, unix.SYS_OPEN_TREE, from, b.Empty(),
		spawn.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|flags)).Into(into)
}

// SetAttr adds mount_setattr of the mount that f is open on.
func (b *Builder) SetAttr(what, name string, f spawn.Arg, recursive bool, attr unix.MountAttr) spawn.Call {
	flags := unix.AT_EMPTY_PATH
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	p := new(unix.MountAttr)
	*p = attr
	return b.Add(what, name, unix.SYS_MOUNT_SETATTR, f, b.Empty(), spawn.Int(flags), spawn.Pointer(b.List, p), spawn.Int(unix.MOUNT_ATTR_SIZE_VER0))
}

// Empty is the path of the descriptor beside it (AT_EMPTY_PATH).
func (b *Builder) Empty() spawn.Arg { return b.String("") }

// CloseFD adds the closing of fd. That it was closed before is no failure.
func (b *Builder) CloseFD(fd spawn.Slot) {
	b.Add("close", "", unix.SYS_CLOSE, spawn.From(fd)).Tolerate()
}

// Write adds one write of data and demands that it is taken whole.
func (b *Builder) Write(what, name string, fd spawn.Arg, data string) spawn.Call {
	return b.Add(what, name, unix.SYS_WRITE, fd, b.String(data), spawn.Int(len(data)))
}

// Filesystem adds a new detached mount of fstype and returns its slot.
func (b *Builder) Filesystem(what, name, fstype string, options []string, attrs uint64) spawn.Slot {
	ctx, m := b.Slot(), b.Slot()
	b.Add(what, name, unix.SYS_FSOPEN, b.String(fstype), spawn.Int(unix.FSOPEN_CLOEXEC)).Into(ctx)
	b.SetOptions(what, name, ctx, options)
	if fstype == "proc" && b.Pids != nil {
		b.Add(what, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_FD), b.String(mount.PidsOption), spawn.Int(0), b.File(b.Pids))
	}
	b.Add(what, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_CMD_CREATE), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	b.Add(what, name, unix.SYS_FSMOUNT, spawn.From(ctx), spawn.Int(unix.FSMOUNT_CLOEXEC), spawn.Int(attrs)).Into(m)
	b.CloseFD(ctx)
	return m
}

// SetOptions adds the options of a file system, each "key=value" or "flag".
func (b *Builder) SetOptions(what, name string, ctx spawn.Slot, options []string) {
	for _, o := range options {
		key, value, isString := strings.Cut(o, "=")
		if isString {
			b.Add(what+" option "+o, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_STRING), b.String(key), b.String(value), spawn.Int(0))
		} else {
			b.Add(what+" option "+o, name, unix.SYS_FSCONFIG, spawn.From(ctx), spawn.Int(unix.FSCONFIG_SET_FLAG), b.String(key), spawn.Int(0), spawn.Int(0))
		}
	}
}

// Kind a mount's destination.
type Kind int

const (
	Folder Kind = iota // a folder
	File               // anything else, made as an empty file
)

// Destination adds what it takes to hold the place at name open in the returned slot, making it where it is missing. It
// is resolved in the child, when the mounts before it are in place, and whatever path it had then, the mount lands on
// this very descriptor.
func (b *Builder) Destination(what, name string, kind Kind, resolve uint64) spawn.Slot {
	at := b.Slot()
	flags := unix.O_PATH
	if kind == Folder {
		flags |= unix.O_DIRECTORY
	}
	try := b.OpenAt(what+": open destination", b.Root, name, flags, resolve).Into(at).Tolerate(unix.ENOENT)
	parent := b.Root
	parts := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if last && kind == File {
			b.Add("make file", name, unix.SYS_MKNODAT, parent, b.String(part), spawn.Int(unix.S_IFREG|0o644), spawn.Int(0)).Tolerate()
		} else {
			b.Add("make folder", name, unix.SYS_MKDIRAT, parent, b.String(part), spawn.Int(0o755)).Tolerate()
		}
		if last {
			b.OpenAt(what+": open destination", b.Root, name, flags, resolve).Into(at)
			break
		}
		next := b.Slot()
		b.OpenAt(what+": open destination", b.Root, strings.Join(parts[:i+1], "/"), unix.O_PATH|unix.O_DIRECTORY, resolve).Into(next)
		parent = spawn.From(next)
	}
	try.OnSuccess(b.Here())
	return at
}

// StatfsType adds a look at the file system that fd is on; the first eight bytes at the returned address are its type.
func (b *Builder) StatfsType(name string, fd spawn.Arg) spawn.Arg {
	buf := spawn.Pointer(b.List, new(unix.Statfs_t))
	b.Add("statfs", name, unix.SYS_FSTATFS, fd, buf)
	return buf
}

// FD returns the number of f without changing its mode. The caller keeps f open.
func FD(f *os.File) int {
	n := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// Field is the address of one field of a struct that is kept for the child: of whole, which holds part.
func Field[S, F any](l *spawn.List, whole *S, part *F) spawn.Arg { return spawn.Pointer(l, part) }
