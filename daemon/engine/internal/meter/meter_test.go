package meter

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"pier/kernel/cgroup"
	"pier/lib/errkind"
)

// source is containers whose cgroups are real. The one called stuck does not come back before release is closed.
type source struct {
	targets map[string]Target
	release chan struct{}
}

func (s source) Target(id string) (Target, bool) {
	if id == "stuck" {
		<-s.release
	}
	t, ok := s.targets[id]
	return t, ok
}

func newSource(t *testing.T, names ...string) source {
	t.Helper()
	s := source{targets: map[string]Target{}, release: make(chan struct{})}
	for _, name := range names {
		path := fmt.Sprintf("/pier-test-meter-%d/%s", os.Getpid(), name)
		c, err := cgroup.Create(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Delete()
			if parent, err := cgroup.Open(fmt.Sprintf("/pier-test-meter-%d", os.Getpid())); err == nil {
				_ = parent.Delete()
			}
		})
		s.targets[name] = Target{Cgroup: path, Pid: os.Getpid(), Network: true}
	}
	return s
}

// TestStuckContainer shows that a reading which does not come back delays nobody else, and nothing runs afterwards.
func TestStuckContainer(t *testing.T) {
	s := newSource(t, "a", "b")
	m := New(s)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stuck, a, b := m.Watch("stuck"), m.Watch("a"), m.Watch("b")
	for range 3 {
		for _, w := range []*Watch{a, b} {
			if sample, err := w.Next(ctx); err != nil || sample.Read.IsZero() {
				t.Fatalf("%s: %v, %v", w.g.id, sample.Read, err)
			}
		}
	}
	if len(stuck.c) != 0 {
		t.Error("the stuck one was read")
	}
	close(s.release)
	if _, err := stuck.Next(ctx); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("the one that is gone = %v", err)
	}
	for _, w := range []*Watch{stuck, a, b, a} {
		w.Close()
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		m.mu.Lock()
		running, gauges := m.running, len(m.gauges)
		m.mu.Unlock()
		if !running && gauges == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still running: %v, %d gauges", running, gauges)
		}
	}
}

// BenchmarkRound measures one second of 200 watched containers.
func BenchmarkRound(b *testing.B) {
	path := fmt.Sprintf("/pier-test-meter-%d", os.Getpid())
	c, err := cgroup.Create(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Delete()
	s := source{targets: map[string]Target{}}
	m := New(s)
	var gauges []*gauge
	for i := range 200 {
		id := fmt.Sprint(i)
		s.targets[id] = Target{Cgroup: path, Pid: os.Getpid(), Network: true}
		gauges = append(gauges, &gauge{id: id, watchers: map[*Watch]struct{}{}})
		m.gauges[id] = gauges[i]
	}
	for b.Loop() {
		round := make(chan *gauge, len(gauges))
		for _, g := range gauges {
			round <- g
		}
		close(round)
		m.readAll(round)
	}
}
