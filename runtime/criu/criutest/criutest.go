// Package criutest tells tests whether this machine can make checkpoints.
//
// Start reading at Lacking.
package criutest

import (
	"os/exec"

	"pier/runtime/criu"
)

// Lacking is nil where there is a criu that works with this machine's kernel, and else why not. It is safe for concurrent use.
func Lacking() error {
	path, err := criu.Find("")
	if err == nil {
		err = exec.Command(path, "check").Run()
	}
	return err
}
