// Package strays ends processes that belong to no container: what a daemon left that died in the middle of something.
//
// Start reading at Strays.End.
package strays

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"pier/api/shim"
	"pier/daemon/engine/custody"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// Strays knows how to end them. All fields are required; nothing of it changes. Safe for concurrent use.
type Strays struct {
	Custody *custody.Custodian
	Log     *slog.Logger
	// Life ends with the engine: then nothing is waited for any more.
	Life context.Context
}

// End kills a process that nobody wants and has it forgotten. It takes until the process is gone, but no longer than about
// ten seconds.
func (s *Strays) End(t shim.Task) {
	s.Log.Warn("process without a container ended", "task", t.ID, "pid", t.Pid)
	err := s.Custody.Signal(s.Life, shim.Signal{TaskRef: t.TaskRef, Signal: settings.SIGKILL, All: true})
	if err != nil && !errkind.Is(err, errkind.NotFound) {
		s.Log.Warn("stray process not killed", "task", t.ID, "error", err)
	}
	for range 100 {
		err := s.Custody.Delete(s.Life, t.TaskRef)
		if err == nil || errkind.Is(err, errkind.NotFound) || !s.Pause(100*time.Millisecond) {
			return
		}
	}
	s.Log.Error("stray process does not end", "task", t.ID, "pid", t.Pid)
}

// lateStart is how long a former daemon's start may take until its process can be ended.
const lateStart = 10 * time.Second

// EndLate ends the process of container id that a former daemon had started, and that nobody was told of, once it is there.
func (s *Strays) EndLate(id string) {
	const pause = 10 * time.Millisecond
	for range lateStart / pause {
		tasks, err := s.Custody.Tasks(s.Life)
		if err != nil {
			return
		}
		at := slices.IndexFunc(tasks, func(t shim.Task) bool { return t.ID == id && t.Exec == "" })
		if at >= 0 {
			s.End(tasks[at])
			return
		}
		if !s.Pause(pause) {
			return
		}
	}
}

// Forget has the supervisor forget what has ended.
func (s *Strays) Forget(ended []shim.Task) {
	for _, t := range ended {
		if err := s.Custody.Delete(s.Life, t.TaskRef); err != nil && s.Life.Err() == nil {
			s.Log.Warn("task not forgotten", "task", t.ID, "error", err)
		}
	}
}

// Pause waits and reports whether the engine goes on.
func (s *Strays) Pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.Life.Done():
		return false
	}
}
