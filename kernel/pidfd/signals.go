package pidfd

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pier/lib/errkind"
)

// Deaf reports whether the process pid would not notice signal number sig: it neither handles nor blocks it, and either
// ignores it or is the first of a PID namespace, from which the kernel keeps what it does not handle. A process that
// reads signals by signalfd or sigwait blocks them, so it is not deaf. Nobody is to SIGKILL and SIGSTOP. Of a process
// that has ended nothing is known: NotFound.
//
// Source: /proc/<pid>/status, SigBlk, SigIgn, SigCgt, and NSpid, whose last number is 1 for the first process. Inside
// sigtimedwait(2), where tini and busybox's init spend their lives, the kernel takes what is waited for out of SigBlk:
// /proc/<pid>/syscall tells.
func Deaf(pid int, startTime uint64, sig int) (bool, error) {
	for range 2 { // it may have come out of sigtimedwait in between; then SigBlk is whole again
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			return false, gone(pid)
		}
		if now, err := StartTime(pid); err != nil || now != startTime {
			return false, gone(pid)
		}
		if is, err := deaf(status, sig); !is || err != nil {
			return false, err
		}
		if awaitsSignals(pid) {
			return false, nil
		}
	}
	return true, nil
}

// awaitsSignals reports whether the process is inside sigtimedwait, in one of the forms that a 64 bit kernel has.
func awaitsSignals(pid int) bool {
	const compat, compat64 = 177, 421 // of 32 bit programs on x86 and arm
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall")
	if err != nil {
		return false
	}
	number, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.Atoi(number)
	return err == nil && (n == unix.SYS_RT_SIGTIMEDWAIT || n == compat || n == compat64)
}

// Inside returns the number of the process pid in its own pid namespace. NotFound where it has ended.
func Inside(pid int) (int, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, gone(pid)
	}
	for line := range bytes.Lines(status) {
		if numbers := bytes.Fields(line); len(numbers) > 1 && string(numbers[0]) == "NSpid:" {
			return strconv.Atoi(string(numbers[len(numbers)-1]))
		}
	}
	return pid, nil // a kernel without pid namespaces
}

func deaf(status []byte, sig int) (bool, error) {
	if sig < 1 || sig > 64 {
		return false, errkind.New(errkind.Invalid, "invalid signal: %d", sig)
	}
	if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
		return false, nil
	}
	ignored, first, read := false, false, 0
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(name) {
		case "NSpid":
			numbers := bytes.Fields(value)
			first = len(numbers) > 1 && string(numbers[len(numbers)-1]) == "1"
		case "SigBlk", "SigIgn", "SigCgt":
			mask, err := strconv.ParseUint(string(value), 16, 64)
			if err != nil {
				return false, err
			}
			set := mask&(1<<(sig-1)) != 0
			if string(name) == "SigIgn" {
				ignored = set
			} else if set {
				return false, nil
			}
			read++
		}
	}
	return (first || ignored) && read == 3, nil
}
