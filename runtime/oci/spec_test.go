package oci

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
	"pier/lib/id"
)

func addNamespace(c *Container, kind specs.LinuxNamespaceType, path string) {
	list := c.Spec.Linux.Namespaces
	for i := range list {
		if list[i].Type == kind {
			list[i].Path = path
			return
		}
	}
	c.Spec.Linux.Namespaces = append(list, specs.LinuxNamespace{Type: kind, Path: path})
}

// wants fails for every line that out lacks.
func wants(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+out, "\n"+line) {
			t.Errorf("no line %q in:\n%s", line, out)
		}
	}
}

func refuses(t *testing.T, c *Container, kind errkind.Kind, words string) {
	t.Helper()
	before := hostTraces(t)
	if _, err := Start(t.Context(), c); !errkind.Is(err, kind) || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want %v with %q", err, kind, words)
	}
	sameTraces(t, before)
}

// Time is the container's own from its first process on: also for execs, hooks and who joins the namespace, with and
// without a user namespace.
func TestTimeNamespace(t *testing.T) {
	for _, users := range []bool{false, true} {
		c := testContainer(t, "sleep", "1000")
		if users {
			userNamespace(t, c)
			for dir := filepath.Dir(c.Spec.Root.Path); dir != os.TempDir(); dir = filepath.Dir(dir) { // the hook shows it at its path
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		addNamespace(c, "time", "")
		c.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 7_000_000, Nanosecs: 5}, "monotonic": {Secs: -1}}
		log := filepath.Join(c.Spec.Root.Path, "hook")
		c.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "cat /proc/uptime > " + log}}}}
		p := running(t, c)
		if uptime, err := os.ReadFile(log); err != nil || !strings.HasPrefix(string(uptime), "70") && !strings.HasPrefix(string(uptime), "71") {
			t.Errorf("the hook saw %s, %v", uptime, err)
		}
		const show = "echo pid $$; cat /proc/self/timens_offsets; echo up $(busybox cut -c 1 /proc/uptime); readlink /proc/self/ns/time"
		out, _ := execOutput(t, execConfig(c, p, "sh", "-c", show))
		theirs, _ := os.Readlink("/proc/" + itoa(p.Pid) + "/ns/time")
		wants(t, out, "boottime      7000000         5", "up 7", theirs)

		joiner := testContainer(t, "sh", "-c", show)
		addNamespace(joiner, "time", "/proc/"+itoa(p.Pid)+"/ns/time")
		out, _ = output(t, joiner)
		wants(t, out, "pid 1", "up 7", theirs)
	}
	c := testContainer(t, "true")
	c.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
	refuses(t, c, errkind.Invalid, "new time namespace")
	addNamespace(c, "time", "")
	c.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {Secs: 1}}
	refuses(t, c, errkind.Invalid, "realtime")
	c.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -1 << 60}}
	refuses(t, c, errkind.Internal, "set time offset monotonic")
}

func TestJoinUserNamespace(t *testing.T) {
	first := testContainer(t, "sleep", "1000")
	userNamespace(t, first)
	p := running(t, first)
	dir := "/proc/" + itoa(p.Pid) + "/ns/"
	for _, pids := range []string{"", dir + "pid"} {
		c := testContainer(t, "sh", "-c", "echo pid $$; echo user $(readlink /proc/self/ns/user); id; cat /proc/self/uid_map; touch /tmp/x; ls -ln /dev/null /tmp/x; readlink /proc/self/ns/net; hostname")
		userNamespace(t, c) // the root's owner
		c.Spec.Linux.UIDMappings, c.Spec.Linux.GIDMappings = nil, nil
		addNamespace(c, "user", dir+"user")
		addNamespace(c, "pid", pids)
		addNamespace(c, "network", dir+"net")
		out, status := output(t, c)
		users, _ := os.Readlink(dir + "user")
		network, _ := os.Readlink(dir + "net")
		wants(t, out, "user "+users, "uid=0 gid=0 groups=0", "         0     100000      65536", "crw-rw-rw-    1 0        0", "-rw-r--r--    1 0        0", network, "box")
		if pids == "" {
			wants(t, out, "pid 1")
		}
		if status.Code != 0 {
			t.Errorf("status %+v: %s", status, out)
		}
	}
}

// A mount namespace that is joined is taken as it is.
func TestJoinMountNamespace(t *testing.T) {
	first := testContainer(t, "sh", "-c", "echo inside > /dev/shm/file; exec sleep 1000")
	p := running(t, first)
	for {
		if _, err := os.Stat("/proc/" + itoa(p.Pid) + "/root/dev/shm/file"); err == nil {
			break
		}
	}
	join := func(args ...string) *Container {
		c := testContainer(t, args...)
		addNamespace(c, "mount", "/proc/"+itoa(p.Pid)+"/ns/mnt")
		c.Spec.Root = &specs.Root{Path: "/"}
		c.Spec.Mounts, c.Spec.Linux.MaskedPaths, c.Spec.Linux.ReadonlyPaths = nil, nil, nil
		return c
	}
	out, _ := output(t, join("sh", "-c", "cat /dev/shm/file; readlink /proc/self/root"))
	wants(t, out, "inside")
	c := join("/busybox", "ls")
	c.Spec.Root.Path = "/bin"
	out, _ = output(t, c)
	wants(t, out, "busybox", "sh")
	c = join("true")
	c.Spec.Mounts = []specs.Mount{{Destination: "/x", Type: "tmpfs"}}
	refuses(t, c, errkind.Unsupported, "mounts")
	if status := execStatus(t, execConfig(first, p, "cat", "/dev/shm/file")); status != 0 {
		t.Error("the first container was disturbed")
	}
}

func execStatus(t *testing.T, e *ExecConfig) int {
	t.Helper()
	_, status := execOutput(t, e)
	return status.Code
}

func TestIDMappedMounts(t *testing.T) {
	source := t.TempDir()
	for name, owner := range map[string]int{"a": 0, "b": 7} {
		if err := os.WriteFile(filepath.Join(source, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(source, name), owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	below := filepath.Join(source, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(t.TempDir(), below, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(below, "c"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const show = "ls -ln /data /data/below; touch /data/new"
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 10}}

	c := testContainer(t, "sh", "-c", show)
	c.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/data", Source: source, Options: []string{"rbind", "idmap"}, UIDMappings: maps, GIDMappings: maps})
	out, status := output(t, c)
	wants(t, out, "-rw-r--r--    1 1000     1000             0", "-rw-r--r--    1 1007     1007", "-rw-r--r--    1 0        0")
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(source, "new"), &st); err != nil || st.Uid != 0 || status.Code != 0 {
		t.Errorf("what user 1000 made belongs to %d (%v), status %+v", st.Uid, err, status)
	}

	c = testContainer(t, "sh", "-c", show)
	userNamespace(t, c)
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/data", Source: source, Options: []string{"rbind", "ridmap"}})
	out, _ = output(t, c)
	wants(t, out, "-rw-r--r--    1 0        0                0", "-rw-r--r--    1 7        7", "-rw-r--r--    1 0        0")
	if strings.Contains(out, "65534") {
		t.Errorf("unmapped owners:\n%s", out)
	}

	c = testContainer(t, "true")
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/data", Source: source, Options: []string{"bind", "idmap"}})
	refuses(t, c, errkind.Invalid, "needs mappings")
	c.Spec.Mounts[len(c.Spec.Mounts)-1] = specs.Mount{Destination: "/data", Source: "/proc", Options: []string{"bind", "idmap"}, UIDMappings: maps, GIDMappings: maps}
	refuses(t, c, errkind.Unsupported, "cannot show other owners")
	c.Spec.Mounts[len(c.Spec.Mounts)-1] = specs.Mount{Destination: "/data", Type: "tmpfs", UIDMappings: maps, GIDMappings: maps}
	refuses(t, c, errkind.Unsupported, "only a bind")
}

func TestTmpCopyUp(t *testing.T) {
	c := testContainer(t, "sh", "-c", "cat /var/deep/file; readlink /var/link; ls -ln /var/deep/file /var/hard; ls -ldn /var; busybox mkfifo /var/new; grep ' /var ' /proc/mounts")
	root := c.Spec.Root.Path
	for _, step := range []error{
		os.MkdirAll(filepath.Join(root, "var/deep"), 0o755), os.WriteFile(filepath.Join(root, "var/deep/file"), []byte("content\n"), 0o640),
		os.Chown(filepath.Join(root, "var/deep/file"), 3, 4), os.Symlink("deep/file", filepath.Join(root, "var/link")),
		os.Link(filepath.Join(root, "var/deep/file"), filepath.Join(root, "var/hard")), os.Chmod(filepath.Join(root, "var"), 0o711),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Destination: "/var", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "nosuid", "size=1m"}})
	out, status := output(t, c)
	wants(t, out, "content", "deep/file", "-rw-r-----    2 3        4                8", "drwx--x--x    3 0        0", "tmpfs /var tmpfs rw,nosuid")
	if status.Code != 0 {
		t.Error(status, out)
	}
	if _, err := os.Lstat(filepath.Join(root, "var/new")); err == nil {
		t.Error("the image was written to")
	}
	if err := os.WriteFile(filepath.Join(root, "var/big"), make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	refuses(t, c, errkind.Internal, "no space left")
	c.Spec.Mounts[len(c.Spec.Mounts)-1].Options = []string{"tmpcopyup"}
	c.Spec.Mounts[len(c.Spec.Mounts)-1].Type = "ramfs"
	refuses(t, c, errkind.Invalid, "for a tmpfs")
}

func TestRemount(t *testing.T) {
	c := testContainer(t, "sh", "-c", "cat /proc/mounts; touch /tmp/x")
	c.Spec.Mounts = append(c.Spec.Mounts,
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "sync", "silent", "mand", "iversion", "rnorelatime"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"remount", "size=2m", "nosuid"}},
		specs.Mount{Destination: "/tmp", Type: "none", Options: []string{"remount", "bind", "ro"}})
	out, status := output(t, c)
	wants(t, out, "tmpfs /tmp tmpfs ro,sync,nosuid,relatime,size=2048k", "touch: /tmp/x: Read-only file system")
	if status.Code == 0 {
		t.Error("it was writable")
	}
	c.Spec.Mounts[len(c.Spec.Mounts)-1].Destination = "/etc"
	refuses(t, c, errkind.Internal, "remount /etc")
}

// Devices outside of /dev, and in a root that has nothing mounted there.
func TestDevicesAnywhere(t *testing.T) {
	mode := os.FileMode(0o640)
	gid := uint32(7)
	devices := []specs.LinuxDevice{{Path: "/nodes/zero", Type: "c", Major: 1, Minor: 5, FileMode: &mode, GID: &gid},
		{Path: "/dev/pipes/one", Type: "p"}, {Path: "/dev/null", Type: "c", Major: 1, Minor: 7}}
	for _, users := range []bool{false, true} {
		for _, bare := range []bool{false, true} {
			c := testContainer(t, "sh", "-c", "ls -ln /nodes/zero /dev/pipes/one /dev/null; readlink /dev/stdin; busybox head -c 3 /nodes/zero | busybox wc -c; echo > /dev/zero && echo writes")
			if users {
				userNamespace(t, c)
			}
			if bare {
				var left []specs.Mount
				for _, m := range c.Spec.Mounts {
					if !within(m.Destination, "/dev") {
						left = append(left, m)
					}
				}
				c.Spec.Mounts = left
			}
			c.Spec.Linux.Devices = devices
			out, status := output(t, c)
			wants(t, out, "crw-r-----    1 0        7           1,   5 ", "prw-rw-rw-    1 0        0", "crw-rw-rw-    1 0        0           1,   7 ", "/proc/self/fd/0", "3", "writes")
			if status.Code != 0 {
				t.Errorf("users %v, bare %v: %+v", users, bare, status)
			}
		}
	}
	c := testContainer(t, "true")
	c.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/proc/x", Type: "c"}}
	refuses(t, c, errkind.Invalid, "/proc")
}

func TestMemoryPolicyAndAffinity(t *testing.T) {
	c := testContainer(t, "sh", "-c", "busybox head -n 3 /proc/self/numa_maps; exec sleep 1000")
	c.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	p := running(t, c)
	e := execConfig(c, p, "sh", "-c", "busybox head -n 1 /proc/self/numa_maps; cat /proc/self/status")
	e.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0-0"}
	out, _ := execOutput(t, e)
	if !strings.Contains(out, "bind=static:0") || field1(out, "Cpus_allowed_list:") != "0" {
		t.Errorf("exec sees %s", out)
	}
	e = execConfig(c, p, "true")
	e.Process.ExecCPUAffinity = &specs.CPUAffinity{Final: "3-1"}
	if _, err := Exec(t.Context(), e); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("affinity 3-1: %v", err)
	}
	for _, bad := range []specs.LinuxMemoryPolicy{{Mode: "MPOL_WISH"}, {Mode: specs.MpolBind, Nodes: "x"}, {Mode: specs.MpolLocal, Flags: []specs.MemoryPolicyFlagType{"F"}}} {
		c := testContainer(t, "true")
		c.Spec.Linux.MemoryPolicy = &bad
		refuses(t, c, errkind.Invalid, "")
	}
}

func TestNetDevices(t *testing.T) {
	name := "pt" + id.New()[:8]
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("link", "add", name, "type", "veth", "peer", "name", name+"p")
	defer func() { _ = exec.Command("ip", "link", "del", name+"p").Run() }() // it has gone with the container's end
	ip("addr", "add", "192.0.2.9/24", "dev", name)
	c := testContainer(t, "ip", "addr")
	c.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: "in%d"}}
	out, _ := output(t, c)
	if !strings.Contains(out, "in0@") || !strings.Contains(out, "192.0.2.9/24") || !strings.Contains(out, "UP") {
		t.Errorf("devices:\n%s", out)
	}
	refuses(t, c, errkind.NotFound, "no such network interface")
	c.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a": {Name: "x"}, "b": {Name: "x"}}
	refuses(t, c, errkind.Invalid, "two network devices")
}

// What the host mounts below the root reaches a container that is its slave, and no other.
func TestRootPropagation(t *testing.T) {
	for mode, reaches := range map[string]bool{"rslave": true, "": false, "rshared": false, "rprivate": false} {
		c := testContainer(t, "sh", "-c", "echo ready; read x; cat /tmp/file")
		root := c.Spec.Root.Path
		if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
		if err := unix.Mount("", root, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
		c.Spec.Linux.RootfsPropagation = mode
		in, tell, _ := os.Pipe()
		said, out, _ := os.Pipe()
		c.Stdio = Stdio{Stdin: in, Stdout: out}
		p, err := Start(t.Context(), c)
		in.Close()
		out.Close()
		if err != nil {
			t.Fatal(mode, err)
		}
		buf := make([]byte, 6)
		_, _ = io.ReadFull(said, buf)
		tmp := filepath.Join(root, "tmp")
		if err := unix.Mount("tmpfs", tmp, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tmp, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		tell.Close()
		if got := reapAll(t, p).Code == 0; got != reaches {
			t.Errorf("propagation %q: the mount reaches the container: %v", mode, got)
		}
		said.Close()
		_ = unix.Unmount(tmp, unix.MNT_DETACH)
	}
}
