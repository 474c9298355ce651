package process

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/diagnosis"
	"pier/daemon/engine/internal/settings"
	"pier/kernel/fsroot"
	"pier/kernel/ids"
	"pier/lib/errkind"
)

// The numbers of the errors that tell why a program did not start. They are the same on all of Linux's architectures.
const (
	enoent  = 2
	enoexec = 8
	eagain  = 11
	enomem  = 12
	eacces  = 13
	enotdir = 20
	eisdir  = 21
)

// What shim.Error.Call is where no call of the child's own failed (kernel/spawn).
const (
	callClone  = "clone3"
	callSplit  = "clone"
	callKilled = "child killed before execve"
)

// Exit codes that Docker's clients know for a process that never ran.
const (
	ExitNotFound      = 127
	ExitNotExecutable = 126
)

// ExitUnstarted is the exit code of a container that could not start for a reason that is not its command's.
const ExitUnstarted = 128

// StartError turns the failure of a start into Docker's words and the exit code that goes with them, and adds what the
// files in root, and in the mounts that go onto it, tell about the cause. Docker's clients look for the words to choose
// their own exit code: 127 for "executable file not found" and "no such file or directory", 126 for "permission denied",
// 125 for all others. root may be nil.
func StartError(c *container.Config, root *os.File, mounts []settings.Mount, err error) (code int, _ error) {
	args := settings.Command(c)
	if len(args) == 0 {
		args = []string{""}
	}
	return Explain(createFailed, args[0], err, func() string {
		if root == nil {
			return ""
		}
		tree := diagnosis.Tree{Root: fsroot.FromFile(root), Over: map[string]string{}}
		for _, m := range mounts {
			if m.Source != "" && m.Subpath == "" {
				tree.Over[m.Destination] = m.Source
			}
		}
		user, err := ids.Resolve(tree.Root, c.User, nil)
		if err != nil {
			return ""
		}
		search, _ := settings.EnvValue(c.Env, "PATH")
		return diagnosis.Explain(subject(tree, args[0], search, c.WorkingDir, identity(user)))
	})
}

// ExecError is StartError for a further process p in the container of pid; p is nil where it could not even be described.
func ExecError(pid int, command string, p *specs.Process, err error) (code int, _ error) {
	return Explain("OCI runtime exec failed: exec failed: unable to start container process", command, err, func() string {
		if p == nil {
			return ""
		}
		root, err := fsroot.Open(fmt.Sprintf("/proc/%d/root", pid))
		if err != nil {
			return ""
		}
		defer root.Close()
		search, _ := settings.EnvValue(p.Env, "PATH")
		return diagnosis.Explain(subject(diagnosis.Tree{Root: root}, command, search, p.Cwd, p.User))
	})
}

func subject(tree diagnosis.Tree, name, search, dir string, u specs.User) diagnosis.Subject {
	return diagnosis.Subject{Tree: tree, Name: name, Path: search, Dir: dir, UID: u.UID, GID: u.GID, Groups: u.AdditionalGids}
}

const createFailed = "failed to create task for container: OCI runtime create failed: unable to start container process"

// Explain words the failed start of the program command, with prefix before the reason and what why finds out after it;
// why is called only where the program itself could not be executed.
func Explain(prefix, command string, err error, why func() string) (code int, _ error) {
	var failed *shim.Error
	if !errors.As(err, &failed) || failed.Errno == 0 && failed.Call == "" {
		return ExitUnstarted, err
	}
	wrap := func(code int, what string) (int, error) {
		return code, errkind.New(errkind.Invalid, "%s: %s: unknown", prefix, what)
	}
	if cause := tooLittle(failed); cause != "" {
		return ExitUnstarted, errkind.New(errkind.Invalid, "%s: %s: unknown: %s", prefix, failed.Message, cause)
	}
	if failed.Call == "chdir" || failed.Call == "cwd" {
		if cause := noFolder(failed.Errno); cause != "" {
			return ExitNotFound, errkind.New(errkind.Invalid, "%s: %s: unknown: %s", prefix, failed.Message, cause)
		}
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
	code, what := ExitNotExecutable, failed.Message
	switch failed.Errno {
	case enoent, enotdir:
		code, what = ExitNotFound, fmt.Sprintf("exec: %q: stat %s: no such file or directory", command, command)
		if !strings.Contains(command, "/") {
			what = fmt.Sprintf("exec: %q: executable file not found in $PATH", command)
		}
	case eacces, eisdir:
		what = fmt.Sprintf("exec: %q: permission denied", command)
	case enoexec:
		what = fmt.Sprintf("exec %s: exec format error", command)
	}
	if cause := within(diagnosisLimit, why); cause != "" {
		return code, errkind.New(errkind.Invalid, "%s: %s: unknown: %s", prefix, what, cause)
	}
	return wrap(code, what)
}

// noFolder says what keeps a process from beginning in its working directory.
func noFolder(errno int) string {
	switch errno {
	case enoent:
		return "the working directory is not there: make it, or name another with -w"
	case enotdir:
		return "the working directory is no folder: name another with -w"
	}
	return ""
}

// tooLittle says which limit keeps a process from being made, if one does.
func tooLittle(failed *shim.Error) string {
	switch {
	case failed.Errno == enomem:
		return "a memory limit is too low for the process to start: raise it (--memory, or the limit of the cgroup parent)"
	case failed.Call == callKilled:
		return "something killed the process before its program began, most likely the kernel because a memory limit is too low for it to start: raise it (--memory)"
	case failed.Errno == eagain && (failed.Call == callClone || failed.Call == callSplit):
		return "there are as many processes as a limit allows: raise it (--pids-limit, or the host's kernel.pid_max), or end some"
	}
	return ""
}

// diagnosisLimit is how long a failed start waits for its explanation: what was mounted may hang.
const diagnosisLimit = 5 * time.Second

func within(limit time.Duration, f func() string) string {
	out := make(chan string, 1)
	go func() { out <- f() }()
	select {
	case s := <-out:
		return s
	case <-time.After(limit):
		return ""
	}
}
