package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
	"pier/kernel/reaper"
	"pier/lib/errkind"
)

func itoa(n int) string { return strconv.Itoa(n) }

// What a container sees of itself, with everything that Docker gives by default.
func TestStartDefaults(t *testing.T) {
	t.Run("copy of an empty mount namespace", func(t *testing.T) { testDefaults(t, func(*Container) {}) })
	t.Run("copy of the host's mounts", func(t *testing.T) { testDefaults(t, func(c *Container) { c.Empty = nil }) })
	t.Run("host's null device", func(t *testing.T) {
		testDefaults(t, func(c *Container) {
			c.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}}
		})
	})
}

func testDefaults(t *testing.T, change func(*Container)) {
	c := testContainer(t, "sh", "-c", `cat /proc/self/status; echo pid $$; echo name $(hostname); cat /proc/mounts;
cat /proc/self/cgroup; ls -l /dev; echo links $(ip link | grep -c mtu); echo keys $(cat /proc/keys | grep -c .); echo net $(readlink /proc/self/ns/net);
echo fds $(ls /proc/self/fd); touch /proc/sys/x /sys/x /proc/acpi/x; echo x > /proc/sysrq-trigger`)
	change(c)
	out, status := output(t, c)
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"pid": "1", "name": "box", "CapInh:": "0000000000000000", "CapPrm:": "00000000a80425fb", "CapEff:": "00000000a80425fb",
		"CapBnd:": "00000000a80425fb", "CapAmb:": "0000000000000000", "NoNewPrivs:": "1", "Seccomp:": "2", "SigBlk:": "0000000000000000",
		"SigIgn:": "0000000000000000", "Umask:": "0022", "Groups:": "0", "links": "1", "keys": "0", "fds": "0 1 2 3",
	} {
		if got := field1(out, key); got != want {
			t.Errorf("%s %q, want %q", key, got, want)
		}
	}
	if field1(out, "net") == host {
		t.Error("the network namespace is the host's")
	}
	lines := []string{
		"proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n", "sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0\n",
		"tmpfs /dev tmpfs rw,nosuid,size=65536k,mode=755", "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k",
		"devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666", "mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec",
		" /sys/firmware tmpfs ro", "proc /proc/sys proc ro,", "crw-rw-rw-    1 0        0           1,   3 ", "ptmx -> pts/ptmx\n",
		"touch: /proc/sys/x: ", "touch: /sys/x: Read-only file system",
	}
	if _, err := os.Stat("/proc/acpi"); err == nil { // not where a device tree describes the machine
		lines = append(lines, "touch: /proc/acpi/x: Read-only file system")
	}
	for _, line := range lines {
		if !strings.Contains(out, line) {
			t.Errorf("missing in the output: %s", line)
		}
	}
	if status.Code == 0 || t.Failed() {
		t.Log(status, out)
	}
}

// Below the root there is nothing of the host's, for those who get in without being in the root.
func TestNothingBelowTheRoot(t *testing.T) {
	for _, below := range []string{"an empty mount namespace", "the host's mounts"} {
		t.Run(below, func(t *testing.T) {
			c := testContainer(t, "sleep", "1000")
			if below == "the host's mounts" {
				c.Empty = nil
			}
			p, err := Start(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = pidfd.Signal(p.Pidfd, 9)
				reapAll(t, p)
			}()
			looked := make(chan error)
			go func() { looked <- lookBelow(p.Pid, c.Spec.Root.Path) }()
			if err := <-looked; err != nil {
				t.Error(err)
			}
		})
	}
}

// lookBelow enters the mount namespace of a process, takes its root away, and looks for a path of the host. It wants a
// goroutine of its own.
func lookBelow(pid int, hostPath string) error {
	runtime.LockOSThread()
	ns, err := os.Open("/proc/" + itoa(pid) + "/ns/mnt")
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, last := range []bool{false, true} {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		if _, err := os.Lstat("/bin/busybox"); (err == nil) == last {
			return fmt.Errorf("the container's program, its root unmounted: %v: %w", last, err)
		}
		if _, err := os.Lstat(hostPath); err == nil {
			return fmt.Errorf("%s is there", hostPath)
		}
		if !last {
			if err := unix.Unmount("/", unix.MNT_DETACH); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestStartTerminal(t *testing.T) {
	c := testContainer(t, "sh", "-c", "tty; stty size; ls -l /dev/console; echo $$ > /dev/console; read line; stty size")
	c.Spec.Process.Terminal = true
	c.Width, c.Height = 100, 40
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	out := resizeAfter(t, p.Master, "/dev/console\r\n1\r\n")
	if reapAll(t, p).Code != 0 || !strings.HasPrefix(out, "/dev/pts/0\r\n40 100\r\ncrw") || !strings.HasSuffix(out, "1\r\n\r\n50 132\r\n") {
		t.Fatalf("output %q", out)
	}
}

func TestStartUser(t *testing.T) {
	c := testContainer(t, "sh", "-c", "id; cat /proc/self/status; readlink /proc/self/cwd; echo x >/dev/stdout; umask")
	umask := uint32(0o027)
	c.Spec.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{7}, Umask: &umask}
	c.Spec.Process.Cwd = "/tmp"
	c.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
	c.Spec.Root.Readonly = true
	out, _ := output(t, c)
	for key, want := range map[string]string{"Uid:": "1000 1000 1000 1000", "Gid:": "1001 1001 1001 1001", "CapEff:": "0000000000000000",
		"CapPrm:": "0000000000000000", "CapInh:": "0000000000000000"} {
		if got := field1(out, key); got != want {
			t.Errorf("%s %q, want %q", key, got, want)
		}
	}
	if !strings.HasSuffix(out, "/tmp\nx\n0027\n") {
		t.Errorf("output %s", out)
	}
}

// Without no_new_privs the filter is loaded while there still is a right to; ambient capabilities reach a plain user.
func TestStartPrivileges(t *testing.T) {
	c := testContainer(t, "cat", "/proc/self/status")
	c.Spec.Process.NoNewPrivileges = false
	c.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c.Spec.Process.Capabilities.Ambient = []string{"CAP_NET_BIND_SERVICE"}
	out, _ := output(t, c)
	for key, want := range map[string]string{"NoNewPrivs:": "0", "Seccomp:": "2", "CapEff:": "0000000000000400", "CapAmb:": "0000000000000400", "CapBnd:": "00000000a80425fb"} {
		if got := field1(out, key); got != want {
			t.Errorf("%s %q, want %q", key, got, want)
		}
	}
}

// A start that hangs ends with its context, and leaves nothing.
func TestStartCanceled(t *testing.T) {
	c := testContainer(t, "true")
	if err := c.Cgroup.Freeze(); err != nil {
		t.Fatal(err)
	}
	before := hostTraces(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	thaw := time.AfterFunc(100*time.Millisecond, func() { _ = c.Cgroup.Thaw() }) // on v1 a frozen process dies only then
	defer thaw.Stop()
	if _, err := Start(ctx, c); !errkind.Is(err, errkind.Timeout) {
		t.Errorf("error %v", err)
	}
	sameTraces(t, before)
}

// Mounts as docker run -v makes them, into places that do not exist, through links, into each other.
func TestStartMounts(t *testing.T) {
	c := testContainer(t, "sh", "-c", `cat /data/in/a /etc/resolv.conf /etc/deep/er; echo rw > /data/out; echo no > /ro/x; ls /over; cat /proc/mounts; touch /x`)
	root := c.Spec.Root.Path
	host := t.TempDir()
	for name, data := range map[string]string{"a": "A\n", "resolv": "R\n"} {
		if err := os.WriteFile(filepath.Join(host, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"data", "ro"} {
		if err := os.Mkdir(filepath.Join(host, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// An image's link to a place that is made at run time; one that tries to leave the root.
	if err := os.Symlink("../run/systemd/resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(host, "outside")
	if err := os.Symlink("../../../../../../.."+outside, filepath.Join(root, "over")); err != nil {
		t.Fatal(err)
	}
	add := func(dest, source string, options ...string) {
		c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: filepath.Join(host, source), Options: append(options, "rbind", "rprivate")})
	}
	add("/data", "data")
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/data/in", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}})
	add("/data/in/a", "a", "ro")
	add("/etc/resolv.conf", "resolv", "ro")
	add("/etc/deep/er", "resolv")
	add("/ro", "ro", "rro", "nosuid")
	add("/over", "data")
	c.Spec.Root.Readonly = true
	out, _ := output(t, c)
	for _, want := range []string{"A\nR\nR\n", "can't create /ro/x: Read-only", "in\nout\n", "touch: /x: Read-only", " /run/systemd/resolv.conf ext4 ro"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q", want)
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a link in the root made something outside of it")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Every refusal leaves nothing behind.
func TestStartErrors(t *testing.T) {
	type change = func(c *Container)
	link := func(name, target string) change {
		return func(c *Container) {
			p := filepath.Join(c.Spec.Root.Path, name)
			_ = os.RemoveAll(p)
			if err := os.Symlink(target, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	bind := func(source, dest string) change {
		return func(c *Container) {
			c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: dest, Type: "bind", Source: source, Options: []string{"rbind"}})
		}
	}
	sysctl := func(key, value string) change {
		return func(c *Container) { c.Spec.Linux.Sysctl = map[string]string{key: value} }
	}
	init, err := reaper.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer init.Close()
	below := func(args ...string) change {
		return func(c *Container) { c.Init, c.Spec.Process.Args = init, args }
	}
	for name, test := range map[string]struct {
		change change
		errno  syscall.Errno // 0: refused before any call
		kind   errkind.Kind
	}{
		"missing program":          {func(c *Container) { c.Spec.Process.Args = []string{"/missing"} }, syscall.ENOENT, errkind.NotFound},
		"missing below an init":    {below("/missing"), syscall.ENOENT, errkind.NotFound},
		"not found below an init":  {below("missing"), syscall.ENOENT, errkind.NotFound},
		"below a file and an init": {below("/bin/busybox/x"), syscall.ENOTDIR, errkind.Invalid},
		"below a file":             {func(c *Container) { c.Spec.Process.Args = []string{"/bin/busybox/x"} }, syscall.ENOTDIR, errkind.Invalid},
		"program is a folder":      {func(c *Container) { c.Spec.Process.Args = []string{"/bin"} }, syscall.EACCES, errkind.Invalid},
		"not executable": {func(c *Container) {
			if err := os.WriteFile(c.Spec.Root.Path+"/plain", []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			c.Spec.Process.Args = []string{"/plain"}
		}, syscall.EACCES, errkind.Invalid},
		"bad format": {func(c *Container) {
			if err := os.WriteFile(c.Spec.Root.Path+"/bad", []byte("\x7fELFxx"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.Spec.Process.Args = []string{"/bad"}
		}, syscall.ENOEXEC, errkind.Invalid},
		"proc is a link":   {link("proc", "tmp"), syscall.ELOOP, errkind.Internal},
		"sys is a link":    {link("sys", "tmp"), syscall.ELOOP, errkind.Internal},
		"dev is a link":    {link("dev", "/tmp"), syscall.ELOOP, errkind.Internal},
		"mount below proc": {bind("/tmp", "/proc/self"), 0, errkind.Invalid},
		"mount over a link to proc": {func(c *Container) {
			link("p", "proc/self")(c)
			bind("/tmp", "/p/attr")(c)
		}, syscall.EPERM, errkind.Internal},
		"tmpfs over a link to proc": {func(c *Container) {
			link("p", "proc/self")(c)
			c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/p/attr", Type: "tmpfs"})
		}, syscall.EPERM, errkind.Internal},
		"mount source missing": {bind("/missing/source", "/x"), syscall.ENOENT, errkind.Invalid},
		"bad mount option": {func(c *Container) {
			c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"nonsense=1"}})
		}, syscall.EINVAL, errkind.Internal},
		"working folder is a descriptor": {func(c *Container) { c.Spec.Process.Cwd = "/proc/self/fd/7" }, syscall.ENOENT, errkind.Invalid},
		"working folder missing":         {func(c *Container) { c.Spec.Process.Cwd = "/missing" }, syscall.ENOENT, errkind.Invalid},
		"sysctl of the host":             {sysctl("kernel.core_pattern", "|/x"), 0, errkind.Invalid},
		"sysctl with a way out":          {sysctl("net...kernel.core_pattern", "x"), 0, errkind.Invalid},
		"sysctl with a line end":         {sysctl("net.ipv4.ip_forward", "1\nx"), 0, errkind.Invalid},
		"hard limit raised": {func(c *Container) {
			c.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 31, Hard: 1 << 31}}
		}, syscall.EPERM, errkind.Invalid},
		"no mount namespace":  {func(c *Container) { c.Spec.Linux.Namespaces = c.Spec.Linux.Namespaces[1:] }, 0, errkind.Invalid},
		"user out of range":   {func(c *Container) { c.Spec.Process.User.UID = ^uint32(0) }, 0, errkind.Invalid},
		"two path components": {func(c *Container) { c.ID = "../x" }, 0, errkind.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			c := testContainer(t, "true")
			test.change(c)
			if strings.HasPrefix(c.Spec.Process.Cwd, "/proc/self/fd") {
				// A folder of the host that leaked without close-on-exec, as in CVE-2024-21626.
				fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				c.Spec.Process.Cwd = "/proc/self/fd/" + itoa(fd)
			}
			before := hostTraces(t)
			var ran uint64
			c.RunTo = &ran
			_, err := Start(t.Context(), c)
			if ran != 0 {
				t.Error("a successor would think that the program had run")
			}
			var failed *StartError
			if !errors.As(err, &failed) || failed.Errno != test.errno || errkind.Of(err) != test.kind {
				t.Errorf("error %v (%+v), want errno %v, kind %v", err, failed, test.errno, test.kind)
			}
			sameTraces(t, before)
			if procs, err := c.Cgroup.Procs(); err != nil || len(procs) > 0 {
				t.Errorf("processes left: %v (%v)", procs, err)
			}
		})
	}
}

func TestStartSysctl(t *testing.T) {
	c := testContainer(t, "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced")
	c.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
	if out, _ := output(t, c); out != "1\n1\n" {
		t.Errorf("output %q", out)
	}
}

func TestStartUserNamespace(t *testing.T) {
	c := testContainer(t, "sh", "-c", "id; cat /proc/self/uid_map; ls -l /dev/null /dev/pts/ptmx; echo x >/dev/null; touch /made; cat /proc/self/status")
	userNamespace(t, c)
	out, status := output(t, c)
	if status.Code != 0 || !strings.HasPrefix(out, "uid=0 gid=0") || field1(out, "0") != "100000 65536" || field1(out, "CapEff:") != "00000000a80425fb" {
		t.Errorf("%+v %s", status, out)
	}
	st, err := os.Stat(c.Spec.Root.Path + "/made")
	if err != nil || st.Sys().(*syscall.Stat_t).Uid != 100000 {
		t.Errorf("a file made inside: %v %v", st, err)
	}
	// Its limits are those of its own group: that is where the kernel has put it.
	c = testContainer(t, "sleep", "1000")
	userNamespace(t, c)
	p := running(t, c)
	if pids, err := c.Cgroup.Procs(); err != nil || !slices.Contains(pids, p.Pid) {
		t.Errorf("process %d is not among those of its cgroup, %v (%v)", p.Pid, pids, err)
	}
}

func TestStartParallel(t *testing.T) {
	c := testContainer(t, "true")
	before := hostTraces(t)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 500 / 16 {
				one := *c
				p, err := Start(t.Context(), &one)
				if err != nil {
					t.Error(err)
					return
				}
				if err := pidfd.Wait(t.Context(), p.Pidfd); err != nil {
					t.Error(err)
				}
				if s, err := pidfd.Reap(p.Pidfd); err != nil || s.Code != 0 {
					t.Error(s, err)
				}
				p.Pidfd.Close()
			}
		})
	}
	group.Wait()
	sameTraces(t, before)
}

// One container from Start to its exit status, with all of Docker's defaults.
func BenchmarkStart(b *testing.B) {
	c := testContainer(b, "true")
	profile := c.Spec.Linux.Seccomp
	t := &task{}
	if err := t.compile(nil, 0, profile, specs.State{}); err != nil {
		b.Fatal(err)
	}
	c.Seccomp = t.filter
	for b.Loop() {
		p, err := Start(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		reapAll(b, p)
	}
}

func BenchmarkExec(b *testing.B) {
	c := testContainer(b, "sleep", "1000")
	p := running(b, c)
	t := &task{}
	if err := t.compile(nil, 0, c.Spec.Linux.Seccomp, specs.State{}); err != nil {
		b.Fatal(err)
	}
	e := execConfig(c, p, "true")
	e.Seccomp = t.filter
	for b.Loop() {
		x, err := Exec(b.Context(), e)
		if err != nil {
			b.Fatal(err)
		}
		reapAll(b, x)
	}
}
