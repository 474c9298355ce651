package oci

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/lib/errkind"
)

// defaultPath is where a command without a slash is looked for if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// program adds the end of the list: signals are let in and the program is executed, with one attempt for each folder of
// the container's own PATH if its name holds no slash.
//
// A process that was prepared has a gate: whoever opens it may be another process than the parent, so the child itself
// reports the errnos, 0 where there is none, and the report's write end closes with a successful execve.
func (t *task) program(g *gate) {
	first, note := t.Here(), t.runTo
	t.attempts()
	if g == nil {
		if note != nil || t.init != nil {
			t.noneRan(note)
		}
		return
	}
	report := make([]uint64, t.Here()-first)
	place := t.Here()
	for i := range report {
		call := t.At(first + i).Tolerate().Catch(&report[i])
		if i < len(report)-len(t.execs) {
			call.OnError(place)
		}
	}
	size := len(report) * 8
	t.Add("report", "", unix.SYS_WRITE, spawn.Int(g.result), spawn.Pointer(t.List, &report[0]), spawn.Int(size))
}

// command is what to execute, a path or a name to be looked for.
func (t *task) command() string {
	if t.file != "" {
		return t.file
	}
	return t.process.Args[0]
}

// tellRun adds a note in memory that outlives us: from here on the program may run. It costs no call of its own at the end
// of the list: the kernel stores the signals that were blocked, all, where they are let in.
func (t *task) tellRun() {
	t.Add("rt_sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_BLOCK), spawn.Int(0), t.runNote(), spawn.Int(8))
}

// noneRan adds what follows the last attempt: the child fails as that did (startError). First it takes back what is told in
// note, unless that is nil: a caller that has died does not read the error, and its successor would take the end of the child
// for the program's.
func (t *task) noneRan(note *uint64) {
	t.execs[len(t.execs)-1].Tolerate()
	if note != nil {
		spawn.Clear(t.List, note)
	}
	t.Check(execCall, t.command(), spawn.Pointer(t.List, new(uint64)), 1, 1, unix.ENOENT) // never true
}

// runNote is where that goes, once.
func (t *task) runNote() spawn.Arg {
	at := uintptr(unsafe.Pointer(t.runTo))
	t.runTo = nil
	return spawn.Int(at)
}

func (t *task) attempts() {
	t.Add("rt_sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_SETMASK), spawn.Pointer(t.List, new(uint64)), t.runNote(), spawn.Int(8))
	if len(t.filter) > 0 && t.process.NoNewPrivileges && t.listener == nil {
		t.seccomp()
	}
	argv, env := t.Strings(t.process.Args), t.Strings(t.process.Env)
	name := t.command()
	files := []string{name}
	if !strings.Contains(name, "/") {
		files = t.candidates(name)
	}
	if t.init != nil {
		t.initProgram(files)
		return
	}
	for _, file := range files {
		call := t.Add(execCall, file, unix.SYS_EXECVE, t.String(file), argv, env)
		t.execs = append(t.execs, call)
		if file != name {
			call.Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		}
	}
}

// lookUp adds a first look for the program, for who creates a container and would like to know before its start. It
// fails as the execve would.
func (t *task) lookUp() {
	name := t.command()
	files := []string{name}
	if !strings.Contains(name, "/") {
		files = t.candidates(name)
	}
	var looks []spawn.Call
	for i, file := range files {
		look := t.Add(execCall, file, unix.SYS_FACCESSAT, spawn.Int(unix.AT_FDCWD), t.String(file), spawn.Int(unix.X_OK))
		if looks = append(looks, look); i < len(files)-1 {
			look.Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		}
		look.Tolerate(unix.EPERM, unix.ENOSYS, unix.EINVAL, unix.ELOOP, unix.EIO) // a filter's answers are for the execve to get
	}
	for _, look := range looks {
		look.OnSuccess(t.Here())
	}
	t.looks = looks
}

// execCall is what a failed look for the program, or its execution, is called in errors.
const execCall = "execve"

// candidates are the files that a command without a slash may be.
func (t *task) candidates(name string) (files []string) {
	search := defaultPath
	for _, e := range t.process.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		if dir != "" && name != "" {
			files = append(files, path.Join(dir, name))
		}
	}
	if len(files) == 0 {
		files = []string{name}
	}
	return files
}

// initProgram executes the init with the first of files that may be executed. Which one that is must be known before,
// for the init has no way to tell us what went wrong but its exit code.
func (t *task) initProgram(files []string) {
	argv := t.Strings(append([]string{initName, "--"}, t.process.Args...))
	for _, file := range files {
		look := t.Add("execve", file, unix.SYS_FACCESSAT, spawn.Int(unix.AT_FDCWD), t.String(file), spawn.Int(unix.X_OK)).
			Tolerate(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		t.execs = append(t.execs, look)
		t.Add("execute the init for", file, unix.SYS_EXECVEAT, t.File(t.init), t.Empty(), argv,
			t.Strings(append([]string{file}, t.process.Env...)), spawn.Int(unix.AT_EMPTY_PATH))
		look.OnError(t.Here())
	}
}

// initName is what the init is called in lists of processes: what Docker's is called.
const initName = "/sbin/docker-init"

// startError turns the error of Run into the caller's, in the words that Docker's clients know.
func (t *task) startError(err error) error {
	failed, ok := err.(*spawn.Error)
	if !ok {
		return &StartError{Call: "clone", Err: err}
	}
	out := &StartError{Call: failed.Call, Path: failed.Path, Errno: failed.Errno}
	if failed.Call != execCall {
		kind := errkind.Internal
		switch {
		case failed.Call == "chdir" || failed.Call == "check working folder" || failed.Call == "prlimit":
			kind = errkind.Invalid
		}
		out.Err = errkind.New(kind, "container %s: %w", t.id, failed)
		return out
	}
	errno := failed.Errno
	if n := len(t.execs); n > 0 {
		if done, _, e := t.execs[n-1].Result(); done && e != 0 {
			errno = e
		}
	}
	for _, call := range append(t.looks, t.execs...) {
		if done, _, e := call.Result(); done && e == unix.EACCES {
			errno = e // found, but not to be executed: worse than not found
		}
	}
	return execError(t.command(), errno)
}

// NoProgram is the error of a program that another runtime could not execute: fs.ErrNotExist, or any other reason for one
// that is there.
func NoProgram(name string, why error) *StartError {
	if errors.Is(why, fs.ErrNotExist) {
		return execError(name, unix.ENOENT)
	}
	return execError(name, unix.EACCES)
}

// execError is the error of an execve of the command name, in the words that Docker's clients know.
func execError(name string, errno syscall.Errno) *StartError {
	out := &StartError{Call: "execve", Path: name, Errno: errno}
	switch {
	case !strings.Contains(name, "/") && (errno == unix.ENOENT || errno == unix.ENOTDIR):
		out.Errno = unix.ENOENT
		out.Err = errkind.New(errkind.NotFound, "exec: %q: executable file not found in $PATH: %w", name, out.Errno)
	case errno == unix.ENOENT:
		out.Err = errkind.New(errkind.NotFound, "exec: %q: stat %s: %w", name, name, errno)
	default:
		out.Err = errkind.New(errkind.Invalid, "exec: %q: %w", name, errno)
	}
	return out
}
