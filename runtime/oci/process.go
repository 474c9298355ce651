package oci

import (
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/seccomp"
	"pier/kernel/self"
	"pier/kernel/spawn"
	"pier/kernel/tty"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/meeting"
)

// task is what a container's first process and a later one have in common: everything between the namespaces and the
// program.
type task struct {
	*calls.Builder
	opts     spawn.Options
	execs    []spawn.Call // the attempts at execve, in order of the search path
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
	deposit  *os.File // as in Container
	init     *os.File // runs the program as its child, nil for none
	meetings []*meeting.Meeting
	looks    []spawn.Call // the first look for the program
	output   *spawn.Slot  // a pipe for output and errors, in stdio's place; nil for none

	noKeyring bool // stay in the parent's session keyring
}

// fail wraps err for what the parent did for path.
func (t *task) fail(call, name string, err error) error {
	kind := errkind.Of(err)
	return &StartError{Call: call, Path: name, Errno: errnoOf(err), Err: errkind.New(kind, "%s %s: %w", call, name, err)}
}

// meet adds a meeting with the parent, which does work for the child while that waits.
func (t *task) meet(what string, work func(pid int) error) error {
	m, err := t.arrange(what, work)
	if err == nil {
		m.Arrive(t.Builder)
		m.Await(t.Builder)
	}
	return err
}

// arrange makes a meeting to which Arrive and Await are yet to be added.
func (t *task) arrange(what string, work func(pid int) error) (*meeting.Meeting, error) {
	m, err := meeting.New(what, work)
	if err != nil {
		return nil, t.fail("open", "pipe", err)
	}
	t.meetings = append(t.meetings, m)
	return m, nil
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
			f, streams[i] = t.Own(null), nil
		}
		if from[i] = t.File(f); calls.FD(f) < 3 { // out of the way of the dup3 below
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
	if unix.Fstat(calls.FD(f), &st) != nil {
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
		keep = append(keep, calls.FD(t.init))
	}
	if t.listener != nil {
		keep = append(keep, t.listener.Descriptors()...)
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
