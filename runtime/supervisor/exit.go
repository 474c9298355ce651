package supervisor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"pier/api/shim"
	"pier/kernel/pidfd"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
)

const (
	// statusLimit is how long the exit status of a process that is not our child is looked for.
	statusLimit = 5 * time.Second
	unknownCode = 255
)

// wait ends a task when its process has: the order is that the status is known, all output is out, the journal has it,
// the process is reaped, the exit is announced, and the record for people is on disk. A successor that finds any part done
// goes on from there.
func (s *Supervisor) wait(t *task) {
	if t.pidfd != nil { // else it ended while nobody could see it
		if err := pidfd.Wait(context.Background(), t.pidfd); err != nil {
			s.log.Error("wait for task", "task", t.ref, "err", err)
			return
		}
	}
	exit := t.journal.Exit(t.ref)
	if exit == nil {
		exit = s.settle(t)
	}
	if t.pidfd != nil {
		_, _ = pidfd.Reap(t.pidfd) // not ours, if it was adopted
	}
	s.finish(t, exit)
}

// settle finds out how the process of t ended, gets its output out and writes the record.
func (s *Supervisor) settle(t *task) *shim.Exit {
	exit := s.status(t)
	if t.ref.Exec == "" && t.cgroup != nil {
		if t.record.SharedPids {
			if err := t.cgroup.Kill(); err != nil {
				s.log.Error("kill what is left of task", "task", t.ref, "err", err)
			}
		}
		if n, err := t.cgroup.OOMKills(); err == nil && n > 0 {
			exit.OOM = true
		}
	}
	t.hub.hurry()
	for _, o := range t.streams {
		o.finish()
	}
	for _, o := range t.streams {
		<-o.ended
	}
	t.journal.Exited(exit)
	return exit
}

// finish makes the exit known and lets go of what the task held.
func (s *Supervisor) finish(t *task, exit *shim.Exit) {
	t.hub.close(shim.FrameEnd, binary.BigEndian.AppendUint32(nil, uint32(exit.Code)))
	s.mu.Lock()
	defer s.mu.Unlock()
	t.info.Exit = exit
	go t.end(exit) // before the news, so that it comes after them: somebody waits for these, nobody for the rest
	s.tell(shim.Response{Exit: exit})
}

// end writes the exit record and lets go of what the task held.
func (t *task) end(exit *shim.Exit) {
	if t.ref.Exec == "" {
		text, err := json.Marshal(exit)
		if err == nil {
			err = atomicfile.WriteVolatile(t.path("exit.json"), text, 0o600)
		}
		if err != nil {
			t.sup.log.Error("write exit record", "task", t.ref, "err", err)
		}
	}
	t.release()
	close(t.over)
}

// status asks, in turn, everybody who can know.
func (s *Supervisor) status(t *task) *shim.Exit {
	exit := &shim.Exit{TaskRef: t.ref, Pid: t.info.Pid, At: time.Now()}
	if t.pidfd == nil {
		exit.Code, exit.Unknown = unknownCode, true
		return exit
	}
	st, err := pidfd.Peek(t.pidfd)
	if err == nil {
		exit.Code = st.Code
		return exit
	}
	deadline := time.After(statusLimit)
	for {
		// A zombie that is somebody else's child.
		st, err := pidfd.ZombieStatus(t.info.Pid, t.info.StartTime)
		if err != nil {
			// One that was reaped.
			st, err = pidfd.ExitInfo(t.pidfd)
		}
		if err == nil {
			exit.Code = st.Code
			return exit
		}
		s.mu.Lock()
		child := t.child
		s.mu.Unlock()
		pause := 5 * time.Millisecond
		if errkind.Is(err, errkind.Unsupported) && !child {
			break
		}
		select {
		case told := <-t.reaped:
			return &told
		case <-time.After(pause):
			continue
		case <-deadline:
		}
		break
	}
	exit.Code, exit.Unknown = unknownCode, true
	return exit
}
