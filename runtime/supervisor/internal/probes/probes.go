// Package probes runs the short commands of health checks. A probe is the cheap kind of exec, of which there may be hundreds
// a second: one pipe, one wait and nothing on disk. It leaves no trace for a successor to find, so it must not outlive this
// program: the kernel kills it with us, an upgrade does before it executes the next program.
//
//	request -> round: begin, begin, ... gather -> answers
//	                  Memory: what each container ran last, and the calls that were prepared for it
//
// Locks: round.sending, then round.mu; Probes.mu and Memory.mu are taken alone.
//
// Start reading at Probes.Run.
package probes

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	"pier/kernel/pidfd"
	"pier/runtime/oci"
)

// Host knows the containers.
type Host interface {
	// Find returns a container that runs.
	Find(id string) (Place, error)
	// Enter completes c, of which ID says the container, and calls make. Until make has returned nobody else reaps
	// processes that it does not know.
	Enter(ctx context.Context, c *oci.ExecConfig, make func() error) error
}

// Place is a container that runs.
type Place struct {
	Memory *Memory
	// UID and GID are its root on the host where a user namespace maps that, else 0.
	UID, GID int
}

// Probes are all probes under way. It is safe for concurrent use.
type Probes struct {
	host Host
	log  *slog.Logger
	null *os.File // their input; nil: each opens its own

	mu      sync.Mutex // guards running
	running map[int]*probe
}

// New returns Probes of the containers that host knows.
func New(host Host, log *slog.Logger) *Probes {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		null = nil
	}
	return &Probes{host: host, log: log, null: null, running: map[int]*probe{}}
}

// Processes are the numbers of the processes that Probes reaps.
func (s *Probes) Processes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.running))
}

// Cut ends all probes, where this program is about to be another. No new one may begin any more.
func (s *Probes) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.running {
		p.cut = true
		_ = pidfd.Signal(p.process.Pidfd, kill)
	}
}
