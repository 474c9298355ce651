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

const (
	sigcont = 18
	sigstop = 19
)

// cutOff decides about a process that a predecessor made, but did not see execute its program. It is held still, so that
// the answer stays true: one that has executed it goes on, as a task; its start time is returned. Any other is killed,
// for it would run unknown, and once more when pierd asks again. So is one with a terminal, whose master is lost.
func (s *Supervisor) cutOff(t *task, pid int) (startTime uint64) {
	startTime, err := pidfd.StartTime(pid)
	if err != nil {
		return 0
	}
	f, err := pidfd.Open(pid, startTime)
	if err != nil {
		return 0
	}
	defer f.Close()
	if !s.ours(pid) && pidfd.Cgroup(pid) != t.info.Cgroup {
		return 0 // the number is somebody else's by now
	}
	_ = pidfd.Signal(f, sigstop)
	for end := time.Now().Add(cutOffLimit); !stopped(pid) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !s.ours(pid) && !t.info.Terminal && pidfd.Signal(f, sigcont) == nil {
		return startTime
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
	if err == nil && len(line) == 0 {
		name, nameErr := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		own, ownErr := os.ReadFile("/proc/self/comm")
		return nameErr == nil && ownErr == nil && bytes.Equal(name, own)
	}
	return err == nil && bytes.Contains(line, []byte("\x00supervise\x00--root\x00"+s.root+"\x00"))
}

// stopped reports whether a process stands still by a signal, or is gone.
func stopped(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest == "" || strings.ContainsRune("TZX", rune(rest[0]))
}
