package spawn_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
	"pier/kernel/spawn"
)

func execve(l *spawn.List, argv ...string) spawn.Call {
	return l.Add("execve", argv[0], unix.SYS_EXECVE, l.String(argv[0]), l.Strings(argv), l.Strings(nil))
}

func unblock(l *spawn.List) {
	l.Add("sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_SETMASK), spawn.Pointer(l, new(uint64)), spawn.Int(0), spawn.Int(8))
}

func wait(t *testing.T, c *spawn.Child) pidfd.Status {
	t.Helper()
	defer c.Pidfd.Close()
	if err := pidfd.Wait(t.Context(), c.Pidfd); err != nil {
		t.Fatal(err)
	}
	s, err := pidfd.Reap(c.Pidfd)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRun(t *testing.T) {
	l := spawn.New(8)
	unblock(l)
	execve(l, "/bin/busybox", "sh", "-c", "exit 7")
	c, err := l.Run(spawn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, c); s.Code != 7 || s.Signaled {
		t.Fatalf("status %+v", s)
	}
}

// A list that is used again has forgotten what happened, and takes another descriptor.
func TestAgain(t *testing.T) {
	l := spawn.New(8)
	out, opened := l.Slot(), l.Slot()
	var missing uint64
	l.Add("open", "", unix.SYS_OPENAT, spawn.From(out), l.String("it"), spawn.Int(unix.O_RDONLY|unix.O_CLOEXEC)).Into(opened).Tolerate(unix.ENOENT).Catch(&missing)
	l.Check("opened", "", l.Address(opened), ^uint64(0), ^uint64(0), unix.EEXIST)
	unblock(l)
	execve(l, "/bin/busybox", "true")
	empty, full := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "it"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, dir := range []string{empty, full, empty, empty, full} {
		if i > 0 {
			spawn.Again(l)
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		out.Set(int(f.Fd()))
		c, err := l.Run(spawn.Options{Context: t.Context()})
		f.Close()
		var failed *spawn.Error
		switch {
		case dir == full && (!errors.As(err, &failed) || failed.Errno != unix.EEXIST || missing != 0):
			t.Errorf("run %d: %v, %d", i, err, missing)
		case dir == empty && (err != nil || missing != uint64(unix.ENOENT)):
			t.Errorf("run %d: %v, %d", i, err, missing)
		}
		if err == nil {
			wait(t, c)
		}
	}
}

// Results of one call are the arguments of another, tolerated errors and skips steer the child.
func TestProgram(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	l := spawn.New(8)
	fd := l.Slot()
	write := func(s string) spawn.Call {
		return l.Add("write", s, unix.SYS_WRITE, l.File(out), l.String(s), spawn.Int(len(s)))
	}
	missing := l.Add("open", "/missing", unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), l.String("/missing/x"), spawn.Int(unix.O_RDONLY)).Tolerate(unix.ENOENT)
	write("not reached after the error;")
	missing.OnError(l.Here())
	open := l.Add("open", "/", unix.SYS_OPENAT, spawn.Int(unix.AT_FDCWD), l.String("/"), spawn.Int(unix.O_RDONLY|unix.O_CLOEXEC)).Into(fd)
	write("not reached after the success;")
	open.OnSuccess(l.Here())
	l.Add("fchdir", "/", unix.SYS_FCHDIR, spawn.From(fd))
	buf := make([]byte, 64)
	l.Add("getcwd", "", unix.SYS_GETCWD, spawn.Slice(l, buf), spawn.Int(len(buf)))
	l.Check("working folder", "/", spawn.Slice(l, buf), 0xff, '/', unix.ENOENT)
	write("done")
	unblock(l)
	execve(l, "/bin/busybox", "true")
	c, err := l.Run(spawn.Options{Flags: unix.CLONE_NEWPID | unix.CLONE_NEWNS})
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, c); s.Code != 0 {
		t.Fatalf("status %+v", s)
	}
	if got, _ := os.ReadFile(out.Name()); string(got) != "done" {
		t.Fatalf("the child wrote %q", got)
	}
}

// A child that fails leaves zero where it was told to; one that executes its program before does not come to it.
func TestClear(t *testing.T) {
	for _, program := range []string{"/bin/missing", "/bin/busybox"} {
		l := spawn.New(8)
		note := uint64(1)
		unblock(l)
		execve(l, program, "true").Tolerate()
		spawn.Clear(l, &note)
		c, err := l.Run(spawn.Options{})
		if err == nil {
			wait(t, c)
		}
		if want := program == "/bin/busybox"; (note == 1) != want || (err == nil) != want {
			t.Errorf("%s: %v, it left %d", program, err, note)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(l *spawn.List)
		call  string
		errno syscall.Errno
	}{
		{"missing program", func(l *spawn.List) { execve(l, "/bin/missing") }, "execve", unix.ENOENT},
		{"folder", func(l *spawn.List) { execve(l, "/bin") }, "execve", unix.EACCES},
		{"failing call", func(l *spawn.List) {
			l.Add("chdir", "/missing", unix.SYS_CHDIR, l.String("/missing"))
			execve(l, "/bin/busybox", "true")
		}, "chdir", unix.ENOENT},
		{"failing check", func(l *spawn.List) {
			l.Check("check", "", spawn.Pointer(l, new(uint64)), 1, 1, unix.EXDEV)
			execve(l, "/bin/busybox", "true")
		}, "check", unix.EXDEV},
		{"failing difference", func(l *spawn.List) {
			l.CheckNot("check", "", spawn.Pointer(l, new(uint64)), 1, 1, unix.EXDEV)
			l.CheckNot("checknot", "", spawn.Pointer(l, new(uint64)), 1, 0, unix.EXDEV)
			execve(l, "/bin/busybox", "true")
		}, "checknot", unix.EXDEV},
		{"end of the list", func(l *spawn.List) { execve(l, "/bin/missing").Tolerate() }, "execve", unix.ENOENT},
		{"killed", func(l *spawn.List) {
			l.Add("kill", "", unix.SYS_KILL, spawn.Int(0), spawn.Int(int(unix.SIGKILL)))
			execve(l, "/bin/busybox", "true")
		}, "child killed before execve", unix.EINTR},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := spawn.New(8)
			if test.name == "killed" { // kill(0) is the whole group; make it the child's own
				l.Add("setsid", "", unix.SYS_SETSID)
			}
			test.build(l)
			_, err := l.Run(spawn.Options{})
			var failed *spawn.Error
			if !errors.As(err, &failed) || failed.Call != test.call || failed.Errno != test.errno {
				t.Fatalf("error %v", err)
			}
			if pid := l.Child(); unix.Kill(pid, 0) != unix.ESRCH {
				t.Fatalf("child %d is still there", pid)
			}
		})
	}
}

func TestParallel(t *testing.T) {
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 30 {
				l := spawn.New(8)
				unblock(l)
				execve(l, "/bin/busybox", "true")
				c, err := l.Run(spawn.Options{Flags: unix.CLONE_NEWPID | unix.CLONE_NEWNS})
				if err != nil {
					t.Error(err)
					return
				}
				if s := wait(t, c); s.Code != 0 {
					t.Errorf("status %+v", s)
				}
			}
		})
	}
	group.Wait()
}

// Born inside a cgroup v2.
func TestCgroup(t *testing.T) {
	var dir string
	for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(mount + "/cgroup.subtree_control"); err == nil {
			dir = mount + "/pier-test-spawn-" + strconv.Itoa(os.Getpid())
			break
		}
	}
	if dir == "" {
		t.Skip("no cgroup v2 is mounted")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := spawn.New(8)
	l.Add("dup3", "", unix.SYS_DUP3, l.File(w), spawn.Int(1), spawn.Int(0))
	unblock(l)
	execve(l, "/bin/busybox", "grep", "^0::", "/proc/self/cgroup")
	c, err := l.Run(spawn.Options{Cgroup: group})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	if s := wait(t, c); s.Code != 0 || string(out) != "0::/"+filepath.Base(dir)+"\n" {
		t.Errorf("%+v %q", s, out)
	}
}

// The thread comes back from a namespace that it entered for the clone.
func TestEnter(t *testing.T) {
	l := spawn.New(8)
	unblock(l)
	execve(l, "/bin/busybox", "sleep", "1000")
	first, err := l.Run(spawn.Options{Flags: unix.CLONE_NEWPID})
	if err != nil {
		t.Fatal(err)
	}
	l = spawn.New(8)
	unblock(l)
	execve(l, "/bin/busybox", "sh", "-c", "exit $$")
	second, err := l.Run(spawn.Options{Enter: []spawn.Namespace{{File: first.Pidfd, Kind: unix.CLONE_NEWPID}}})
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, second); s.Code != 2 {
		t.Errorf("the second process is number %d, want 2", s.Code)
	}
	if err := pidfd.Signal(first.Pidfd, int(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if s := wait(t, first); !s.Signaled {
		t.Errorf("status %+v", s)
	}
	TestRun(t)
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		l := spawn.New(8)
		unblock(l)
		execve(l, "/bin/busybox", "true")
		c, err := l.Run(spawn.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := pidfd.Wait(b.Context(), c.Pidfd); err != nil {
			b.Fatal(err)
		}
		_, _ = pidfd.Reap(c.Pidfd)
		c.Pidfd.Close()
	}
}

// A list with a Split runs in two processes; the second has what the first has come to, and is the caller's child.
func TestSplit(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := spawn.New(8)
	up := l.Slot()
	l.Add("fcntl", "", unix.SYS_FCNTL, l.File(w), spawn.Int(unix.F_DUPFD), spawn.Int(100)).Into(up)
	l.Add("dup3", "", unix.SYS_DUP3, spawn.From(up), spawn.Int(1), spawn.Int(0))
	l.Add("chdir", "/tmp", unix.SYS_CHDIR, l.String("/tmp"))
	l.Add("close_range", "", unix.SYS_CLOSE_RANGE, spawn.Int(3), spawn.Int(^uint32(0)), spawn.Int(0))
	l.Split()
	l.Add("setsid", "", unix.SYS_SETSID)
	unblock(l)
	execve(l, "/missing").Tolerate(unix.ENOENT)
	execve(l, "/bin/busybox", "sh", "-c", "echo $PPID $PWD; exit 7")
	c, err := l.Run(spawn.Options{})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	if want := strconv.Itoa(os.Getpid()) + " /tmp\n"; string(out) != want {
		t.Errorf("it says %q, want %q", out, want)
	}
	if s := wait(t, c); s.Code != 7 || s.Signaled {
		t.Fatalf("status %+v", s)
	}
}

// What a successor of this process needs to know is in the memory that it gave: which process, and what it came to. The
// process that others can see has no look at it.
func TestSplitTellsNumber(t *testing.T) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(page) }()
	pid, mask := (*int32)(unsafe.Pointer(&page[16])), (*uint64)(unsafe.Pointer(&page[64]))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := spawn.New(8)
	note := spawn.Int(uintptr(unsafe.Pointer(mask)))
	l.Add("dup3", "", unix.SYS_DUP3, l.File(w), spawn.Int(1), spawn.Int(0))
	l.Add("rt_sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_BLOCK), spawn.Int(0), note, spawn.Int(8))
	l.Split()
	seen := l.Add("rt_sigprocmask", "", unix.SYS_RT_SIGPROCMASK, spawn.Int(unix.SIG_BLOCK), spawn.Int(0), note, spawn.Int(8)).Tolerate(unix.EFAULT)
	unblock(l)
	execve(l, "/bin/busybox", "sh", "-c", "echo $$")
	c, err := l.Run(spawn.Options{PidTo: pid})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	if text := strconv.Itoa(int(*pid)) + "\n"; string(out) != text || c.Pid != int(*pid) {
		t.Errorf("the process is %d and says %q, noted is %d", c.Pid, out, *pid)
	}
	if *mask == 0 {
		t.Error("the first process could not write to the page")
	}
	if _, _, errno := seen.Result(); errno != unix.EFAULT {
		t.Errorf("the second process has the page: %v", errno)
	}
	if s := wait(t, c); s.Code != 0 {
		t.Fatalf("status %+v", s)
	}
}

func TestSplitErrors(t *testing.T) {
	for name, where := range map[string]int{"before": 0, "split": 1, "after": 2, "execve": 3} {
		l := spawn.New(8)
		fail := func(at int) {
			if at == where {
				l.Add("chdir", name, unix.SYS_CHDIR, l.String("/missing"))
			}
		}
		var caught uint64
		l.Add("chdir", "", unix.SYS_CHDIR, l.String("/nowhere")).Tolerate(unix.ENOENT).Catch(&caught)
		fail(0)
		if where == 1 { // no process may be made
			l.Add("setresuid", "", unix.SYS_SETRESUID, spawn.Int(4242), spawn.Int(4242), spawn.Int(4242))
			l.Add("prlimit", "", unix.SYS_PRLIMIT64, spawn.Int(0), spawn.Int(unix.RLIMIT_NPROC), spawn.Pointer(l, &unix.Rlimit{}), spawn.Int(0))
		}
		l.Split()
		fail(2)
		unblock(l)
		execve(l, "/missing")
		_, err := l.Run(spawn.Options{})
		var e *spawn.Error
		want := map[string]string{"before": "chdir before", "split": "clone ", "after": "chdir after", "execve": "execve /missing"}[name]
		if !errors.As(err, &e) || e.Call+" "+e.Path != want || e.Errno == 0 {
			t.Errorf("%s: %v", name, err)
		}
		if caught != uint64(unix.ENOENT) {
			t.Errorf("%s: caught %d", name, caught)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for b.Loop() {
		l := spawn.New(8)
		l.Split()
		unblock(l)
		execve(l, "/bin/busybox", "true")
		c, err := l.Run(spawn.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_ = pidfd.Wait(b.Context(), c.Pidfd)
		_, _ = pidfd.Reap(c.Pidfd)
		c.Pidfd.Close()
	}
}
