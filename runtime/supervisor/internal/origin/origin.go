// Package origin is where a container's first process comes from: our own runtime, another one, or a checkpoint. Whichever it
// was, what comes back is a child of the supervisor, and everything after that is the same.
//
//	Start     -> oci | foreign | criu
//	Dump      -> criu: a checkpoint of what runs
//	Detach, Forget: what of them outlives the container on the host
//
// Start reading at Start.
package origin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/kernel/filelock"
	"pier/lib/errkind"
	"pier/runtime/criu"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/foreign"
)

const (
	// startLimit bounds the way from clone to execve; a file system that hangs must not hold a start for ever.
	startLimit = 60 * time.Second
	// restoreLimit bounds a restore, most of which is the reading of memory from disk.
	restoreLimit = 10 * time.Minute
)

// What criu leaves in a task's folder: the place where it is shown the root and the mounts of what it restores, and logs.
const (
	stageDir   = "criu"
	dumpLog    = "dump.log"
	dumpLock   = "dump.lock" // held by whoever makes a checkpoint, and by criu
	restoreLog = "restore.log"
)

// Container says what to start and how. All files are borrowed.
type Container struct {
	oci.Container
	// Runtime, where not nil, is the other runtime that starts it.
	Runtime *shim.Runtime
	// Restore, where not nil, has it begin as the checkpoint in the folder Images has it.
	Restore *shim.Restore
	Images  *os.File
	// Dir is the task's folder. Root is the supervisor's, where the log of the last restore that failed stays.
	Dir, Root string
}

// Limit is how long Start may take.
func (c *Container) Limit() time.Duration {
	if c.Restore != nil {
		return restoreLimit
	}
	return startLimit
}

// Start makes the first process and returns when it runs.
func Start(ctx context.Context, c *Container) (*oci.Process, error) {
	switch {
	case c.Restore != nil:
		return c.restore(ctx)
	case c.Runtime != nil:
		return foreign.Start(ctx, &foreign.Container{Container: c.Container, Runtime: *c.Runtime, Dir: c.Dir})
	}
	return oci.Start(ctx, &c.Container)
}

// restore notes the process nowhere before it runs: a successor of the supervisor ends what it finds half restored, and it can
// begin anew.
func (c *Container) restore(ctx context.Context) (*oci.Process, error) {
	if c.Runtime != nil {
		return nil, errkind.New(errkind.Unsupported, "restore of container %s: it is to run by the runtime %s, whose checkpoints only that can restore", c.ID, c.Runtime.Name)
	}
	work, err := os.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	defer work.Close()
	r := criu.Restore{Container: c.Container, Images: c.Images, Work: work, KeepLog: filepath.Join(c.Root, restoreLog),
		Dir: filepath.Join(c.Dir, stageDir), Allow: allow(c.Restore.CheckpointOptions)}
	r.TCPClose = c.Restore.TCPClose
	p, err := r.Do(ctx)
	if err == nil {
		_ = os.Remove(filepath.Join(c.Dir, restoreLog))
	}
	return p, err
}

func allow(o shim.CheckpointOptions) criu.Allow {
	return criu.Allow{TCPEstablished: o.TCPEstablished, ExtUnix: o.ExtUnixSockets, FileLocks: o.FileLocks}
}

// Running is a container that runs.
type Running struct {
	// Pid and StartTime name its first process, see pidfd.StartTime.
	Pid       int
	StartTime uint64
	Cgroup    *cgroup.Cgroup
	Terminal  bool
	// Runtime is the other runtime that started it, nil for ours.
	Runtime *shim.Runtime
	// Dir is the task's folder.
	Dir string
}

// Dump makes a checkpoint of c in the folder images, and leaves c as it is. It goes on to its end though ctx may end: criu lets
// the processes go in order then, and only then.
func Dump(ctx context.Context, c *Running, r *shim.Dump, images *os.File) error {
	if c.Runtime != nil {
		return errkind.New(errkind.Unsupported, "checkpoint of container %s: it runs by the runtime %s, whose containers only that can save", r.ID, c.Runtime.Name)
	}
	work, err := os.Open(c.Dir)
	if err != nil {
		return err
	}
	defer work.Close()
	held, err := filelock.Take(filepath.Join(c.Dir, dumpLock))
	if err != nil {
		return errkind.New(errkind.Of(err), "checkpoint of container %s: %w", r.ID, err)
	}
	defer held.Close()
	defer os.Remove(held.Name())
	d := criu.Dump{ID: r.ID, Pid: c.Pid, StartTime: c.StartTime, Cgroup: c.Cgroup, Held: held, Images: images, Work: work, Terminal: c.Terminal, Network: true,
		Leave: true, Allow: allow(r.CheckpointOptions)}
	if err := d.Do(ctx); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(c.Dir, dumpLog))
	return nil
}

// Dumping reports whether a predecessor had begun a checkpoint of the container whose task's folder is dir.
func Dumping(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, dumpLock))
	return err == nil
}

// dumpPatience is how long criu may take to notice that nobody hears it any more.
const dumpPatience = time.Minute

// AwaitDump waits until no criu of a predecessor's is at work on the container. When that ends it has the container stand still,
// or not, as it found it, whatever was done meanwhile.
func AwaitDump(dir string) {
	for end := time.Now().Add(dumpPatience); Dumping(dir) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if held, err := filelock.Take(filepath.Join(dir, dumpLock)); err == nil {
			_ = os.Remove(held.Name())
			_ = held.Close()
		}
	}
}

// Detach takes away what shows parts of the container below the folder dir of its task; nothing where it is gone.
func Detach(dir string) error {
	return errors.Join(foreign.Detach(dir), criu.Clear(filepath.Join(dir, stageDir)))
}

// Forget lets the runtime that has started the container, which is not ours, forget it. It may come more than once.
func Forget(ctx context.Context, id string, r shim.Runtime, dir string) error {
	return foreign.Delete(ctx, id, r, dir)
}
