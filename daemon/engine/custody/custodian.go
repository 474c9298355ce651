package custody

import (
	"context"
	"os"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// Custodian is pierd's hold on the supervisor. It is safe for concurrent use.
type Custodian struct {
	exits *feed.Feed[shim.Exit]
}

// Open dials a living supervisor and takes up its tasks, or starts a new one that adopts what still runs.
func Open(ctx context.Context, o Options) (*Custodian, error) {
	return nil, errkind.New(errkind.Unavailable, "open custody: not ready")
}

// Start runs a container's first process and returns once its execve has succeeded.
func (c *Custodian) Start(ctx context.Context, s *shim.Start, rootfs, netns *os.File) (*shim.Task, error) {
	return nil, errkind.New(errkind.Unavailable, "start: not ready")
}

// Exec runs one more process in a running container.
func (c *Custodian) Exec(ctx context.Context, e *shim.Exec) (*shim.Task, error) {
	return nil, errkind.New(errkind.Unavailable, "exec: not ready")
}

// Signal sends a signal to a task.
func (c *Custodian) Signal(ctx context.Context, s shim.Signal) error { return nil }

// Resize sets a terminal's size.
func (c *Custodian) Resize(ctx context.Context, r shim.Resize) error { return nil }

// Freeze pauses or continues a container.
func (c *Custodian) Freeze(ctx context.Context, f shim.Freeze) error { return nil }

// Update changes a container's limits.
func (c *Custodian) Update(ctx context.Context, u shim.Update) error { return nil }

// Delete forgets a task that has exited.
func (c *Custodian) Delete(ctx context.Context, ref shim.TaskRef) error { return nil }

// Attach joins the streams of a task, before or after its start.
func (c *Custodian) Attach(ctx context.Context, a shim.Attach) (Stream, error) {
	return nil, errkind.New(errkind.Unavailable, "attach: not ready")
}

// Tasks lists what the supervisor holds.
func (c *Custodian) Tasks(ctx context.Context) ([]shim.Task, error) { return nil, nil }

// Exits returns a reader of all exits, each exactly once, those found at Open first.
func (c *Custodian) Exits() *feed.Reader[shim.Exit] { return c.exits.Head() }

// SupervisorPid is the process number of the living supervisor.
func (c *Custodian) SupervisorPid() int { return 0 }

// Upgrade makes the supervisor execute the binary now at its path, tasks kept.
func (c *Custodian) Upgrade(ctx context.Context) error { return nil }

// Shutdown ends the supervisor; it is an error of kind conflict while a task lives.
func (c *Custodian) Shutdown(ctx context.Context) error { return nil }

// Close lets go of everything; the supervisor and its tasks go on.
func (c *Custodian) Close() error { return nil }
