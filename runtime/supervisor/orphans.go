package supervisor

import (
	"context"
	"time"

	"pier/kernel/pidfd"
)

const (
	// orphanPause gathers the deaths of many processes into one look.
	orphanPause = 100 * time.Millisecond
	// orphanAgain is when the next look follows one that has left somebody.
	orphanAgain = 2 * time.Second
)

// reapOrphans reaps processes that fell to this subreaper: grandchildren whose parents have died. A task's own process is
// never touched; task.wait takes its status.
func (s *Supervisor) reapOrphans(ctx context.Context) {
	exits := pidfd.Exits(ctx)
	for { // the first look is for what ended before the channel was there
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(orphanPause):
			}
			if s.starting.TryLock() { // a process that is being made is not in tasks yet
				break
			}
		}
		s.reapUnknown()
		s.starting.Unlock()
		var again <-chan time.Time
		// The list of children may lack one: where another is reaped, or a thread ends, while it is read. Its end is not told
		// again. Mostly it is a task's, which is about to be reaped.
		if more, err := pidfd.AnyEnded(); more || err != nil {
			again = time.After(orphanAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-exits:
		case <-again:
		}
	}
}

func (s *Supervisor) reapUnknown() {
	// Most of those that end have been reaped by who waits for them.
	if some, err := pidfd.AnyEnded(); err == nil && !some {
		return
	}
	children, err := pidfd.Children()
	if err != nil {
		s.log.Error("look for orphans", "err", err)
		return
	}
	known := make(map[int]bool)
	for _, pid := range s.probes.Processes() {
		known[pid] = true
	}
	s.mu.Lock()
	for _, t := range s.tasks {
		if t.info.Exit == nil {
			known[t.info.Pid] = true
		}
	}
	s.mu.Unlock()
	for _, pid := range children {
		if known[pid] {
			continue
		}
		f, err := pidfd.Open(pid, 0)
		if err != nil {
			continue
		}
		_, _ = pidfd.Reap(f) // one that runs is left alone
		f.Close()
	}
}
