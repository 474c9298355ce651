package supervisor

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// holdDonors opens the namespaces of other containers that l joins, named /proc/PID/ns/KIND, and has l name what was opened:
// pierd found the number when that container ran, and by now it may be another process's. done lets go of them.
func (s *Supervisor) holdDonors(l *specs.Linux) (done func(), err error) {
	var held []*os.File
	done = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for i := range l.Namespaces {
		n := &l.Namespaces[i]
		var pid int
		var kind string
		if _, err := fmt.Sscanf(n.Path, "/proc/%d/ns/%s", &pid, &kind); err != nil {
			continue
		}
		f, err := os.Open(n.Path)
		if err == nil {
			held = append(held, f)
		}
		// Only if the container's process is there still was this its namespace.
		if err != nil || !s.lives(pid) {
			done()
			return nil, errkind.New(errkind.Conflict, "cannot join the %s namespace of a non running container: its process %d has just ended", n.Type, pid)
		}
		n.Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	}
	return done, nil
}

// lives reports whether pid is the first process of a container that runs.
func (s *Supervisor) lives(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, t := range s.tasks {
		if ref.Exec == "" && t.info.Pid == pid && t.info.Exit == nil && t.pidfd != nil {
			return pidfd.Signal(t.pidfd, 0) == nil
		}
	}
	return false
}
