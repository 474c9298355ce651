package pidfd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Fields of /proc/PID/stat (proc_pid_stat(5)), by their place among those that stat returns.
const (
	statState    = 3 - 3
	statFlags    = 9 - 3
	statStarted  = 22 - 3
	statExitCode = 52 - 3
)

// stat returns the fields of /proc/PID/stat from the third on, as far as the last of them that is asked for. A process that
// is gone is errkind.NotFound.
func stat(pid, last int) ([][]byte, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, gone(pid)
	}
	if err != nil {
		return nil, err
	}
	// The command in field 2 is chosen by the process and may hold anything, ")" included; the last ")" ends it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= last {
		return nil, fmt.Errorf("look at process %d: /proc/%d/stat has %d fields", pid, pid, len(fields)+2)
	}
	return fields, nil
}

// StartTime returns when the process pid began, in clock ticks since boot: field 22 of /proc/<pid>/stat. Together with
// the number it names a process for as long as the machine runs.
func StartTime(pid int) (uint64, error) {
	fields, err := stat(pid, statStarted)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(fields[statStarted]), 10, 64)
}

// Condition is what process pid is doing now: 'R' it runs, 'S' and 'D' it waits, 'T' it stands still by a signal, 'Z' it has
// ended and was not reaped, 'X' it is gone, and others (proc_pid_stat(5)).
func Condition(pid int) byte {
	fields, err := stat(pid, statState)
	if err != nil {
		return 'X'
	}
	return fields[statState][0]
}

// Exiting reports whether process pid is on its way out, has ended, or is gone.
func Exiting(pid int) bool {
	fields, err := stat(pid, statFlags)
	if err != nil {
		return true
	}
	const pfExiting = 4
	flags, err := strconv.ParseUint(string(fields[statFlags]), 10, 64)
	return err == nil && flags&pfExiting != 0
}

// ZombieStatus returns how process pid, begun at startTime, ended, while it is a zombie: whoever's child it is, on any
// kernel. A process that runs is errkind.Conflict; one that is gone, or another one, errkind.NotFound.
func ZombieStatus(pid int, startTime uint64) (Status, error) {
	fields, err := stat(pid, statExitCode)
	if err != nil {
		return Status{}, err
	}
	if got, err := strconv.ParseUint(string(fields[statStarted]), 10, 64); err != nil || got != startTime {
		return Status{}, gone(pid)
	}
	if s := fields[statState][0]; s != 'Z' && s != 'X' {
		return Status{}, errkind.New(errkind.Conflict, "exit status of process %d: it still runs", pid)
	}
	code, err := strconv.ParseUint(string(fields[statExitCode]), 10, 32)
	if err != nil {
		return Status{}, fmt.Errorf("exit status of process %d: %w", pid, err)
	}
	ws := unix.WaitStatus(code)
	if ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signaled: true}, nil
	}
	return Status{Code: ws.ExitStatus()}, nil
}
