package supervisor

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"pier/kernel/pidfd"
)

// cutOffLimit is how long a process may take to stand still, and to be gone once it was killed.
const cutOffLimit = 2 * time.Second

// strangerLimit is how long a process may show no sign of being ours: one that is just ending shows none.
const strangerLimit = 200 * time.Millisecond

const (
	sigcont = 18
	sigstop = 19
)

// startUnseen is the start time of a process that has run its program and is gone: nobody's.
const startUnseen = 1

// cutOff decides about a process that a predecessor made, but did not see execute its program: the one that the journal of t
// names. One that has executed it goes on as a task, or is taken for one that ended unseen; its start time is returned. Of
// any other nothing is left, for it would run unknown, and once more when pierd asks again: the start time is 0 then. So it
// is with a container that has a terminal: its master may be lost, and a container can begin anew. An exec goes on with the
// master in its deposit, and hangs up where there is none.
func (s *Supervisor) cutOff(t *task) (pid int, startTime uint64) {
	for {
		pid, _, _ = t.journal.Process()
		startTime = s.decide(t, pid)
		// The first of two processes (spawn.List.Split) is what we looked at; by now there is the second.
		if now, _, _ := t.journal.Process(); now == pid {
			return pid, startTime
		}
	}
}

// decide is cutOff for one process. It is held still, so that the answer stays true.
func (s *Supervisor) decide(t *task, pid int) (startTime uint64) {
	gone := func() uint64 { // asked when it is: a child that could not execute its program takes its note back
		if t.journal.Ran() {
			return startUnseen
		}
		return 0
	}
	startTime, err := pidfd.StartTime(pid)
	if err != nil || startTime > s.since || pid == os.Getpid() { // the predecessor was dead by then: the number is somebody else's
		return gone()
	}
	f, err := pidfd.Open(pid, startTime)
	if err != nil {
		return gone()
	}
	defer f.Close()
	// So is one that the predecessor reaped and another process got at once. What has ended does not show whose it was.
	for end := time.Now().Add(strangerLimit); !s.ours(pid) && pidfd.Cgroup(pid) != t.info.Cgroup && !ended(pid); {
		if time.Now().After(end) {
			return gone()
		}
		time.Sleep(time.Millisecond)
	}
	_ = pidfd.Signal(f, sigstop)
	for end := time.Now().Add(cutOffLimit); !stopped(pid) && time.Now().Before(end); {
		if now, _, _ := t.journal.Process(); now != pid { // it waits for the second, and has nothing more to do
			break
		}
		time.Sleep(time.Millisecond)
	}
	switch {
	case s.ours(pid), ended(pid) && !t.journal.Ran():
	case t.info.Terminal && t.ref.Exec == "":
	case pidfd.Signal(f, sigcont) == nil:
		return startTime
	default:
		return gone()
	}
	_ = pidfd.Signal(f, sigkill)
	ctx, cancel := context.WithTimeout(context.Background(), cutOffLimit)
	defer cancel()
	if err := pidfd.Wait(ctx, f); err != nil {
		s.log.Error("end a process that was cut off", "task", t.ref, "pid", pid, "err", err)
	}
	return 0
}

// ours reports whether a process still is what a supervisor made it: it shares that one's memory, and so its command
// line, and has its name, which is all that is left after its end.
func (s *Supervisor) ours(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err == nil && len(line) == 0 && pidfd.Exiting(pid) { // so it is for a moment, too, while a program is executed
		name, nameErr := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		own, ownErr := os.ReadFile("/proc/self/comm")
		return nameErr == nil && ownErr == nil && bytes.Equal(name, own)
	}
	return err == nil && bytes.Contains(line, []byte("\x00supervise\x00--root\x00"+s.root+"\x00"))
}

// stopped reports whether a process stands still by a signal, or has ended.
func stopped(pid int) bool { return pidfd.Condition(pid) == 'T' || ended(pid) }

func ended(pid int) bool { return strings.IndexByte("ZX", pidfd.Condition(pid)) >= 0 }
