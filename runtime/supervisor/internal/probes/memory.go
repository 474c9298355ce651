package probes

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// entryKept is how long after the one before a probe may come for its preparation to be kept, some 30 KiB.
const entryKept = 10 * time.Second

// spec is what a probe runs. It is not changed.
type spec struct {
	key     string
	process *specs.Process
	filter  []byte
	flags   uint // to load it with
}

// Memory is what is remembered in one run of a container: what was run last, and what was prepared for it. The zero value
// is ready. It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex // guards what follows
	known  *spec      // nil if there was none with a key
	last   time.Time  // when that was last run
	entry  *oci.Entry // ready for its next run; nil if it is in use, or not worth while
	closed bool
}

// Close forgets all, for good.
func (m *Memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.drop()
}

// drop is called with mu held.
func (m *Memory) drop() {
	if m.entry != nil {
		m.entry.Close()
		m.entry = nil
	}
}

// recall returns what is to be run, nil where r does not say and it is not known.
func (m *Memory) recall(r *shim.Probe) (*spec, error) {
	if len(r.Process) == 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.known == nil || r.Key == "" || m.known.key != r.Key {
			return nil, nil
		}
		return m.known, nil
	}
	s := &spec{key: r.Key, process: &specs.Process{}, filter: r.Seccomp, flags: r.SeccompFlags}
	if err := json.Unmarshal(r.Process, s.process); err != nil {
		return nil, errkind.New(errkind.Invalid, "probe of %s: the process: %w", r.ID, err)
	}
	s.process.Terminal = false
	if r.Key != "" {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.drop()
		m.known, m.last = s, time.Time{}
	}
	return s, nil
}

// take returns what was kept for s, nil if there is nothing.
func (m *Memory) take(s *spec) (e *oci.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == s {
		e, m.entry = m.entry, nil
	}
	return e
}

// keep keeps e for the next run of s where that is likely to come soon. It reports whether it has.
func (m *Memory) keep(s *spec, e *oci.Entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.known != s {
		return false
	}
	now := time.Now()
	soon := now.Sub(m.last) < entryKept
	m.last = now
	if !soon || m.entry != nil {
		return false
	}
	m.entry = e
	return true
}
