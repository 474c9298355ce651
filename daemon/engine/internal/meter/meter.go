// Package meter measures what containers use: for all who watch together, once a second each container that anybody
// watches, whatever the number of watchers. Nothing runs while nobody watches.
//
//	Watch "a" --+            every second, one reader:
//	Watch "a" --+-> gauge a  cgroup files of a, net/dev of its process -> sample to each watcher
//	Watch "b" ----> gauge b  cgroup files of b, ...
//
// A reading that does not come back keeps back its own container alone: the others are read past it. A watcher that
// does not listen misses samples, nothing else.
//
// Locks: Meter.mu guards the gauges and their watchers; gauge.busy guards what a reading uses. No lock is held while
// something is read.
//
// Start reading at Watch.
package meter

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/lib/errkind"
)

const (
	interval = time.Second
	// patience is how long one reading may take before the rest of a round goes on without it.
	patience = 100 * time.Millisecond
	// pair is the time between the two readings that who wants only one sample needs for a share of the processors.
	pair = 250 * time.Millisecond
	// open is how many containers are measured by files that stay open: a dozen each.
	open = 256
)

// Target says where a container is measured now. The zero Target is one that does not run.
type Target struct {
	Cgroup string // below the hierarchies' mount points
	Pid    int    // a process of the container
	// StartTime is when that began (see pidfd.StartTime), 0 for whenever.
	StartTime uint64
	// Network tells that its network namespace is not the host's, and has links.
	Network bool
}

// Source knows the containers. ok is false for one that is gone for good.
type Source interface {
	Target(id string) (t Target, ok bool)
}

// Meter is safe for concurrent use.
type Meter struct {
	source Source
	memory uint64 // of the machine, in bytes

	mu      sync.Mutex
	gauges  map[string]*gauge
	running bool // somebody is in run
}

// New makes a meter of the containers that source knows.
func New(source Source) *Meter {
	return &Meter{source: source, memory: machineMemory(), gauges: map[string]*gauge{}}
}

// gauge measures one container.
type gauge struct {
	id       string
	watchers map[*Watch]struct{} // guarded by Meter.mu
	latest   container.StatsResponse

	busy   atomic.Bool // a reading is under way, or the gauge is closed for good
	target Target      // what follows belongs to who set busy
	probe  *probe
	last   container.StatsResponse
}

// Watch is one watcher's view of a container.
type Watch struct {
	m *Meter
	g *gauge
	c chan container.StatsResponse
}

// Watch begins to watch a container; the first sample comes at once. The caller closes it.
func (m *Meter) Watch(id string) *Watch {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.gauges[id]
	if g == nil {
		g = &gauge{id: id, watchers: map[*Watch]struct{}{}}
		if m.gauges[id] = g; !m.running {
			m.running = true
			go m.run()
		}
	}
	w := &Watch{m: m, g: g, c: make(chan container.StatsResponse, 1)}
	g.watchers[w] = struct{}{}
	if time.Since(g.latest.Read) < interval {
		w.c <- g.latest
	} else {
		go m.measure(g, machineCPU())
	}
	return w
}

// Close ends the watching. Calling it twice is harmless.
func (w *Watch) Close() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	delete(w.g.watchers, w)
	if len(w.g.watchers) == 0 && w.m.gauges[w.g.id] == w.g {
		delete(w.m.gauges, w.g.id)
		if w.g.busy.CompareAndSwap(false, true) { // else the reading that is under way closes it
			w.g.probe.close()
		}
	}
}

// Next waits for the next sample: all fields but the identifier and the name. NotFound when the container is gone.
func (w *Watch) Next(ctx context.Context) (container.StatsResponse, error) {
	select {
	case s, ok := <-w.c:
		if !ok {
			return s, errkind.New(errkind.NotFound, "No such container: %s", w.g.id)
		}
		return s, nil
	case <-ctx.Done():
		return container.StatsResponse{}, ctx.Err()
	}
}

// Pair waits for a sample that knows its predecessor. Where nobody has watched before that takes a quarter of a second.
func (w *Watch) Pair(ctx context.Context) (container.StatsResponse, error) {
	s, err := w.Next(ctx)
	if err != nil || s.Read.IsZero() || !s.PreRead.IsZero() {
		return s, err
	}
	t := time.NewTimer(pair)
	defer t.Stop()
	select {
	case <-t.C:
		go w.m.measure(w.g, machineCPU())
	case <-ctx.Done():
	}
	return w.Next(ctx)
}

// run reads all gauges once a second until there are none.
func (m *Meter) run() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range tick.C {
		m.mu.Lock()
		if len(m.gauges) == 0 {
			m.running = false
			m.mu.Unlock()
			return
		}
		round := make(chan *gauge, len(m.gauges))
		for _, g := range m.gauges {
			round <- g
		}
		m.mu.Unlock()
		close(round)
		m.readAll(round)
	}
}

// readAll reads every gauge of a round, and then wakes all watchers at once. When one gauge keeps its reader waiting, those
// that were read go out, and another reader takes the rest.
func (m *Meter) readAll(round <-chan *gauge) {
	host := machineCPU()
	read := make(chan *sample, len(round))
	for {
		before, done := len(round), make(chan struct{})
		go func() {
			defer close(done)
			for g := range round {
				if s := m.read(g, host); s != nil {
					read <- s
				}
			}
		}()
		for moved := true; moved; {
			select {
			case <-done:
				m.tellAll(read)
				return
			case <-time.After(patience):
				moved, before = len(round) < before, len(round)
				m.tellAll(read)
			}
		}
		go func() { // the one that waits tells by itself
			<-done
			m.tellAll(read)
		}()
	}
}

// tellAll gives out what is in read.
func (m *Meter) tellAll(read <-chan *sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		select {
		case s := <-read:
			m.tell(s)
		default:
			return
		}
	}
}

// sample is what was read of a gauge, which is busy until it is told.
type sample struct {
	g      *gauge
	s      container.StatsResponse
	exists bool
}

// measure takes one sample and gives it to the watchers.
func (m *Meter) measure(g *gauge, host hostCPU) {
	if s := m.read(g, host); s != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.tell(s)
	}
}

// read takes one sample, nil where another reading is under way.
func (m *Meter) read(g *gauge, host hostCPU) *sample {
	if !g.busy.CompareAndSwap(false, true) {
		return nil
	}
	target, exists := m.source.Target(g.id)
	if target != g.target {
		g.probe.close()
		m.mu.Lock()
		few := len(m.gauges) <= open
		m.mu.Unlock()
		g.probe, g.target, g.last = openProbe(target, few), target, container.StatsResponse{}
	}
	var s container.StatsResponse
	if g.probe != nil && exists {
		if err := g.probe.read(&s); err == nil {
			m.complete(&s, &g.last, host)
		} else {
			s = container.StatsResponse{} // it has just ended
		}
	}
	return &sample{g, s, exists}
}

// tell gives a sample to the watchers. It is called with mu held.
func (m *Meter) tell(read *sample) {
	g, s := read.g, read.s
	g.last, g.latest = s, s
	for w := range g.watchers {
		if !read.exists {
			close(w.c)
			delete(g.watchers, w)
			continue
		}
		select {
		case <-w.c: // the watcher has not taken the one before
		default:
		}
		w.c <- s
	}
	if !read.exists {
		if m.gauges[g.id] == g {
			delete(m.gauges, g.id)
		}
	}
	if m.gauges[g.id] != g { // the last watcher went meanwhile
		g.probe.close()
		return // busy for ever
	}
	g.busy.Store(false)
}

// complete adds what the machine says and what was measured before.
func (m *Meter) complete(s, last *container.StatsResponse, host hostCPU) {
	s.CPUStats.SystemUsage, s.CPUStats.OnlineCPUs = host.used, host.count
	if s.MemoryStats.Limit > m.memory && m.memory > 0 {
		s.MemoryStats.Limit = m.memory // no limit
	}
	s.PreRead, s.PreCPUStats = last.Read, last.CPUStats
}
