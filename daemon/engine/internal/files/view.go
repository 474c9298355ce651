package files

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/moby/moby/api/types/mount"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/fsroot"
	kmount "pier/kernel/mount"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// View is a container's root with all that is mounted in it. Its owner closes it.
type View struct {
	Root    *fsroot.Root
	Running bool            // Root is that of a living process
	Hidden  uint64          // device of a file system whose files are not to be read; 0: none
	NoDev   bool            // what is in /dev is left out where the whole root is packed, as Docker shows it
	ctx     context.Context // ends when the view has to go
	release func()
	once    sync.Once
}

// Close gives the view back.
func (v *View) Close() { v.once.Do(v.release) }

// Context is done when the view is to be given back because its container is about to start or to be removed, or when
// the context given to Open ends.
func (v *View) Context() context.Context { return v.ctx }

// Keep holds the open views of one container. The zero value is ready. The views of a container that does not run share
// one set of mounts: an overlay must not be mounted twice.
type Keep struct {
	inUse sync.WaitGroup

	mu    sync.Mutex // guards what follows
	still *tree
	ends  map[*View]context.CancelCauseFunc
}

// tree is an open root and how many views use it.
type tree struct {
	root  *fsroot.Root
	close func()
	refs  int
}

// Still makes the root of a container that does not run.
type Still struct {
	Root     *os.File         // its own file system, detached; taken over
	Mounts   []settings.Mount // with sources, in the order of mounting
	Files    map[string]string
	ReadOnly bool   // its own file system is not to be written to
	Undo     func() // runs after the mounts are closed
}

// Running opens a view of the process pid, which began at startTime. NotFound where that has ended.
func (k *Keep) Running(ctx context.Context, pid int, startTime uint64) (*View, error) {
	handle, err := pidfd.Open(pid, startTime)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	root, err := fsroot.Open(fmt.Sprintf("/proc/%d/root", pid))
	if err == nil {
		// Only if the process is there still was it its root.
		if err = pidfd.Signal(handle, 0); err != nil {
			_ = root.Close()
		}
	}
	if err != nil {
		return nil, errkind.New(errkind.NotFound, "open the files of process %d: %w", pid, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add(ctx, &tree{root: root, close: func() { _ = root.Close() }}, true), nil
}

// Still opens a view of a container that does not run; make is called where no such view is open yet.
func (k *Keep) Still(ctx context.Context, s func() (Still, error)) (*View, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.still == nil {
		t, err := assemble(s)
		if err != nil {
			return nil, err
		}
		k.still = t
	}
	return k.add(ctx, k.still, false), nil
}

// add needs k.mu.
func (k *Keep) add(ctx context.Context, t *tree, running bool) *View {
	v := &View{Root: t.root, Running: running}
	var end context.CancelCauseFunc
	v.ctx, end = context.WithCancelCause(ctx)
	t.refs++
	k.inUse.Add(1)
	if k.ends == nil {
		k.ends = map[*View]context.CancelCauseFunc{}
	}
	k.ends[v] = end
	v.release = func() {
		end(nil)
		k.mu.Lock()
		delete(k.ends, v)
		t.refs--
		last := t.refs == 0
		if last && k.still == t {
			k.still = nil
		}
		if last {
			t.close() // under the lock: the next one must not mount it while it is mounted
		}
		k.mu.Unlock()
		k.inUse.Done()
	}
	return v
}

// Wait returns when no view is open. Those that still are after patience are told to end. Nobody may open one meanwhile.
func (k *Keep) Wait(patience time.Duration) {
	timer := time.AfterFunc(patience, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, end := range k.ends {
			end(errkind.New(errkind.Conflict, "the container is being started or removed"))
		}
	})
	defer timer.Stop()
	k.inUse.Wait()
}

// assemble puts a container's mounts together.
func assemble(prepare func() (Still, error)) (t *tree, err error) {
	s, err := prepare()
	if err != nil {
		return nil, err
	}
	var parts []kmount.Part
	defer func() {
		for _, p := range parts {
			_ = p.Mount.Close()
		}
		if err != nil {
			s.Undo()
		}
	}()
	own := fsroot.FromFile(s.Root)
	add := func(place string, open func() (*os.File, error)) error {
		f, err := open()
		if err != nil {
			return err
		}
		parts = append(parts, kmount.Part{Mount: f, Place: place})
		return nil
	}
	for _, m := range s.Mounts {
		if m.Type == mount.TypeTmpfs {
			continue // memory is gone with the processes
		}
		if err = add(m.Destination, func() (*os.File, error) { return openMount(m) }); err != nil {
			break
		}
	}
	for place, source := range s.Files {
		if _, statErr := own.Stat(place); err == nil && statErr == nil && exists(source) {
			err = add(place, func() (*os.File, error) { return kmount.OpenTree(source, false) })
		}
	}
	for _, p := range parts {
		if err == nil {
			err = makePlace(own, p)
		}
	}
	if err == nil && s.ReadOnly {
		err = kmount.SetAttr(s.Root, false, kmount.ReadOnly, 0)
	}
	if err != nil {
		_ = s.Root.Close()
		return nil, err
	}
	whole, err := kmount.Assemble(s.Root, parts)
	if err != nil {
		return nil, err
	}
	return &tree{root: fsroot.FromFile(whole.Root()), close: func() { _ = whole.Close(); s.Undo() }}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openMount clones the source of m.
func openMount(m settings.Mount) (*os.File, error) {
	f, err := openSource(m)
	if err != nil || m.RW {
		return f, err
	}
	if err := kmount.SetAttr(f, !m.ReadOnlyTop, kmount.ReadOnly, 0); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func openSource(m settings.Mount) (*os.File, error) {
	if m.Subpath == "" {
		return kmount.OpenTree(m.Source, !m.NonRecursive)
	}
	volume, err := fsroot.Open(m.Source)
	if err != nil {
		return nil, err
	}
	defer volume.Close()
	sub, err := volume.OpenFile(m.Subpath, fsroot.OPath, 0)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	return kmount.OpenTreeAt(sub, "", true)
}

// makePlace makes the folder or file on which a part goes, as a start would. A place inside another part is that one's
// affair: where it is missing Assemble says so.
func makePlace(root *fsroot.Root, p kmount.Part) error {
	if _, err := root.Stat(p.Place); err == nil {
		return nil
	}
	fi, err := p.Mount.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return root.MkdirAll(p.Place, 0o755, 0, 0)
	}
	if err := root.MkdirAll(p.Place+"/..", 0o755, 0, 0); err != nil {
		return err
	}
	return root.Mknod(p.Place, 0o644, 0)
}
