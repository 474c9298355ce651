package mount

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// OverlayOptions describe an overlay.
type OverlayOptions struct {
	Lower       []string // read-only directories, top first; at least one
	Upper, Work string   // both empty for a read-only overlay; else directories of one file system
	Volatile    bool     // never synced: faster, but after a crash of the machine Upper must be thrown away
	ReadOnly    bool     // the mount refuses writes
	Label       string   // SELinux context of everything in it, "" for none
}

// Overlay makes a detached overlay mount. The caller closes it; closing the last reference unmounts it, which syncs
// Upper's file system unless Volatile, so close it away from a path that somebody waits for.
// Renaming a directory that comes from a lower one gives EXDEV inside, so that Upper alone always is a whole layer.
func Overlay(o OverlayOptions) (*os.File, error) {
	var attrs Attr
	if o.ReadOnly || o.Upper == "" {
		attrs = ReadOnly
	}
	if len(o.Lower) == 1 && o.Upper == "" {
		// The kernel wants two layers or an upper one; one alone is its own overlay.
		f, err := OpenTree(o.Lower[0], false)
		if err != nil {
			return nil, err
		}
		return withAttr(f, attrs)
	}
	if !takesLayers() {
		return overlayByMount(o, attrs)
	}
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system overlay: %w", err)
	}
	defer unix.Close(ctx)
	for _, dir := range o.Lower {
		if err := setDir(ctx, "lowerdir+", dir); err != nil {
			return nil, err
		}
	}
	if o.Upper != "" {
		if err := setDir(ctx, "upperdir", o.Upper); err != nil {
			return nil, err
		}
		if err := setDir(ctx, "workdir", o.Work); err != nil {
			return nil, err
		}
		if o.Volatile {
			if err := unix.FsconfigSetFlag(ctx, "volatile"); err != nil {
				return nil, optionError(ctx, "overlay", "volatile", err)
			}
		}
	}
	for _, key := range alwaysOff {
		if err := setOption(ctx, "overlay", key, "off"); err != nil {
			return nil, err
		}
	}
	if o.Label != "" {
		if err := setOption(ctx, "overlay", "context", o.Label); err != nil {
			return nil, err
		}
	}
	return create(ctx, "overlay", attrs)
}

// alwaysOff are the features that would put what an overlay knows into places other than the files of its upper layer.
var alwaysOff = [...]string{"redirect_dir", "metacopy", "index"}

// maxString is the longest option value that fsconfig(2) takes, without its terminating zero.
const maxString = 255

// setDir gives a directory to a file system context. A path too long for a string travels as a name of a descriptor.
func setDir(ctx int, key, dir string) error {
	if len(dir) <= maxString {
		return setOption(ctx, "overlay", key, dir)
	}
	n, err := openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(n)
	return setOption(ctx, "overlay", key, fmt.Sprintf("/proc/self/fd/%d", n))
}

func openDir(dir string) (int, error) {
	n, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return n, nil
}

// takesLayers reports whether overlay takes its lower layers one by one (Linux >= 6.7). Before 6.5 it does not read its
// options until the mount is made: then it takes nonsense too.
var takesLayers = sync.OnceValue(func() bool {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return true // whatever is wrong, Overlay will say it
	}
	defer unix.Close(ctx)
	return unix.FsconfigSetString(ctx, "lowerdir+", "/") == nil && unix.FsconfigSetString(ctx, "no such option", "/") != nil
})

// overlayByMount is Overlay where the file system takes its layers as one string only. That of fsconfig(2) ends at 255
// bytes, that of mount(2) at a page; and a page holds several hundred layers when they are named by the numbers of
// descriptors, which need no escapes either.
//
// mount(2) wants a place. It has one in a mount namespace that nobody else sees, of a thread that ends with this call;
// what remains is a detached clone.
func overlayByMount(o OverlayOptions, attrs Attr) (f *os.File, err error) {
	onPassingThread(func() { f, err = mountUnseen(o) })
	if err != nil {
		return nil, err
	}
	return withAttr(f, attrs)
}

// onPassingThread runs f on a thread that ends afterwards, whatever f did to it. The process's first thread never ends,
// and is what /proc/self shows: f does not run there.
func onPassingThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onPassingThread(f) // another one, for this one is taken meanwhile
			runtime.UnlockOSThread()
			return
		}
		f() // and stay locked: the thread goes with this goroutine
	}()
	<-done
}

// mountUnseen mounts an overlay on its own lowest directory, in a mount namespace that it makes for the calling thread,
// and returns a clone of the mount. The thread's working folder changes too.
func mountUnseen(o OverlayOptions) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare mount namespace", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("make mounts private", err)
	}
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return nil, os.NewSyscallError("chdir /proc/self/fd", err)
	}
	var dirs numbers // opened here: overlay refuses directories of another mount namespace
	defer dirs.close()
	options := "lowerdir=" + dirs.open(o.Lower...)
	if o.Upper != "" {
		options += ",upperdir=" + dirs.open(o.Upper) + ",workdir=" + dirs.open(o.Work)
		if o.Volatile {
			options += ",volatile"
		}
	}
	for _, key := range alwaysOff {
		options += "," + key + "=off"
	}
	if o.Label != "" {
		options += `,context="` + o.Label + `"` // it may hold commas
	}
	if dirs.err != nil {
		return nil, dirs.err
	}
	place := o.Lower[len(o.Lower)-1]
	if err := unix.Mount("overlay", place, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("mount file system overlay of %d layers: %w", len(o.Lower), err)
	}
	return OpenTree(place, false)
}

// numbers are directories held open for their short names in /proc/self/fd.
type numbers struct {
	fds []int
	err error // the first one
}

// open returns the names of dirs, joined as overlay wants them.
func (n *numbers) open(dirs ...string) string {
	names := make([]string, 0, len(dirs))
	for _, dir := range dirs {
		fd, err := openDir(dir)
		if err != nil {
			n.err = cmp.Or(n.err, err)
			continue
		}
		n.fds = append(n.fds, fd)
		names = append(names, strconv.Itoa(fd))
	}
	return strings.Join(names, ":")
}

func (n *numbers) close() {
	for _, fd := range n.fds {
		unix.Close(fd)
	}
}
