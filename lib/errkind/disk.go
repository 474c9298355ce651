package errkind

import (
	"fmt"
	"strings"
)

// DiskFull reports whether err says that a file system, or a quota on it, has no room left (ENOSPC, EDQUOT). Some libraries
// keep no chain of errors, so the words count.
func DiskFull(err error) bool {
	if err == nil {
		return false
	}
	s := err.Error()
	return strings.Contains(s, "no space left on device") || strings.Contains(s, "disk quota exceeded")
}

// OfDisk says what could not be written. Where the disk is full the kind is Exhausted, else it stays err's.
func OfDisk(what string, err error) error {
	if DiskFull(err) {
		return New(Exhausted, "%s: the disk is full; free some space and try again: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
