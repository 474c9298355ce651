package pidfd

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// ZombieStatus returns how process pid, begun at startTime, ended, while it is a zombie: whoever's child it is, on any
// kernel. A process that runs is errkind.Conflict; one that is gone, or another one, errkind.NotFound.
func ZombieStatus(pid int, startTime uint64) (Status, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Status{}, gone(pid)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // as in StartTime
	const state, started, exitCode = 3 - 3, 22 - 3, 52 - 3
	if len(fields) <= exitCode {
		return Status{}, fmt.Errorf("exit status of process %d: /proc/%d/stat has %d fields", pid, pid, len(fields)+2)
	}
	if got, err := strconv.ParseUint(string(fields[started]), 10, 64); err != nil || got != startTime {
		return Status{}, gone(pid)
	}
	if s := fields[state][0]; s != 'Z' && s != 'X' {
		return Status{}, errkind.New(errkind.Conflict, "exit status of process %d: it still runs", pid)
	}
	code, err := strconv.ParseUint(string(fields[exitCode]), 10, 32)
	if err != nil {
		return Status{}, fmt.Errorf("exit status of process %d: %w", pid, err)
	}
	ws := unix.WaitStatus(code)
	if ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signaled: true}, nil
	}
	return Status{Code: ws.ExitStatus()}, nil
}

// Child is one process whose parent is the calling process.
type Child struct {
	Pid    int
	Zombie bool
	Cgroup string // the memory hierarchy's path, or the unified one's; for telling whose process it is
}

// Children lists the direct children of the calling process, adopted orphans among them. A child that is reaped
// meanwhile is left out.
func Children() ([]Child, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var all []Child
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
			stat, err := os.ReadFile("/proc/" + f + "/stat")
			i := bytes.LastIndexByte(stat, ')')
			if err != nil || i < 0 || len(stat) < i+3 {
				continue
			}
			all = append(all, Child{Pid: pid, Zombie: stat[i+2] == 'Z', Cgroup: cgroupOf(f)})
		}
	}
	return all, nil
}

func cgroupOf(pid string) string {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return ""
	}
	unified := ""
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[1] == "memory":
			return parts[2]
		case parts[0] == "0":
			unified = parts[2]
		}
	}
	return unified
}
