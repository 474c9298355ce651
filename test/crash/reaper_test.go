package crash

import (
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const waitAll = 0x40000000 // __WALL

// reapOrphans makes this process the one to which those fall whose pierd was killed, and reaps them at once. Elsewhere that
// is the machine's first process, which need not hurry: a container ends only when all in its pid namespace are reaped.
func reapOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return err
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	go func() {
		for {
			select {
			case <-ends:
			case <-time.After(time.Second): // the list of children may lack one that is reaped next to another
			}
			lists, _ := filepath.Glob("/proc/self/task/*/children")
			for _, list := range lists {
				text, _ := os.ReadFile(list)
				for _, word := range strings.Fields(string(text)) {
					// A test's own commands are in its session, and waited for by the test. Supervisors and containers are not.
					if pid, err := strconv.Atoi(word); err == nil {
						reapOrphan(pid, own)
					}
				}
			}
		}
	}()
	return nil
}

// reapOrphan reaps a child, if it is one: held before it is looked at, so that it is not another one with its number.
func reapOrphan(pid, own int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if orphan(pid, own) {
		_ = unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|waitAll, nil)
	}
}

// orphan reports whether a child has ended and was never in our session.
func orphan(pid, own int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // from the third on: state, parent, group, session
	if err != nil || !ok || len(fields) < 4 || fields[0] != "Z" {
		return false
	}
	session, err := strconv.Atoi(fields[3])
	return err == nil && session != own
}
