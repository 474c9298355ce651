package engine

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"

	"pier/api/docker"
	"pier/daemon/engine/internal/files"
	"pier/daemon/engine/internal/health"
	"pier/daemon/engine/internal/index"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/queue"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/streams"
	"pier/daemon/engine/internal/waiters"
	"pier/lib/clock"
	"pier/lib/errkind"
)

// row is a container's record as it rests in the table "containers". A row that readers can see is never changed:
// whoever changes one copies it first (see ctr.change). What its pointers lead to never changes either.
type row struct {
	ID       string
	Name     string // without slash
	Created  time.Time
	Image    digest.Digest
	Chain    digest.Digest `json:",omitempty"` // the image's top layer
	Platform string        // operating system, as inspect has it
	Config   *container.Config
	Host     *container.HostConfig
	Mounts   []settings.Mount                     `json:",omitempty"`
	Secrets  []docker.Secret                      `json:",omitempty"`
	Asked    map[string]*network.EndpointSettings `json:",omitempty"` // NetworkingConfig
	Only     bool                                 `json:",omitempty"` // Asked lists all networks, that of NetworkMode is not implied
	Life     lifecycle.Container
	// Pid and StartTime name the process of a running container, or of one that runs no more.
	Pid       int    `json:",omitempty"`
	StartTime uint64 `json:",omitempty"`
	// Settings and Ports are what the network room gave at the last start.
	Settings map[string]*network.EndpointSettings `json:",omitempty"`
	Ports    network.PortMap                      `json:",omitempty"`
	// RemoveVolumes is set with the state removing: its anonymous volumes go too.
	RemoveVolumes bool `json:",omitempty"`

	// Limiting is set while the limits of a running container are changed to something else than Host says.
	Limiting bool `json:",omitempty"`
	// Rewiring is the network whose interface comes to, or goes from, a running container while the rest of the record says
	// how it was before; or "".
	Rewiring string `json:",omitempty"`

	gone bool // the record is deleted; only in memory
}

func (r *row) rules() lifecycle.Rules {
	return lifecycle.Rules{
		Policy:     lifecycle.Policy{Name: string(r.Host.RestartPolicy.Name), Max: r.Host.RestartPolicy.MaximumRetryCount},
		AutoRemove: r.Host.AutoRemove,
	}
}

// ctr is one container in memory. Changes happen in its worker; anybody may read the current row and health.
type ctr struct {
	id     string
	work   queue.Queue // its worker
	now    atomic.Pointer[row]
	health health.Monitor // started and stopped by the worker

	// The worker's own.
	restart clock.Timer  // pending restart, or nil
	root    *os.File     // the mounted root, kept so that its unmounting is on nobody's path; or nil
	joining <-chan error // gets one value when the streams of a run are joined, and is closed; or nil

	files    files.Keep     // open views of its files, opened by the worker; a new start waits for them
	released sync.WaitGroup // background cleaning after an exit; a new start waits for it

	waiters waiters.Waiters[*row]
	streams streams.Set
}

func newCtr(r *row) *ctr {
	c := &ctr{id: r.ID}
	c.now.Store(r)
	return c
}

func (c *ctr) row() *row { return c.now.Load() }

// change publishes a copy of the row that f has changed. Only the worker calls it.
func (c *ctr) change(f func(r *row)) *row {
	next := *c.row()
	f(&next)
	c.now.Store(&next)
	return &next
}

// queueLimit is how long an operation waits for those before it. They all end in less, unless the machine or the
// supervisor is stuck.
const queueLimit = 30 * time.Second

// do runs f in the worker and returns its error. A caller that goes away does not stop f. Where f cannot begin for
// queueLimit it never does, and the error is Timeout.
func (c *ctr) do(ctx context.Context, f func() error) error {
	err := c.work.Do(ctx, queueLimit, func() error {
		if c.row().gone {
			return index.NotFound(c.id)
		}
		return f()
	})
	if err == queue.ErrBusy {
		return errkind.New(errkind.Timeout, "container %s is busy: %w for %v; the log of pierd and State in /proc/PID/status of "+
			"the supervisor (pier-runtime supervise) tell why", c.id, err, queueLimit)
	}
	return err
}
