package oci

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/capability"
	"pier/kernel/cgroup"
	"pier/kernel/mount"
	"pier/kernel/pidfd"
	"pier/kernel/seccomp"
	"pier/lib/id"
)

// TestMain removes the parent of the tests' cgroups.
func TestMain(m *testing.M) {
	if secret := os.Getenv(asTracer); secret != "" {
		trace(secret)
	}
	code := m.Run()
	if parent, err := cgroup.Open(testParent()); err == nil {
		if err := parent.Delete(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func testParent() string { return "/pier-test-oci-" + strconv.Itoa(os.Getpid()) }

// testRoot makes a root of busybox alone.
func testRoot(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	for _, dir := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal("these tests need a static busybox (Debian's busybox-static): ", err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), box, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "true", "cat", "id", "hostname", "ls", "stty", "sleep", "mount", "ip", "grep", "tty", "touch", "readlink"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// dockerSpec is what Docker gives a container that asks for nothing.
func dockerSpec(t testing.TB, root string, args ...string) *specs.Spec {
	t.Helper()
	caps := capability.Default()
	profile, err := seccomp.Default(caps)
	if err != nil {
		t.Fatal(err)
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"},
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps},
			NoNewPrivileges: true,
		},
		Root: &specs.Root{Path: root}, Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: "mount"}, {Type: "network"}, {Type: "uts"}, {Type: "pid"}, {Type: "ipc"}, {Type: "cgroup"}},
			MaskedPaths: []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Seccomp:       profile,
		},
	}
}

// testContainer is a container of its own cgroup.
func testContainer(t testing.TB, args ...string) *Container {
	t.Helper()
	name := id.New()
	group, err := cgroup.Create(testParent()+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = group.Kill()
		if err := group.Delete(); err != nil {
			t.Error(err)
		}
	})
	empty, err := mount.Empty() // as the supervisor has it; the runtime's commands have none
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { empty.Close() })
	return &Container{ID: name, Spec: dockerSpec(t, testRoot(t), args...), Cgroup: group, Empty: empty}
}

// output runs c to its end and returns what it wrote and how it ended.
func output(t testing.TB, c *Container) (string, pidfd.Status) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdio = Stdio{Stdout: w, Stderr: w}
	p, err := Start(t.Context(), c)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String(), reapAll(t, p)
}

func reapAll(t testing.TB, p *Process) pidfd.Status {
	t.Helper()
	defer p.Pidfd.Close()
	if p.Master != nil {
		defer p.Master.Close()
	}
	status, err := pidfd.Take(t.Context(), p.Pidfd)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func field1(out, key string) string {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			return strings.Join(f[1:], " ")
		}
	}
	return ""
}

// hostTraces are what a failed start must not change: open descriptors, mounts, children.
func hostTraces(t testing.TB) []string {
	t.Helper()
	var all []string
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && !strings.Contains(target, "eventpoll") && !strings.Contains(target, "eventfd") {
			all = append(all, target)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		// Other programs mount things meanwhile; a leak of ours would be a test's folder, or something at these places.
		f := strings.Fields(line)
		if strings.Contains(line, os.TempDir()+"/Test") || f[4] == "/" || within(f[4], "/proc") || within(f[4], "/sys") || within(f[4], "/dev") {
			all = append(all, line)
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, c := range tasks {
		if b, _ := os.ReadFile(c); len(b) > 0 {
			all = append(all, "children "+string(b))
		}
	}
	slices.Sort(all)
	return all
}

// sameTraces fails for what is there now and was not before. What has gone meanwhile belonged to an earlier test.
func sameTraces(t testing.TB, before []string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // the kernel ends some things in the background
		known := make(map[string]int)
		for _, s := range before {
			known[s]++
		}
		left = slices.DeleteFunc(hostTraces(t), func(s string) bool { known[s]--; return known[s] >= 0 })
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, s := range left {
		t.Errorf("left behind: %s", s)
	}
}

// userNamespace gives c a user namespace in which root is user 100000, who owns the root.
func userNamespace(t testing.TB, c *Container) {
	t.Helper()
	const host, size = 100000, 65536
	c.Spec.Linux.Namespaces = append(c.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: "user"})
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: size}}
	c.Spec.Linux.UIDMappings, c.Spec.Linux.GIDMappings = maps, maps
	err := filepath.Walk(c.Spec.Root.Path, func(name string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, host, host)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }
