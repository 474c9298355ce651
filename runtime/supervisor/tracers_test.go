package supervisor

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/runtime/supervisor/internal/journal"
)

func TestCanTrace(t *testing.T) {
	with := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL", "CAP_SYS_PTRACE"}}}
	without := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}}
	users := &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "user"}}}
	joined := &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid", Path: "/proc/1/ns/pid"}}}
	if !canTrace(with, nil) || !canTrace(with, joined) || canTrace(with, users) || canTrace(without, nil) || canTrace(&specs.Process{}, nil) {
		t.Error("a process can trace by its bounding set, unless that counts in a user namespace of its own")
	}
	if !joinsPids(joined) || joinsPids(users) || joinsPids(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid"}}}) {
		t.Error("a pid namespace is joined by its path")
	}
}

// Once there may be a tracer no exec takes the faster way, and the tracer waits for those that are on it.
func TestTracersWait(t *testing.T) {
	s := &Supervisor{tasks: map[shim.TaskRef]*task{}}
	container := func(id string) *task {
		j, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = j.Close() })
		c := &task{sup: s, ref: shim.TaskRef{ID: id}, journal: j}
		s.tasks[c.ref] = c
		return c
	}
	a, b := container("a"), container("b")
	may, done := s.hurry(a)
	if !may {
		t.Fatal("no tracer is about")
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.admitTracer(short, a, false); !errkind.Is(err, errkind.Timeout) {
		t.Errorf("a tracer beside an exec on the faster way: %v", err)
	}
	if may, _ := s.hurry(a); may {
		t.Error("an exec hurries past a tracer that waits")
	}
	done()
	if err := s.admitTracer(t.Context(), a, false); err != nil {
		t.Error(err)
	}
	may, done = s.hurry(b)
	if !may {
		t.Error("another container's tracer is nobody else's")
	}
	done()
	if err := s.admitTracer(t.Context(), a, true); err != nil {
		t.Error(err)
	}
	if may, _ := s.hurry(b); may {
		t.Error("a tracer in a joined pid namespace is everybody's")
	}
	if may, _ := s.hurry(container("c")); !may {
		t.Error("a container that came later has a pid namespace of its own")
	}
	guest := container("guest")
	s.expectTracers(guest)
	if may, _ := s.hurry(guest); may {
		t.Error("an exec hurries where processes of another container may see it")
	}
	delete(s.tasks, b.ref)
	if err := b.journal.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.admitTracer(t.Context(), b, false); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a tracer in a container that was deleted: %v", err)
	}
}
