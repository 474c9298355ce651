package supervisor

import (
	"time"

	"pier/lib/errkind"
)

// restorePatience is how long who wants no process in between waits for containers that are being restored.
const restorePatience = 10 * time.Second

// still waits until no process is half made, and keeps it so until release is called. Conflict where a container is being
// restored for longer than restorePatience: others can start meanwhile.
func (s *Supervisor) still(what string) (release func(), err error) {
	for end := time.Now().Add(restorePatience); !s.restores.TryLock(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, errkind.New(errkind.Conflict, "%s: container %s is being restored from a checkpoint; try again when it runs", what, s.restored)
		}
	}
	s.starting.Lock()
	return func() {
		s.starting.Unlock()
		s.restores.Unlock()
	}, nil
}

// restoring tells that a container is about to be restored, until done is called.
func (s *Supervisor) restoring(id string) (done func()) {
	s.restores.RLock()
	s.mu.Lock()
	s.restored = id
	s.mu.Unlock()
	return s.restores.RUnlock
}
