package pidfd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Children lists the direct children of the calling process, adopted orphans among them, by number. Those that have ended
// and were not reaped are still listed.
func Children() ([]int, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, t := range threads {
		list, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if err != nil {
			continue // the thread has ended; its children are another's now and are seen next time
		}
		for _, f := range strings.Fields(string(list)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return nil, fmt.Errorf("list children: %w", err)
			}
			all = append(all, pid)
		}
	}
	return all, nil
}

// AnyEnded reports whether this process has a child that has ended and was not reaped. It is much cheaper than Children.
func AnyEnded() (bool, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		switch err {
		case nil:
			return info.Signo != 0, nil
		case unix.ECHILD:
			return false, nil
		case unix.EINTR:
		default:
			return false, fmt.Errorf("look for ended children: %w", err)
		}
	}
}

// Cgroup returns the path of pid's cgroup below the hierarchies: that of the memory controller on v1, the only one on
// v2; of a zombie v1 tells only "/". "" if the process is gone.
func Cgroup(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[1] == "memory":
			return strings.TrimSuffix(parts[2], " (deleted)")
		case parts[0] == "0":
			unified = strings.TrimSuffix(parts[2], " (deleted)")
		}
	}
	return unified
}

// Nested reports whether pid is in a pid namespace below the one of /proc. It works for a zombie too.
func Nested(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers)) > 1
		}
	}
	return false
}

// Exits returns a channel that gets a value some time after a child of this process has ended: one for any number of
// them. It lasts until ctx is done.
func Exits(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, unix.SIGCHLD)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}
