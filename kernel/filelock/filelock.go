// Package filelock lets one process at a time own a folder or a duty, until it ends in whatever way.
//
// Start reading at Take.
package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/internal/fd"
	"pier/lib/errkind"
)

// Take locks the file at path, which is trusted and made if it is missing, for as long as the returned file is open in
// this process (flock(2); it does not survive execve). It is errkind.Conflict where another process has it.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = fd.With(f, func(n int) error { return unix.Flock(n, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errkind.New(errkind.Conflict, "lock %s: another process has it", path)
	}
	return nil, errkind.New(errkind.Internal, "lock %s: %w", path, err)
}
