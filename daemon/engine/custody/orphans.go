package custody

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pier/kernel/pidfd"
)

const (
	// orphanPause gathers the deaths of many processes into one look.
	orphanPause = 200 * time.Millisecond
	// orphanPatience is how long the end of a child of unknown origin is left to whoever may be about to wait for it.
	orphanPatience = 3 * time.Second
)

// reapOrphans reaps processes of containers that fell to pierd because it is their nearest living subreaper, and that are
// no task: a pid namespace does not end before they are gone. Who they are shows only in part once they have ended.
func (c *Custodian) reapOrphans() {
	exits := pidfd.Exits(c.ctx)
	var again <-chan time.Time
	unknown := map[int]time.Time{} // ended children, since when they have been seen
	for {
		select {
		case <-exits:
		case <-again:
		case <-c.ctx.Done():
			return
		}
		again = nil
		select {
		case <-time.After(orphanPause):
		case <-c.ctx.Done():
			return
		}
		children, err := pidfd.Children()
		if err != nil {
			c.log.Error("look for orphans", "err", err)
			continue
		}
		groups, tasks, ready := c.processes()
		if !ready { // how a process has ended that is no task yet may be what the next supervisor needs to know
			again = time.After(orphanPause)
			continue
		}
		before := unknown
		unknown = map[int]time.Time{}
		for _, pid := range children {
			if tasks[pid] {
				continue
			}
			since := before[pid]
			if since.IsZero() {
				since = time.Now()
			}
			theirs := within(pidfd.Cgroup(pid), groups) || pidfd.Nested(pid) || c.unborn(pid)
			if !reapEnded(pid, theirs || time.Since(since) > orphanPatience) {
				unknown[pid], again = since, time.After(orphanPatience)
			}
		}
		// The list may lack one: where another child is reaped, or a thread ends, while it is read. Its end is not told again.
		if more, err := pidfd.AnyEnded(); again == nil && (more || err != nil) {
			again = time.After(orphanPatience)
		}
	}
}

// reapEnded reaps a child, if it may. It reports false for one that has ended and may not be reaped yet.
func reapEnded(pid int, may bool) bool {
	f, err := pidfd.Open(pid, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	if _, err := pidfd.Peek(f); err != nil {
		return true // it runs
	}
	if may {
		_, _ = pidfd.Reap(f)
	}
	return may
}

// unborn reports whether a child is one that a supervisor was making when it died: it has that one's name.
func (c *Custodian) unborn(pid int) bool {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && strings.TrimSpace(string(name)) == filepath.Base(c.o.Binary)
}

// processes are those that are known: the cgroups of containers, and the processes of tasks and the supervisor. They are
// not complete, and ready is false, while there is no supervisor.
func (c *Custodian) processes() (groups []string, tasks map[int]bool, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tasks = make(map[int]bool, len(c.tasks))
	for _, h := range c.tasks {
		groups = append(groups, h.task.Cgroup)
		tasks[h.task.Pid] = true
	}
	ready = c.current != nil && !c.current.vacant
	if ready {
		tasks[c.current.pid] = true // its own waiter reaps it
	}
	return groups, tasks, ready
}

func within(group string, groups []string) bool {
	for _, g := range groups {
		if g != "" && g != "/" && (group == g || strings.HasPrefix(group, g+"/")) {
			return true
		}
	}
	return false
}
