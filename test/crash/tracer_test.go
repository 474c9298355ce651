//go:build amd64

package crash

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tracer stops Pier's processes at system calls. It is a process of its own (this test's program, see tracerEnv):
// whoever waits for tracees must not be the parent of pierd, whose own wait would take their stops for ends.

// tracerEnv makes this program a tracer.
const tracerEnv = "PIER_TEST_TRACER"

// The processes a point can be in. A child is the supervisor's, from its clone to its execve.
const (
	inPierd      = "pierd"
	inSupervisor = "supervisor"
	inChild      = "child"
)

// point is the moment before a system call that changes something outside the process.
type point struct {
	Who  string `json:"who"`
	What string `json:"what"` // the call and its object, without what differs from run to run
	Nth  int    `json:"nth"`  // how many times it was made before, in one operation
}

func (p point) String() string { return fmt.Sprintf("%s before %s #%d", p.Who, p.What, p.Nth) }

// order is one thing for the tracer to do. Ended by closing its standard input, or by the word "end".
type order struct {
	Pierd      int    `json:"pierd"`
	Supervisor int    `json:"supervisor"`
	Dir        string `json:"dir"`            // of the daemon: left out of What
	Stop       *point `json:"stop,omitempty"` // where to kill; nil: only list the points
	Kill       []int  `json:"kill,omitempty"`
	End        bool   `json:"end,omitempty"`
}

// report answers an order: first Ready, once everything is held; then, at the kill or the end, the rest.
type report struct {
	Ready  bool    `json:"ready,omitempty"`
	Hit    bool    `json:"hit,omitempty"`
	Points []point `json:"points,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// tracer is the test's end of a tracer process. It belongs to one goroutine.
type tracer struct {
	t       testing.TB
	in      io.WriteCloser
	reports chan report
}

func newTracer(t testing.TB) *tracer {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), tracerEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tr := &tracer{t: t, in: in, reports: make(chan report, 4)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(tr.reports)
		for d := json.NewDecoder(out); ; {
			var r report
			if d.Decode(&r) != nil {
				return
			}
			tr.reports <- r
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("tracer: %v", err)
		}
	})
	return tr
}

// begin holds the processes and returns when every call of theirs will be seen.
func (tr *tracer) begin(o order) {
	tr.t.Helper()
	tr.send(o)
	if r := tr.next(); !r.Ready {
		tr.t.Fatalf("tracer: %+v", r)
	}
}

// end lets go, if the kill has not done so, and returns what was seen. Killed says whether the point was reached.
func (tr *tracer) end() (seen []point, killed bool) {
	tr.t.Helper()
	tr.send(order{End: true})
	r := tr.next()
	return r.Points, r.Hit
}

func (tr *tracer) send(o order) {
	text, err := json.Marshal(o)
	if err == nil {
		_, err = tr.in.Write(append(text, '\n'))
	}
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tracer) next() report {
	r, ok := <-tr.reports
	if !ok || r.Error != "" {
		tr.t.Fatalf("tracer: it ended: %s", r.Error)
	}
	return r
}

// tracerMain is the tracer process. All ptrace calls are the main thread's.
func tracerMain() {
	runtime.LockOSThread()
	orders := make(chan order)
	var now atomic.Pointer[session]
	go func() {
		defer close(orders)
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			var o order
			if err := json.Unmarshal(s.Bytes(), &o); err != nil {
				panic(err)
			}
			if live := now.Load(); o.End && live != nil {
				live.finish()
				continue
			}
			orders <- o
		}
		if live := now.Load(); live != nil { // the test has given up
			live.finish()
		}
	}()
	out := json.NewEncoder(os.Stdout)
	for o := range orders {
		s := &session{order: o, held: map[int]int{}, kind: map[int]string{}, seen: map[point]int{}}
		s.over.Add(1)
		r := report{Ready: true}
		err := s.hold() // before the test can end it, which looks at what is held
		now.Store(s)
		if err == nil {
			err = s.seize()
		}
		if err != nil {
			r = report{Error: err.Error()}
			s.leave()
		}
		_ = out.Encode(r)
		s.watching = true
		s.run()
		s.over.Wait() // the end is always ordered, also after a kill
		now.Store(nil)
		for _, fd := range s.held {
			_ = unix.Close(fd)
		}
		_ = out.Encode(report{Hit: s.hit, Points: s.points})
	}
}

// session is one order while it is carried out.
type session struct {
	order
	held     map[int]int    // descriptors of pierd and the supervisor, by their numbers: those may become others'
	kind     map[int]string // what each traced thread belongs to
	seen     map[point]int  // without Nth
	points   []point
	hit      bool
	watching bool // calls are points: all threads are held, and the test knows
	leaving  bool // nothing is of interest any more: detach whatever stops

	ending atomic.Bool
	over   sync.WaitGroup // done with the order to end
}

const (
	ptraceSeize          = 0x4206
	ptraceInterrupt      = 0x4207
	ptraceSyscallInfo    = 0x420e
	ptraceEventStop      = 128
	ptraceOptions        = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	syscallInfoEntry     = 1
	syscallStop          = unix.SIGTRAP | 0x80
	sizeofSyscallInfo    = 88
	offsetNr, offsetArgs = 24, 32
)

func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// finish is called by another goroutine. A signal that Go programs take no notice of makes the tracer look up.
func (s *session) finish() {
	if s.ending.CompareAndSwap(false, true) {
		for _, pid := range []int{s.Pierd, s.Supervisor} {
			s.signal(pid, unix.SIGURG)
		}
		s.over.Done()
	}
}

// signal reaches pierd or the supervisor, and nobody who has got its number.
func (s *session) signal(pid int, sig unix.Signal) {
	if fd, ok := s.held[pid]; ok {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// hold opens pierd and the supervisor.
func (s *session) hold() error {
	for _, pid := range []int{s.Pierd, s.Supervisor} {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return fmt.Errorf("hold %d: %w", pid, err)
		}
		s.held[pid] = fd
	}
	return nil
}

// seize takes hold of all threads, those that begin meanwhile included. What they do until it returns is the end of what
// they did before.
func (s *session) seize() error {
	unseen := map[int]bool{} // have not stood still yet
	for who, pid := range map[string]int{inPierd: s.Pierd, inSupervisor: s.Supervisor} {
		for grown := true; grown; {
			grown = false
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			if err != nil {
				return err
			}
			for _, d := range tasks {
				tid, _ := strconv.Atoi(d.Name())
				if s.kind[tid] != "" {
					continue
				}
				err := ptrace(ptraceSeize, tid, 0, ptraceOptions)
				if err == unix.EPERM || err == unix.ESRCH { // by its parent's option already; a thread that has ended
					continue
				}
				if err != nil {
					return fmt.Errorf("seize %s %d: %w", who, tid, err)
				}
				grown = true
				s.kind[tid], unseen[tid] = who, true
				if err := ptrace(ptraceInterrupt, tid, 0, 0); err != nil && err != unix.ESRCH { // its end is waited for
					return fmt.Errorf("interrupt %s %d: %w", who, tid, err)
				}
			}
		}
	}
	// The first stop of each thread is its last moment without being watched.
	for len(unseen) > 0 {
		tid, status, err := wait()
		if err != nil {
			return err
		}
		if !status.Stopped() || int(status>>16) == ptraceEventStop {
			delete(unseen, tid)
		}
		s.turn(tid, status)
	}
	return nil
}

func wait() (tid int, status unix.WaitStatus, err error) {
	for {
		tid, err = unix.Wait4(-1, &status, waitAll, nil)
		if err != unix.EINTR {
			return tid, status, err
		}
	}
}

// run follows the threads until all have been let go or have died.
func (s *session) run() {
	for {
		tid, status, err := wait()
		if err != nil { // no tracee is left
			return
		}
		if s.ending.Load() {
			s.leave()
		}
		s.turn(tid, status)
	}
}

// leave has every thread stop once more, to be let go.
func (s *session) leave() {
	if s.leaving {
		return
	}
	s.leaving = true
	for tid := range s.kind {
		_ = ptrace(ptraceInterrupt, tid, 0, 0) // fails for one that stands still: it is let go at its turn
	}
}

// turn handles one stop or end.
func (s *session) turn(tid int, status unix.WaitStatus) {
	if !status.Stopped() {
		delete(s.kind, tid)
		return
	}
	if s.kind[tid] == "" {
		s.kind[tid] = s.classify(tid)
	}
	signal := status.StopSignal()
	event := int(status >> 16)
	switch {
	case event == unix.PTRACE_EVENT_EXEC, s.kind[tid] == "other":
		s.detach(tid, 0)
		return
	case signal == syscallStop || event != 0:
		if signal == syscallStop && s.watching && !s.leaving && s.atCall(tid) {
			s.detach(tid, 0)
			s.leave()
			return
		}
		s.resume(tid, 0)
	default:
		s.resume(tid, int(signal))
	}
}

func (s *session) resume(tid, signal int) {
	if s.leaving {
		s.detach(tid, signal)
		return
	}
	_ = ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(signal)) // it may have been killed
}

func (s *session) detach(tid, signal int) {
	_ = ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(signal))
	delete(s.kind, tid)
}

// classify says what a thread belongs to that a traced one has made.
func (s *session) classify(tid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":\t")
		line, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.Atoi(line)
		return n
	}
	switch tgid := field("Tgid"); {
	case tgid == s.Pierd:
		return inPierd
	case tgid == s.Supervisor:
		return inSupervisor
	case tgid == tid && field("PPid") == s.Supervisor:
		return inChild
	}
	return "other"
}

// atCall looks at a call that is about to be made, and reports whether it was the one to kill at.
func (s *session) atCall(tid int) bool {
	var info [sizeofSyscallInfo]byte
	if ptrace(ptraceSyscallInfo, tid, uintptr(len(info)), uintptr(unsafe.Pointer(&info))) != nil || info[0] != syscallInfoEntry {
		return false
	}
	nr := int(binary.NativeEndian.Uint64(info[offsetNr:]))
	var args [6]uint64
	for i := range args {
		args[i] = binary.NativeEndian.Uint64(info[offsetArgs+8*i:])
	}
	what := describe(tid, nr, args, s.Dir)
	if what == "" {
		return false
	}
	p := point{Who: s.kind[tid], What: what}
	n := s.seen[p]
	s.seen[p]++
	p.Nth = n
	s.points = append(s.points, p)
	if s.Stop == nil || p != *s.Stop {
		return false
	}
	for _, pid := range s.Kill {
		s.signal(pid, unix.SIGKILL)
	}
	s.hit = true
	return true
}

// harmless are the calls that change nothing which outlives the process or that anybody else sees. What is not in this
// list is a point, so that a new step is covered without anybody listing it.
var harmless = func() map[int]bool {
	m := map[int]bool{}
	for _, nr := range []int{
		unix.SYS_READ, unix.SYS_READV, unix.SYS_PREAD64, unix.SYS_RECVMSG, unix.SYS_RECVFROM, unix.SYS_GETDENTS64, unix.SYS_LSEEK,
		unix.SYS_FUTEX, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_POLL, unix.SYS_PPOLL,
		unix.SYS_SELECT, unix.SYS_PSELECT6, unix.SYS_EVENTFD2, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
		unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_RESTART_SYSCALL,
		unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MSYNC, unix.SYS_MINCORE, unix.SYS_PROCESS_MADVISE,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_TGKILL,
		unix.SYS_FCNTL, unix.SYS_FSTAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS,
		unix.SYS_READLINK, unix.SYS_READLINKAT, unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETXATTR, unix.SYS_LGETXATTR,
		unix.SYS_FGETXATTR, unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR, unix.SYS_FADVISE64, unix.SYS_FLOCK,
		unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
		unix.SYS_SHUTDOWN, unix.SYS_PIPE2, unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_IOCTL,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_UNAME,
		unix.SYS_SYSINFO, unix.SYS_GETRANDOM, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_CAPGET, unix.SYS_GETGROUPS, unix.SYS_UMASK,
		unix.SYS_WAITID, unix.SYS_WAIT4, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_MEMFD_CREATE,
		unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH, unix.SYS_TEE,
	} {
		m[nr] = true
	}
	return m
}()

// objects says where a call's object is among its arguments: a path, perhaps below a descriptor, or a descriptor. A call
// that is not here is known by its number alone.
var objects = map[int]struct {
	name     string
	fd, path int // -1: none
}{
	unix.SYS_OPENAT: {"openat", 0, 1}, unix.SYS_OPENAT2: {"openat2", 0, 1}, unix.SYS_MKDIRAT: {"mkdirat", 0, 1}, unix.SYS_MKDIR: {"mkdir", -1, 0},
	unix.SYS_MKNODAT: {"mknodat", 0, 1}, unix.SYS_UNLINKAT: {"unlinkat", 0, 1}, unix.SYS_UNLINK: {"unlink", -1, 0}, unix.SYS_RMDIR: {"rmdir", -1, 0},
	unix.SYS_RENAMEAT2: {"renameat2", 2, 3}, unix.SYS_RENAMEAT: {"renameat", 2, 3}, unix.SYS_RENAME: {"rename", -1, 1}, unix.SYS_LINKAT: {"linkat", 2, 3},
	unix.SYS_SYMLINKAT: {"symlinkat", 1, 2}, unix.SYS_FCHMODAT: {"fchmodat", 0, 1}, unix.SYS_FCHMODAT2: {"fchmodat2", 0, 1}, unix.SYS_FCHOWNAT: {"fchownat", 0, 1}, unix.SYS_FCHMOD: {"fchmod", 0, -1},
	unix.SYS_FCHOWN: {"fchown", 0, -1}, unix.SYS_FTRUNCATE: {"ftruncate", 0, -1}, unix.SYS_FALLOCATE: {"fallocate", 0, -1}, unix.SYS_UTIMENSAT: {"utimensat", 0, 1},
	unix.SYS_WRITE: {"write", 0, -1}, unix.SYS_WRITEV: {"writev", 0, -1}, unix.SYS_PWRITE64: {"pwrite64", 0, -1}, unix.SYS_FSYNC: {"fsync", 0, -1},
	unix.SYS_FDATASYNC: {"fdatasync", 0, -1}, unix.SYS_SYNCFS: {"syncfs", 0, -1}, unix.SYS_SENDMSG: {"sendmsg", 0, -1}, unix.SYS_SENDTO: {"sendto", 0, -1},
	unix.SYS_BIND: {"bind", 0, -1}, unix.SYS_LISTEN: {"listen", 0, -1}, unix.SYS_SPLICE: {"splice", 0, -1}, unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, -1},
	unix.SYS_MOUNT: {"mount", -1, 1}, unix.SYS_UMOUNT2: {"umount2", -1, 0}, unix.SYS_MOVE_MOUNT: {"move_mount", 2, 3}, unix.SYS_OPEN_TREE: {"open_tree", 0, 1},
	unix.SYS_FSOPEN: {"fsopen", -1, 0}, unix.SYS_FSCONFIG: {"fsconfig", 0, 2}, unix.SYS_FSMOUNT: {"fsmount", 0, -1}, unix.SYS_MOUNT_SETATTR: {"mount_setattr", 0, 1},
	unix.SYS_CLONE3: {"clone3", -1, -1}, unix.SYS_CLONE: {"clone", -1, -1}, unix.SYS_EXECVE: {"execve", -1, 0}, unix.SYS_SETNS: {"setns", 0, -1}, unix.SYS_UNSHARE: {"unshare", -1, -1},
	unix.SYS_PIVOT_ROOT: {"pivot_root", -1, -1}, unix.SYS_CHDIR: {"chdir", -1, 0}, unix.SYS_FCHDIR: {"fchdir", 0, -1}, unix.SYS_PIDFD_SEND_SIGNAL: {"pidfd_send_signal", -1, -1},
	unix.SYS_KILL: {"kill", -1, -1}, unix.SYS_SETXATTR: {"setxattr", -1, 0}, unix.SYS_LSETXATTR: {"lsetxattr", -1, 0}, unix.SYS_FSETXATTR: {"fsetxattr", 0, -1},
	unix.SYS_SECCOMP: {"seccomp", -1, -1}, unix.SYS_PRCTL: {"prctl", -1, -1}, unix.SYS_SETSID: {"setsid", -1, -1}, unix.SYS_SETRESUID: {"setresuid", -1, -1},
	unix.SYS_SETRESGID: {"setresgid", -1, -1}, unix.SYS_SETGROUPS: {"setgroups", -1, -1}, unix.SYS_CAPSET: {"capset", -1, -1}, unix.SYS_SETRLIMIT: {"setrlimit", -1, -1}, unix.SYS_PRLIMIT64: {"prlimit64", -1, -1},
	unix.SYS_SETHOSTNAME: {"sethostname", -1, -1}, unix.SYS_BPF: {"bpf", -1, -1},
}

// describe names a call, "" for one that is no point.
func describe(tid, nr int, args [6]uint64, dir string) string {
	if harmless[nr] {
		return ""
	}
	o, known := objects[nr]
	if !known {
		return fmt.Sprintf("call %d", nr)
	}
	var parts []string
	if o.path >= 0 {
		path := stringAt(tid, args[o.path])
		if o.fd >= 0 && !filepath.IsAbs(path) && int32(args[o.fd]) != unix.AT_FDCWD {
			path = filepath.Join(openFile(tid, args[o.fd]), path)
		}
		parts = append(parts, path)
	} else if o.fd >= 0 {
		parts = append(parts, openFile(tid, args[o.fd]))
	}
	object := strings.Join(parts, " ")
	switch nr {
	case unix.SYS_OPENAT:
		if args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return ""
		}
	case unix.SYS_OPENAT2:
		return "" // to look below a root; what it makes is made by other calls
	case unix.SYS_OPEN_TREE:
		return "" // a handle
	case unix.SYS_PRLIMIT64:
		if args[2] == 0 {
			return ""
		}
	case unix.SYS_CLONE, unix.SYS_CLONE3:
		if args[0]&unix.CLONE_THREAD != 0 && nr == unix.SYS_CLONE {
			return "" // a thread of the Go runtime
		}
	case unix.SYS_WRITE:
		if strings.Contains(object, "eventfd") || strings.HasPrefix(object, "pipe:") || strings.HasSuffix(object, "/log") || strings.HasSuffix(object, "supervisor.log") {
			return "" // its own wake-up; its messages
		}
	case unix.SYS_PRCTL:
		const setVMA = 0x53564d41 // the Go runtime names its memory
		if args[0] == setVMA {
			return ""
		}
	}
	return strings.TrimSpace(o.name + " " + plain(object, dir))
}

var varying = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{64}`), "ID"},
	{regexp.MustCompile(`[0-9a-f]{12,}`), "ID"},
	{regexp.MustCompile(`[0-9]+`), "N"},
	{regexp.MustCompile(`veth[0-9a-zA-Z]+`), "vethN"},
}

// plain leaves out what differs from run to run.
func plain(object, dir string) string {
	object = strings.ReplaceAll(object, dir, "")
	for _, v := range varying {
		object = v.find.ReplaceAllString(object, v.with)
	}
	if i := strings.IndexByte(object, '\n'); i >= 0 {
		object = object[:i]
	}
	return object[:min(len(object), 100)]
}

func openFile(tid int, fd uint64) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd)))
	if err != nil {
		return ""
	}
	if strings.HasPrefix(path, "socket:") {
		return "socket"
	}
	return path
}

// stringAt reads a C string of the tracee, page by page.
func stringAt(tid int, addr uint64) string {
	var text []byte
	for addr != 0 && len(text) < 4096 {
		n := 4096 - int(addr%4096)
		buf := make([]byte, n)
		local := []unix.Iovec{{Base: &buf[0], Len: uint64(n)}}
		got, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: n}}, 0)
		if err != nil || got <= 0 {
			break
		}
		if i := slices.Index(buf[:got], 0); i >= 0 {
			return string(append(text, buf[:i]...))
		}
		text = append(text, buf[:got]...)
		addr += uint64(got)
	}
	return string(text)
}
