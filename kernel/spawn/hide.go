package spawn

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HideMemory makes this process undumpable (PR_SET_DUMPABLE): a child shares its memory until its execve, in the
// container's namespaces, and no process in there may look into it (CVE-2016-9962). A program that starts containers
// calls it first thing. It holds until the program's next execve.
func HideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the memory of this process: %w", err)
	}
	return nil
}
