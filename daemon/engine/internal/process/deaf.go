package process

import "pier/kernel/pidfd"

// Deaf reports whether a signal will not reach the process: see pidfd.Deaf. When in doubt it will.
func Deaf(pid int, startTime uint64, sig int) bool {
	deaf, err := pidfd.Deaf(pid, startTime, sig)
	return err == nil && deaf
}
