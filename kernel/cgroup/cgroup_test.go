package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/lib/errkind"
	"pier/lib/id"
)

// group makes a cgroup with a parent of its own; both go when the test ends.
func group(t *testing.T, r *specs.LinuxResources) *Cgroup {
	t.Helper()
	parent := "/pier-test-" + id.Short(id.New())
	c, err := Create(parent+"/child", r)
	t.Cleanup(func() {
		p, locateErr := locate(parent)
		if locateErr != nil {
			t.Fatal(locateErr)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if err := p.Delete(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run starts a shell inside c: it joins, as a container's first process does, and goes on with script.
func run(t *testing.T, c *Cgroup, script string) *os.Process {
	t.Helper()
	join, err := c.Join()
	if err != nil {
		t.Fatal(err)
	}
	defer join.Close()
	var b strings.Builder
	for _, file := range join.Tasks {
		b.WriteString("echo 0 > " + file + " || exit 99\n")
	}
	if join.Dir != nil {
		b.WriteString("echo $$ > " + join.Dir.Name() + "/cgroup.procs || exit 99\n")
	}
	p, err := os.StartProcess("/bin/busybox", []string{"sh", "-c", b.String() + script}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestLimitsHold(t *testing.T) {
	if unified() {
		t.Skip("the machine has no cgroup v1 hierarchies, whose files this test reads")
	}
	c := group(t, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))},
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(7))},
	})
	read := func(controller, file string) string {
		b, err := os.ReadFile(filepath.Join(c.byName[controller], file))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	for _, f := range [][3]string{{"memory", "memory.limit_in_bytes", "67108864"}, {"cpu", "cpu.shares", "512"},
		{"cpu", "cpu.cfs_quota_us", "50000"}, {"pids", "pids.max", "7"}} {
		if got := read(f[0], f[1]); got != f[2] {
			t.Errorf("%s = %s, want %s", f[1], got, f[2])
		}
	}
	before := read("devices", "devices.list")
	if err := c.Set(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(9))}}); err != nil {
		t.Fatal(err)
	}
	if got := read("pids", "pids.max"); got != "9" || read("memory", "memory.limit_in_bytes") != "67108864" || read("devices", "devices.list") != before {
		t.Errorf("after Set: pids.max %s, memory %s", got, read("memory", "memory.limit_in_bytes"))
	}
	if err := c.Set(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "4000"}}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("a CPU that is not there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.byName["cpu"], "cpu.rt_runtime_us")); err == nil {
		// The cgroup above has as little of it as every new one.
		if err := c.Set(&specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(1000))}}); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "of the cgroup above") {
			t.Errorf("real-time CPU time: %v", err)
		}
	}
	stats, err := c.Stats()
	if err != nil || stats.MemoryStats.Usage.Limit != 64<<20 || stats.PidsStats.Limit != 9 {
		t.Errorf("Stats = %+v, %v", stats, err)
	}
}

// TestCreateTogether makes cgroups side by side in parents that are not there yet: each has its limits.
func TestCreateTogether(t *testing.T) {
	for range 20 {
		parent := "/pier-test-" + id.Short(id.New())
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				c, err := Create(fmt.Sprintf("%s/below/%d", parent, i), &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](8 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](9)}})
				if err != nil {
					t.Error(err)
					return
				}
				m := c.Meter(false)
				defer m.Close()
				if u, err := m.Measure(); err != nil || u.Memory.Limit != 8<<20 || u.ProcessLimit != 9 {
					t.Errorf("%+v, %v", u, err)
				}
			})
		}
		all.Wait()
		p, err := locate(parent)
		if err == nil {
			err = p.Delete()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestDevicesAreDeniedByDefault(t *testing.T) {
	try := func(r *specs.LinuxResources, device string, want int) {
		t.Helper()
		c := group(t, r)
		p := run(t, c, "exec < "+device+"\nexit 0")
		state, err := p.Wait()
		if err != nil || (state.ExitCode() == 0) != (want == 0) || state.ExitCode() == 99 {
			t.Errorf("opening %s: exit code %d, %v", device, state.ExitCode(), err)
		}
	}
	kmsg := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(11)), Access: "rwm"}
	denyAll := specs.LinuxDeviceCgroup{Access: "rwm"}
	try(nil, "/dev/null", 0)
	try(nil, "/dev/kmsg", 1)
	try(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{denyAll}}, "/dev/zero", 0)
	try(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{kmsg}}, "/dev/kmsg", 0)          // GHSA-g54h-m393-cpwq: whatever the order,
	try(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{kmsg, denyAll}}, "/dev/kmsg", 1) // the list begins closed
	try(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}, "/dev/kmsg", 0)
	for _, bad := range []specs.LinuxDeviceCgroup{{Access: "x"}, {Access: ""}, {Type: "q", Access: "r"}} {
		if _, err := Create("/pier-test-"+id.Short(id.New()), &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{bad}}); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("rule %+v: %v", bad, err)
		}
	}
}

func TestKillTakesAllAlsoFrozen(t *testing.T) {
	c := group(t, nil)
	// Forks without end, so that a list of processes is old as soon as it is read.
	p := run(t, c, "f() { (f) & (sleep 1) & wait; }; sleep 1000 & while :; do (sleep 0.01; :) & sleep 0.001; done")
	waitFor(t, "processes in the cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) > 3 })
	if _, err := Create(c.Path(), nil); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("creating a cgroup that is in use: %v", err)
	}
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := c.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an empty cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) == 0 })
	if err := c.Kill(); err != nil {
		t.Errorf("killing nobody: %v", err)
	}
	if err := c.Delete(); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
	if _, err := Open(c.Path()); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("opening a deleted cgroup: %v", err)
	}
}

// A signal reaches all that are in a cgroup and below it, and nobody beside it.
func TestSignal(t *testing.T) {
	c, beside := group(t, nil), group(t, nil)
	below, err := Create(c.Path()+"/below", nil)
	if err != nil {
		t.Fatal(err)
	}
	member := c
	if unified() { // a group with others below it has no processes there
		if member, err = Create(c.Path()+"/member", nil); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := member.Delete(); err != nil {
				t.Error(err)
			}
		}()
	}
	dir := t.TempDir()
	listener := func(c *Cgroup, name string) *os.Process {
		file := filepath.Join(dir, name)
		p := run(t, c, "trap 'exit 7' USR1; trap 'exit 8' TERM; : >"+file+"; while :; do sleep 0.01; done")
		waitFor(t, name+" to listen", func() bool { _, err := os.Stat(file); return err == nil })
		return p
	}
	in, stranger := []*os.Process{listener(member, "in"), listener(below, "below")}, listener(beside, "beside")
	if err := Signal(c, int(unix.SIGUSR1)); err != nil {
		t.Fatal(err)
	}
	for _, p := range in {
		if state, err := p.Wait(); err != nil || state.ExitCode() != 7 {
			t.Errorf("it ended with %v, %v", state, err)
		}
	}
	if err := stranger.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state, err := stranger.Wait(); err != nil || state.ExitCode() != 8 {
		t.Errorf("one beside it ended with %v, %v", state, err)
	}
	waitFor(t, "an empty cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) == 0 })
	if err := Signal(c, int(unix.SIGTERM)); err != nil {
		t.Errorf("an empty cgroup: %v", err)
	}
	if err := below.Delete(); err != nil {
		t.Error(err)
	}
}

// TestKillAfterKiller plays a killer that dies between its freeze and its thaw: whoever comes next ends what stands there.
func TestKillAfterKiller(t *testing.T) {
	for name, next := range map[string]func(*Cgroup) error{"Kill": (*Cgroup).Kill, "Release": Release} {
		t.Run(name, func(t *testing.T) {
			c := group(t, nil)
			below, err := Create(c.Path()+"/below", nil)
			if err != nil {
				t.Fatal(err)
			}
			var all []*os.Process
			with := []*Cgroup{c, below}
			if unified() { // a group with others below it has no processes there
				with = with[1:]
			}
			for _, g := range with {
				p := run(t, g, "exec sleep 1000")
				all = append(all, p)
				waitFor(t, "a process in the cgroup", func() bool { pids, _ := g.Procs(); return slices.Contains(pids, p.Pid) })
				if err := g.Freeze(); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range all {
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if !unified() { // else they are gone already
				for _, p := range all {
					if err := p.Signal(syscall.Signal(0)); err != nil {
						t.Fatalf("a frozen process is gone: %v", err)
					}
				}
			}
			if err := next(c); err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				if _, err := p.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			// One that came in while nobody was there must not stand still for ever.
			if err := c.Freeze(); err != nil {
				t.Fatal(err)
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			if !unified() && c.Frozen() {
				t.Error("an empty cgroup is still frozen after Kill")
			}
		})
	}
}

func TestDeleteKillsNothing(t *testing.T) {
	c := group(t, nil)
	p := run(t, c, "exec sleep 1000")
	waitFor(t, "a process in the cgroup", func() bool { pids, _ := c.Procs(); return slices.Contains(pids, p.Pid) })
	if err := c.Delete(); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("deleting a cgroup in use: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestOOMKills(t *testing.T) {
	c := group(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(8 << 20)), Swap: ptr(int64(8 << 20))}})
	if n, err := c.OOMKills(); err != nil || n != 0 {
		t.Fatalf("OOMKills = %d, %v", n, err)
	}
	p := run(t, c, "exec 2>/dev/null; exec tail /dev/zero")
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.OOMKills(); err != nil || n != 1 {
		t.Errorf("OOMKills = %d, %v", n, err)
	}
}

func TestPaths(t *testing.T) {
	for _, path := range []string{"", "/", "x", "/a/../b", "/a//b", "/a/", "/..", "/a\n"} {
		if _, err := Create(path, nil); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("Create(%q): %v", path, err)
		}
	}
}

// TestRemoveBeside removes what runc makes of a parent on a machine with v1: a directory in the v2 mount, too.
func TestRemoveBeside(t *testing.T) {
	h, err := mounted()
	if err != nil || h.beside == "" {
		t.Skipf("the machine has no cgroup v2 mount beside v1 (%v)", err)
	}
	parent := "/pier-test-" + id.Short(id.New())
	dir := filepath.Join(h.beside, parent)
	if err := os.MkdirAll(filepath.Join(dir, "container"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Remove(parent); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestParseMounts(t *testing.T) {
	h, err := parseMounts(bufio.NewScanner(strings.NewReader(
		"30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
			"31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct\n" +
			"32 23 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n")))
	if err != nil || h.unified != "" || len(h.v1) != 2 || !slices.Equal(h.v1[0].controllers, []string{"cpu", "cpuacct"}) ||
		h.v1[1].controllers[0] != "name=systemd" || h.beside != "/sys/fs/cgroup/unified" {
		t.Errorf("hybrid: %+v, %v", h, err)
	}
	h, err = parseMounts(bufio.NewScanner(strings.NewReader("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")))
	if err != nil || h.unified != "/sys/fs/cgroup" || h.beside != "" {
		t.Errorf("v2: %+v, %v", h, err)
	}
	if _, err = parseMounts(bufio.NewScanner(strings.NewReader("1 2 0:1 / / rw - ext4 /dev/root rw\n"))); !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("none: %v", err)
	}
}

func TestParseDevice(t *testing.T) {
	d, err := ParseDevice("c 1:* rwm")
	if err != nil || d.Type != "c" || *d.Major != 1 || *d.Minor != -1 || d.Access != "rwm" || !d.Allow {
		t.Errorf("ParseDevice = %+v, %v", d, err)
	}
	for _, bad := range []string{"", "c", "c 1:2", "c 1 rwm", "q 1:2 r", "c 1:2 x", "c -1:2 r", "c 1:2 r w"} {
		if d, err := ParseDevice(bad); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("ParseDevice(%q) = %+v, %v", bad, d, err)
		}
	}
}

// TestVersion2 uses a v2 hierarchy wherever one is mounted, with or without controllers.
func TestVersion2(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var h hierarchies
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			h.unified = fields[1]
		}
	}
	if h.unified == "" {
		t.Skip("no cgroup2 file system is mounted")
	}
	c, err := locateIn(h, "/pier-test-"+id.Short(id.New()))
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.create(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(); err != nil {
			t.Error(err)
		}
	})
	denied := run(t, c, "exec < /dev/kmsg")
	if state, err := denied.Wait(); err != nil || state.ExitCode() == 0 || state.ExitCode() == 99 {
		t.Errorf("opening /dev/kmsg: %v, %v", state, err)
	}
	p := run(t, c, "exec < /dev/null; while :; do (sleep 0.01; :) & sleep 0.001; done")
	waitFor(t, "processes in the cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) > 3 })
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := c.killHeld(); err != nil { // as before Linux 5.14
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	// Those that were killed are members until they are gone, and must not be taken for the next.
	waitFor(t, "an empty cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) == 0 })
	p = run(t, c, "sleep 1000 & wait")
	waitFor(t, "processes in the cgroup", func() bool {
		pids, err := c.Procs()
		return err == nil && len(pids) > 1 && slices.Contains(pids, p.Pid)
	})
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an empty cgroup", func() bool { pids, err := c.Procs(); return err == nil && len(pids) == 0 })
	if _, err := c.OOMKills(); err != nil {
		t.Error(err)
	}
}

func BenchmarkLife(b *testing.B) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(100))},
	}
	path := "/pier-test-" + id.Short(id.New())
	for b.Loop() {
		c, err := Create(path, r)
		if err != nil {
			b.Fatal(err)
		}
		join, err := c.Join()
		if err != nil {
			b.Fatal(err)
		}
		join.Close()
		if err := c.Delete(); err != nil {
			b.Fatal(err)
		}
	}
}

// unified reports whether the machine has cgroup v2 alone.
func unified() bool {
	h, err := mounted()
	return err == nil && h.unified != ""
}

// What is written rule by rule is what a comparison with the rules before comes to.
func TestDeviceRulesOfANewCgroup(t *testing.T) {
	if unified() {
		t.Skip("the machine has no cgroup v1 hierarchies, whose files this test reads")
	}
	rule := func(kind string, major, minor *int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: major, Minor: minor, Access: access}
	}
	for name, given := range map[string][]specs.LinuxDeviceCgroup{
		"default": nil,
		"closed":  {{Type: "a", Access: "rwm"}, rule("c", ptr[int64](-1), ptr[int64](-1), "m"), rule("c", ptr[int64](5), ptr[int64](1), "rwm")},
		"some":    {rule("c", ptr[int64](10), ptr[int64](200), "rw"), rule("b", ptr[int64](8), nil, "r"), rule("c", ptr[int64](1), ptr[int64](3), "r")},
		"all":     {rule("", nil, nil, "rwm")},
		"odd":     {{Access: "rwm"}, rule("c", ptr[int64](10), nil, "rwm"), {Type: "c", Major: ptr[int64](10), Access: "w"}},
	} {
		c := group(t, &specs.LinuxResources{Devices: given})
		list := func() []string {
			b, err := os.ReadFile(filepath.Join(c.byName["devices"], "devices.list"))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Fields(strings.ReplaceAll(string(b), " ", "_"))
			slices.Sort(lines)
			return lines
		}
		got := list()
		if err := c.set(&specs.LinuxResources{}, deviceRules(given)); err != nil {
			t.Fatal(err)
		}
		if want := list(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
