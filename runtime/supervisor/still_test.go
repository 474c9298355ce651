package supervisor

import (
	"strings"
	"testing"
	"testing/synctest"

	"pier/lib/errkind"
)

// Who wants no process in between gives up over a restore that lasts, and others start meanwhile.
func TestStillOverRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Supervisor{}
		done := s.restoring("web")
		s.starting.RLock()
		ended := make(chan error)
		go func() {
			_, err := s.still("upgrade the supervisor")
			ended <- err
		}()
		synctest.Wait()
		if !s.starting.TryRLock() {
			t.Fatal("nobody can start anything while an upgrade waits for a restore")
		}
		s.starting.RUnlock()
		if err := <-ended; !errkind.Is(err, errkind.Conflict) || !strings.Contains(err.Error(), "container web is being restored") {
			t.Errorf("an upgrade over a restore: %v", err)
		}
		s.starting.RUnlock()
		done()
		release, err := s.still("upgrade the supervisor")
		if err != nil {
			t.Fatal(err)
		}
		if s.starting.TryRLock() || s.restores.TryRLock() {
			t.Error("something can start during an upgrade")
		}
		release()
		s.restoring("web")()
	})
}
