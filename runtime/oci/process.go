package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/capability"
	"pier/kernel/seccomp"
	"pier/kernel/self"
	"pier/kernel/spawn"
	"pier/kernel/tty"
	"pier/lib/errkind"
)

// task is what a container's first process and a later one have in common: everything between the namespaces and the
// program.
type task struct {
	*builder
	id       string
	process  *specs.Process
	file     string    // the program's path, where it is not the first argument
	filter   []byte    // compiled seccomp, nil for none
	filterBy uint      // flags to load it with
	listener *listener // gets the calls that the filter hands on, nil for none
	terminal *tty.Pair // nil without one
	stdio    Stdio
	preserve int
	width    uint16
	height   uint16
	newUsers bool     // the child is in a user namespace of its own
	pidTo    *int32   // as in Container
	runTo    *uint64  // as in Container; nil once the calls that write it are added
	init     *os.File // runs the program as its child, nil for none
	meetings []*meeting
	looks    []spawn.Call // the first look for the program
	output   *spawn.Slot  // a pipe for output and errors, in stdio's place; nil for none

	noKeyring bool // stay in the parent's session keyring
}

// fail wraps err for what the parent did for path.
func (t *task) fail(call, name string, err error) error {
	kind := errkind.Of(err)
	return &StartError{Call: call, Path: name, Errno: errnoOf(err), Err: errkind.New(kind, "%s %s: %w", call, name, err)}
}

// compile fills filter from a profile, if it did not come compiled. The state is what a listener is told.
func (t *task) compile(given []byte, by uint, profile *specs.LinuxSeccomp, state specs.State) error {
	t.filter, t.filterBy = given, by
	if profile == nil {
		return nil
	}
	flags, err := seccomp.Flags(profile)
	if err == nil && len(given) == 0 {
		t.filter, err = seccomp.Compile(profile)
	}
	if err != nil {
		return t.fail("compile", "seccomp profile", err)
	}
	if t.filterBy |= flags; seccomp.NeedsListener(profile) {
		t.filterBy |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		return t.openListener(profile, state)
	}
	return nil
}

// streams adds a session keyring, and the three standard streams or the terminal in their place.
func (t *task) streams() error {
	// Handlers are gone since clone3, but what our own parent made us ignore would stay ignored for ever.
	for _, n := range self.Ignored() {
		const size = 8 // of the kernel's sigset_t; 32 zero bytes are a sigaction that says SIG_DFL
		t.Add("rt_sigaction", "", unix.SYS_RT_SIGACTION, spawn.Int(n), spawn.Slice(t.List, make([]byte, 32)), spawn.Int(0), spawn.Int(size))
	}
	// A session keyring of its own, or the container would read and change its parent's keys. A kernel without keys, or
	// a full quota of them, is no reason to fail.
	if !t.noKeyring {
		t.Add("keyctl", "", unix.SYS_KEYCTL, spawn.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), t.String("_ses."+t.id)).
			Tolerate(unix.ENOSYS, unix.EPERM, unix.EINVAL)
	}
	streams := [3]*os.File{t.stdio.Stdin, t.stdio.Stdout, t.stdio.Stderr}
	if t.terminal != nil {
		streams = [3]*os.File{t.terminal.Slave, t.terminal.Slave, t.terminal.Slave}
	}
	from := [3]spawn.Arg{}
	for i, f := range streams {
		if i > 0 && t.output != nil {
			from[i] = spawn.From(*t.output)
			continue
		}
		if f == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return t.fail("open", os.DevNull, err)
			}
			f, streams[i] = t.own(null), nil
		}
		if from[i] = t.File(f); fdOf(f) < 3 { // out of the way of the dup3 below
			up := t.Slot()
			t.Add("dup", f.Name(), unix.SYS_FCNTL, from[i], spawn.Int(unix.F_DUPFD_CLOEXEC), spawn.Int(3)).Into(up)
			from[i] = spawn.From(up)
		}
	}
	uid, gid := t.process.User.UID, t.process.User.GID
	for i := range streams {
		t.Add("dup3", "", unix.SYS_DUP3, from[i], spawn.Int(i), spawn.Int(0))
		ours := i > 0 && t.output != nil || streams[i] != nil && t.chownable(streams[i])
		if ours && (uid != 0 || gid != 0) {
			// So that the user may open /dev/stdout again.
			t.Add("chown", "standard stream", unix.SYS_FCHOWN, spawn.Int(i), spawn.Int(uid), spawn.Int(^uint32(0))).
				Tolerate(unix.EINVAL, unix.EPERM, unix.EROFS, unix.ENOSYS)
		}
	}
	return nil
}

// session adds a new session, with the terminal that standard input is.
func (t *task) session() {
	t.Add("setsid", "", unix.SYS_SETSID)
	if t.terminal != nil {
		t.Add("ioctl TIOCSCTTY", "", unix.SYS_IOCTL, spawn.Int(0), spawn.Int(unix.TIOCSCTTY), spawn.Int(0))
	}
}

// chownable reports whether f is a pipe, socket, or our own terminal: never a file or device of the host.
func (t *task) chownable(f *os.File) bool {
	if t.terminal != nil {
		return true
	}
	var st unix.Stat_t
	if unix.Fstat(fdOf(f), &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == unix.S_IFIFO || kind == unix.S_IFSOCK
}

// closeDescriptors closes what the child has of the parent's descriptors above the streams, and above those to be kept.
// They go now and not with execve: until then /proc/self/fd/N as the working folder or the program would lead to whatever
// the parent holds, other containers' roots among it (CVE-2024-21626). A child that waits at a gate needs some of them;
// the gate closes the others.
func (t *task) closeDescriptors(g *gate) {
	const closeRangeCloexec = 4
	how := 0
	if g != nil {
		how = closeRangeCloexec
	}
	var keep []int
	if t.init != nil { // a memory file of our own, closed with its execution
		keep = append(keep, fdOf(t.init))
	}
	if t.listener != nil {
		keep = append(keep, t.listener.descriptors()...)
	}
	t.closeBut(how, keep...)
}

// closeBut adds the closing (or, by how, marking) of all descriptors but the standard streams, those to be passed on, and
// the given ones.
func (t *task) closeBut(how int, keep ...int) {
	slices.Sort(keep)
	from := 3 + t.preserve
	for _, fd := range keep {
		if from < fd {
			t.Add("close_range", "", unix.SYS_CLOSE_RANGE, spawn.Int(from), spawn.Int(fd-1), spawn.Int(how))
		}
		from = max(from, fd+1)
	}
	t.Add("close_range", "", unix.SYS_CLOSE_RANGE, spawn.Int(from), spawn.Int(^uint32(0)), spawn.Int(how))
}

var rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// softNofile is the kernel's default for RLIMIT_NOFILE. Go's runtime raises our own to the hard limit; a container that
// asks for nothing gets the usual number back (programs loop over it, and select(2) breaks above it).
const softNofile = 1024

// resources adds resource limits, priorities, memory policy and personality; l, the container's configuration, may be nil.
func (t *task) resources(l *specs.Linux) error {
	limits := make(map[int]unix.Rlimit)
	for _, r := range t.process.Rlimits {
		n, ok := rlimits[r.Type]
		if !ok {
			return t.fail("prlimit", r.Type, errkind.New(errkind.Invalid, "unknown resource limit"))
		}
		if _, twice := limits[n]; twice {
			return t.fail("prlimit", r.Type, errkind.New(errkind.Invalid, "given twice"))
		}
		limits[n] = unix.Rlimit{}
		t.Add("prlimit", fmt.Sprintf("%s soft %d hard %d", r.Type, int64(r.Soft), int64(r.Hard)), unix.SYS_PRLIMIT64, spawn.Int(0), spawn.Int(n),
			spawn.Pointer(t.List, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}), spawn.Int(0))
	}
	if _, ok := limits[unix.RLIMIT_NOFILE]; !ok {
		var own unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err == nil {
			own.Cur = min(own.Max, softNofile)
			t.Add("prlimit", "RLIMIT_NOFILE", unix.SYS_PRLIMIT64, spawn.Int(0), spawn.Int(unix.RLIMIT_NOFILE), spawn.Pointer(t.List, &own), spawn.Int(0))
		}
	}
	if p := t.process.IOPriority; p != nil {
		if err := t.ioPriority(p); err != nil {
			return err
		}
	}
	if p := t.process.Scheduler; p != nil {
		if err := t.scheduler(p); err != nil {
			return err
		}
	}
	if l == nil {
		return nil
	}
	if l.MemoryPolicy != nil {
		if err := t.memoryPolicy(l.MemoryPolicy); err != nil {
			return err
		}
	}
	if l.Personality != nil {
		return t.personality(l.Personality)
	}
	return nil
}

// identity adds the working folder, user, groups, capabilities and the system call filter, in the one order in which
// each step still has the right to do its work, and in which none of them gives a right back:
//
//	without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes first; with it, last
//	the bounding set needs CAP_SETPCAP, groups CAP_SETGID, user CAP_SETUID
//	capset comes after the user, who would lose them otherwise (keepcaps)
func (t *task) identity() error {
	noNewPrivs := t.process.NoNewPrivileges
	caps, err := parseCaps(t.process.Capabilities)
	if err != nil {
		return t.fail("capabilities", "", err)
	}
	if len(t.filter) > 0 && !noNewPrivs {
		t.seccomp()
	}
	cwd := t.process.Cwd
	entered := t.Slot() // 0 once the folder is entered
	t.Add("chdir", cwd, unix.SYS_CHDIR, t.String(cwd)).Into(entered).Tolerate(unix.EACCES, unix.EPERM)
	t.Add("prctl PR_SET_KEEPCAPS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_KEEPCAPS), spawn.Int(1), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	for n := 0; n <= caps.last; n++ {
		if caps.bounding&(1<<n) == 0 {
			t.Add("prctl PR_CAPBSET_DROP", fmt.Sprint(n), unix.SYS_PRCTL, spawn.Int(unix.PR_CAPBSET_DROP), spawn.Int(n), spawn.Int(0), spawn.Int(0), spawn.Int(0))
		}
	}
	t.user()
	t.Add("prctl PR_SET_KEEPCAPS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_KEEPCAPS), spawn.Int(0), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	for i := range data {
		shift := 32 * i
		data[i] = unix.CapUserData{Effective: uint32(caps.effective >> shift), Permitted: uint32(caps.permitted >> shift), Inheritable: uint32(caps.inheritable >> shift)}
	}
	t.Add("capset", "", unix.SYS_CAPSET, spawn.Pointer(t.List, header), spawn.Pointer(t.List, data))
	t.Add("prctl PR_CAP_AMBIENT", "", unix.SYS_PRCTL, spawn.Int(unix.PR_CAP_AMBIENT), spawn.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	for n := 0; n <= caps.last; n++ {
		if caps.ambient&(1<<n) != 0 {
			t.Add("prctl PR_CAP_AMBIENT", fmt.Sprint(n), unix.SYS_PRCTL, spawn.Int(unix.PR_CAP_AMBIENT), spawn.Int(unix.PR_CAP_AMBIENT_RAISE), spawn.Int(n), spawn.Int(0), spawn.Int(0))
		}
	}
	// A folder that root may not enter (a squashed network mount) may be open to the user.
	tried := t.Check("chdir", cwd, t.Address(entered), ^uint64(0), 0, unix.EACCES).Tolerate(unix.EACCES)
	t.Add("chdir", cwd, unix.SYS_CHDIR, t.String(cwd))
	tried.OnSuccess(t.Here())
	// The kernel says "(unreachable)" of a folder outside the root, into which a leaked descriptor could have led.
	where := make([]byte, unix.PathMax)
	t.Add("getcwd", cwd, unix.SYS_GETCWD, spawn.Slice(t.List, where), spawn.Int(len(where)))
	t.Check("check working folder", cwd, spawn.Slice(t.List, where), 0xff, '/', unix.EXDEV)
	if noNewPrivs {
		t.Add("prctl PR_SET_NO_NEW_PRIVS", "", unix.SYS_PRCTL, spawn.Int(unix.PR_SET_NO_NEW_PRIVS), spawn.Int(1), spawn.Int(0), spawn.Int(0), spawn.Int(0))
	}
	umask := uint32(0o022)
	if t.process.User.Umask != nil {
		umask = *t.process.User.Umask
	}
	t.Add("umask", "", unix.SYS_UMASK, spawn.Int(umask))
	if noNewPrivs && t.listener != nil { // while the parent is there to send the listener away
		t.seccomp()
	}
	return nil
}

// user adds groups, group and user. The primary group is among the supplementary ones, as login does it, so that
// "everyone but this group" permissions hold.
func (t *task) user() {
	u := &t.process.User
	groups := append(make([]uint32, 0, len(u.AdditionalGids)+1), u.AdditionalGids...)
	if !slices.Contains(groups, u.GID) {
		groups = append(groups, u.GID)
	}
	t.Add("setgroups", "", unix.SYS_SETGROUPS, spawn.Int(len(groups)), spawn.Slice(t.List, groups))
	t.Add("setresgid", fmt.Sprint(u.GID), unix.SYS_SETRESGID, spawn.Int(u.GID), spawn.Int(u.GID), spawn.Int(u.GID))
	t.Add("setresuid", fmt.Sprint(u.UID), unix.SYS_SETRESUID, spawn.Int(u.UID), spawn.Int(u.UID), spawn.Int(u.UID))
}

type capSets struct {
	bounding, effective, permitted, inheritable, ambient uint64
	last                                                 int // the highest capability that the kernel knows
}

// parseCaps turns names into sets. What the specification calls inheritable is not taken over: inheritable capabilities
// outlive a change of user and an exec of a marked file (CVE-2022-29162 and its kin). Only ambient capabilities,
// which cannot be without, put themselves there.
func parseCaps(c *specs.LinuxCapabilities) (capSets, error) {
	all, err := capability.Mask(capability.All())
	if err != nil {
		return capSets{}, err
	}
	sets := capSets{last: 63}
	for sets.last > 0 && all&(1<<sets.last) == 0 {
		sets.last--
	}
	if c == nil {
		return sets, nil
	}
	for _, set := range []struct {
		to    *uint64
		names []string
	}{{&sets.bounding, c.Bounding}, {&sets.effective, c.Effective}, {&sets.permitted, c.Permitted}, {&sets.ambient, c.Ambient}} {
		if *set.to, err = capability.Mask(set.names); err != nil {
			return sets, err
		}
	}
	sets.effective &= sets.permitted
	sets.ambient &= sets.permitted
	sets.inheritable = sets.ambient
	return sets, nil
}

// seccomp adds the load of the filter.
func (t *task) seccomp() {
	filters := unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&t.filter[0])), len(t.filter)/8)
	spawn.Slice(t.List, t.filter)
	program := &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if t.listener != nil {
		t.listener.arrive(t.builder)
	}
	t.Add("seccomp", "", unix.SYS_SECCOMP, spawn.Int(unix.SECCOMP_SET_MODE_FILTER), spawn.Int(t.filterBy), spawn.Pointer(t.List, program))
	if t.listener != nil {
		t.listener.leave(t.builder)
	}
}

// defaultPath is where a command without a slash is looked for if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// program adds the end of the list: signals are let in and the program is executed, with one attempt for each folder of
// the container's own PATH if its name holds no slash.
//
// A process that was prepared has a gate: whoever opens it may be another process than the parent, so the child itself
// reports the errnos, 0 where there is none, and the report's write end closes with a successful execve.
func (t *task) program(g *gate) {
	first := t.Here()
	t.attempts()
	if g == nil {
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
		t.Add("execute the init for", file, unix.SYS_EXECVEAT, t.File(t.init), t.empty(), argv,
			t.Strings(append([]string{file}, t.process.Env...)), spawn.Int(unix.AT_EMPTY_PATH))
		look.OnError(t.Here())
	}
	t.Check("execve", t.process.Args[0], spawn.Pointer(t.List, new(uint64)), 1, 1, unix.ENOENT) // never true
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
