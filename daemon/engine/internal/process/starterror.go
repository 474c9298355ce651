package process

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/settings"
	"pier/lib/errkind"
)

// The numbers of the errors that tell why a program did not start. They are the same on all of Linux's architectures.
const (
	enoent  = 2
	enoexec = 8
	eacces  = 13
	enotdir = 20
	eisdir  = 21
)

// Exit codes that Docker's clients know for a process that never ran.
const (
	ExitNotFound      = 127
	ExitNotExecutable = 126
)

// ExitUnstarted is the exit code of a container that could not start for a reason that is not its command's.
const ExitUnstarted = 128

// StartError turns the failure of a start into Docker's words and the exit code that goes with them. Docker's clients
// look for the words to choose their own exit code: 127 for "executable file not found" and "no such file or
// directory", 126 for "permission denied", 125 for all others.
func StartError(c *container.Config, err error) (code int, _ error) {
	var command string
	if args := settings.Command(c); len(args) > 0 {
		command = args[0]
	}
	return Explain("failed to create task for container: OCI runtime create failed: unable to start container process", command, err)
}

// Explain is StartError for the program command, with its own words before the reason.
func Explain(prefix, command string, err error) (code int, _ error) {
	var failed *shim.Error
	if !errors.As(err, &failed) || failed.Errno == 0 && failed.Call == "" {
		return ExitUnstarted, err
	}
	wrap := func(code int, why string) (int, error) {
		return code, errkind.New(errkind.Invalid, "%s: %s: unknown", prefix, why)
	}
	if failed.Call == "chdir" || failed.Call == "cwd" {
		return wrap(ExitNotFound, failed.Message)
	}
	if failed.Call != "execve" {
		switch failed.Errno {
		case enotdir:
			return wrap(ExitNotFound, failed.Message+": Are you trying to mount a directory onto a file (or vice-versa)? "+
				"Check if the specified host path exists and is the expected type")
		case enoent:
			return wrap(ExitNotFound, failed.Message)
		case eacces:
			return wrap(ExitNotExecutable, failed.Message)
		}
		return ExitUnstarted, errkind.New(errkind.Of(err), "%s: %s: unknown", prefix, failed.Message)
	}
	switch failed.Errno {
	case enoent, enotdir:
		if !strings.Contains(command, "/") {
			return wrap(ExitNotFound, fmt.Sprintf("exec: %q: executable file not found in $PATH", command))
		}
		return wrap(ExitNotFound, fmt.Sprintf("exec: %q: stat %s: no such file or directory "+
			"(where the file is there, the interpreter in its first line or its loader is missing)", command, command))
	case eacces, eisdir:
		return wrap(ExitNotExecutable, fmt.Sprintf("exec: %q: permission denied", command))
	case enoexec:
		return wrap(ExitNotExecutable, fmt.Sprintf("exec %s: exec format error: the file is made for another "+
			"architecture, or is a script without a first line like #!/bin/sh", command))
	}
	return wrap(ExitNotExecutable, failed.Message)
}
