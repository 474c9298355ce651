package supervisor

import (
	"context"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/runtime/supervisor/internal/journal"
)

// A process of a container that has CAP_SYS_PTRACE over the host's user namespace could trace the next exec's process
// while that is being made, and with it whatever it shares with us. Where there may be such a process, known by a flag in
// the container's journal, an exec shares nothing; everywhere else it takes the faster way (oci.ExecConfig.NoTracers).

// canTrace reports whether p can come by the capability. Its bounding set is the most it ever has.
func canTrace(p *specs.Process, l *specs.Linux) bool {
	if l != nil && slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		return false
	}
	return p.Capabilities != nil && slices.Contains(p.Capabilities.Bounding, "CAP_SYS_PTRACE")
}

// joinsPids reports whether a container is to live in another's pid namespace. In the host's its tracers see everything
// anyway, and an exec enters none.
func joinsPids(l *specs.Linux) bool {
	return slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace && n.Path != "" })
}

// admitTracer says that container t is to have a process that can trace, and returns when no exec is on the faster way
// where that process could see it: in t or, if t has joined a pid namespace, in anyone's container.
func (s *Supervisor) admitTracer(ctx context.Context, t *task, joined bool) error {
	s.mu.Lock()
	if s.tasks[t.ref] != t && s.making[t.ref] != t { // deleted meanwhile, and its journal with it
		s.mu.Unlock()
		return errkind.New(errkind.Conflict, "container %s is not running", t.ref.ID)
	}
	marked := []*task{t}
	for _, other := range s.tasks {
		if joined && other.ref.Exec == "" && other != t {
			marked = append(marked, other)
		}
	}
	for _, m := range marked {
		m.journal.SetFlag(journal.Tracers, true)
	}
	s.mu.Unlock()
	for _, m := range marked {
		for s.hurrying(m) {
			select {
			case <-ctx.Done():
				return errkind.New(errkind.Timeout, "start in container %s: another exec in it does not come to its end: %w", m.ref.ID, ctx.Err())
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}

// expectTracers says that container t, which is yet to start, lives among the processes of another one. There may be one that
// can trace among those, now or later.
func (s *Supervisor) expectTracers(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.journal.SetFlag(journal.Tracers, true)
}

func (s *Supervisor) hurrying(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.hurrying > 0
}

// hurry reports whether an exec in container t may take the faster way, on which it counts until done is called.
func (s *Supervisor) hurry(t *task) (may bool, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks[shim.TaskRef{ID: t.ref.ID}] != t || t.journal.Flag(journal.Tracers) {
		return false, func() {}
	}
	t.hurrying++
	return true, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.hurrying--
	}
}
