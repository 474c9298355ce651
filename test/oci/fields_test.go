package oci

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// field is a part of the runtime specification, and how it shows in a container that has it.
type field struct {
	names  string // of the parts, as the table in docs/oci-runtime.md has them
	change func(s *specs.Spec)
	run    string // by sh, in the container
	want   string // what it prints, or "!" and words of the refusal
	only   string // "v1", "v2": the control groups that can do it; elsewhere it is not tried
}

func to[T any](v T) *T { return &v }

func resources(f func(r *specs.LinuxResources)) func(s *specs.Spec) {
	return func(s *specs.Spec) { f(s.Linux.Resources) }
}

func mounted(kind, source string, options ...string) func(s *specs.Spec) {
	return func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Type: kind, Source: source, Options: options})
	}
}

// everyMount tells whether there is something mounted below /m, and how much of that lacks an attribute.
const everyMount = `busybox awk '$5 ~ "^/m/" {n++} $5 ~ "^/m(/|$)" && $6 != "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow" {bad++} END {print (n > 0), bad + 0}' /proc/self/mountinfo`

// limit is a row for a limit of control groups, which a container reads in one of two files.
func limit(names, v1, want1, v2, want2 string, f func(r *specs.LinuxResources)) []field {
	var rows []field
	for _, version := range []struct{ name, file, want string }{{"v1", v1, want1}, {"v2", v2, want2}} {
		if version.file != "" {
			rows = append(rows, field{names: names, only: version.name, want: version.want, change: func(s *specs.Spec) {
				f(s.Linux.Resources)
				s.Process.Args = []string{"cat", "/sys/fs/cgroup/" + version.file} // no shell: some limits leave hardly any time
			}})
		}
	}
	return rows
}

// disk is a whole disk of this machine, for what is limited by device.
func disk(t *testing.T) (major, minor int64, ok bool) {
	t.Helper()
	found, err := filepath.Glob("/sys/block/*/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		var device string
		if device = filepath.Base(filepath.Dir(name)); strings.HasPrefix(device, "loop") || strings.HasPrefix(device, "ram") || strings.HasPrefix(device, "zram") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := fmt.Sscanf(string(text), "%d:%d", &major, &minor); n == 2 {
			return major, minor, true
		}
	}
	return 0, 0, false
}

// fields are the parts that one look at a container shows. The others have tests of their own, which the table names.
func fields(t *testing.T) (rows []field) {
	// What this machine cannot show counts as tried.
	elsewhere := func(names string) { rows = append(rows, field{names: names, only: "another machine"}) }
	rows = []field{
		{names: "ociVersion", change: func(s *specs.Spec) { s.Version = "1.0.2" }, run: "echo taken", want: "taken"},
		{names: "ociVersion", change: func(s *specs.Spec) { s.Version = "2.0.0" }, want: "!ociVersion \\\"2.0.0\\\""},
		{names: "process.args process.env", change: func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=b c", "E=") }, run: `echo "$A|${E-unset}|$NO"`, want: "b c||"},
		{names: "process.cwd", change: func(s *specs.Spec) { s.Process.Cwd = "/home/app" }, run: "pwd", want: "/home/app"},
		{names: "process.user.uid process.user.gid process.user.additionalGids", change: func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9, 10}}
		}, run: "id -u; id -g; id -G", want: "7\n8\n8 9 10"},
		{names: "process.user.umask", change: func(s *specs.Spec) { s.Process.User.Umask = to(uint32(0o27)) }, run: "umask", want: "0027"},
		{names: "process.capabilities.bounding process.capabilities.effective process.capabilities.permitted process.capabilities.inheritable", change: func(s *specs.Spec) {
			kill, both := []string{"CAP_KILL"}, []string{"CAP_KILL", "CAP_CHOWN"}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: both, Permitted: both, Effective: kill, Inheritable: both}
			s.Process.Args = []string{"grep", "Cap", "/proc/self/status"}
		}, want: "CapInh:\t0000000000000000\nCapPrm:\t0000000000000021\nCapEff:\t0000000000000021\nCapBnd:\t0000000000000021\nCapAmb:\t0000000000000000"}, // root's are full again by its execve
		{names: "process.capabilities.ambient", change: func(s *specs.Spec) {
			kill := []string{"CAP_KILL"}
			s.Process.User = specs.User{UID: 7, GID: 7}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: kill, Permitted: kill, Effective: kill, Inheritable: kill, Ambient: kill}
		}, run: "grep -E 'CapInh|CapEff|CapAmb' /proc/self/status", want: "CapInh:\t0000000000000020\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020"},
		{names: "process.capabilities.bounding", change: func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"CAP_NONE"} }, want: "!CAP_NONE"},
		{names: "process.rlimits.type process.rlimits.soft process.rlimits.hard", change: func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
		}, run: "ulimit -Sn; ulimit -Hn; ulimit -c", want: "100\n200\n0"},
		{names: "process.rlimits.type", change: func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, want: "!RLIMIT_X"},
		{names: "process.noNewPrivileges", change: func(s *specs.Spec) { s.Process.NoNewPrivileges = false }, run: "grep NoNewPrivs /proc/self/status", want: "NoNewPrivs:\t0"},
		{names: "process.oomScoreAdj", change: func(s *specs.Spec) { s.Process.OOMScoreAdj = to(321) }, run: "cat /proc/self/oom_score_adj", want: "321"},
		{names: "process.scheduler.policy process.scheduler.nice", change: func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7}
		}, run: "cut -d' ' -f19,40,41 /proc/self/stat", want: "7 0 3"},
		{names: "process.scheduler.flags", change: func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: -5, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
		}, run: "cut -d' ' -f19 /proc/$$/stat; cut -d' ' -f19 /proc/self/stat; true", want: "-5\n0"}, // the second one is of a fork
		{names: "process.scheduler.policy", change: func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} }, want: "!SCHED_X"},
		{names: "process.scheduler.flags", change: func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"SCHED_FLAG_X"}}
		}, want: "!SCHED_FLAG_X"},
		{names: "process.ioPriority.class process.ioPriority.priority", change: func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		}, run: "busybox ionice", want: "best-effort: prio 6"},
		{names: "process.ioPriority.class", change: func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_X"} }, want: "!IOPRIO_X"},
		{names: "root.readonly", change: func(s *specs.Spec) { s.Root.Readonly = true }, run: "touch /x 2>&1; true", want: "touch: /x: Read-only file system"},
		{names: "hostname domainname", change: func(s *specs.Spec) { s.Hostname, s.Domainname = "h", "d.test" }, run: "hostname; cat /proc/sys/kernel/domainname", want: "h\nd.test"},
		{names: "annotations hooks.createRuntime.path hooks.createRuntime.args hooks.createRuntime.env", change: func(s *specs.Spec) {
			s.Annotations = map[string]string{"org.example": "noted"}
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sh", "-c", "grep -o noted > rootfs/seen; echo $A $PATH >> rootfs/seen"}, Env: []string{"A=b"}}}}
		}, run: "cat /seen", want: "noted\nb /sbin:/usr/sbin:/bin:/usr/bin"}, // the shell's own PATH
		{names: "linux.sysctl", change: func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"} }, run: "cat /proc/sys/net/ipv4/ip_forward", want: "1"},
		{names: "linux.namespaces.type", change: func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: "x"}) }, want: "!namespace"},
		{names: "linux.maskedPaths linux.readonlyPaths", change: func(s *specs.Spec) {
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = []string{"/etc/passwd", "/home", "/missing"}, []string{"/tmp", "/missing"}
		}, run: "cat /etc/passwd; ls /home; touch /tmp/x 2>&1; true", want: "touch: /tmp/x: Read-only file system"},
		{names: "linux.personality.domain", change: func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }, run: "cat /proc/self/personality", want: "00000008"},
		{names: "linux.personality.flags", change: func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"X"}}
		}, want: "!flag"},
		{names: "linux.intelRdt", change: func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "x"} }, want: "!linux.intelRdt"},
		{names: "hooks.createRuntime.timeout", change: func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/busybox", Args: []string{"sleep", "1000"}, Timeout: to(1)}}}
		}, want: "!createRuntime hook"},
		{names: "hooks.poststart.path", change: func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/false"}}} }, run: "sleep 1000", want: "!poststart hook"},
		{names: "hooks.poststop.path", change: func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}}} }, run: "echo all the same", want: "all the same"},
		{names: "mounts.destination mounts.type mounts.source mounts.options", change: mounted("tmpfs", "scratch", "ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "size=1m", "mode=700"),
			run: `busybox awk '$5 == "/m" {print $6, $(NF-2), $(NF-1)}' /proc/self/mountinfo; stat -c %a /m; df /m | grep -c 1024`, want: "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow tmpfs scratch\n700\n1"},
		{names: "mounts.options", change: mounted("tmpfs", "scratch", "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "strictatime", "sync", "dirsync", "lazytime"),
			run: `busybox awk '$5 == "/m" {sub(",inode64", ""); print $6, $NF}' /proc/self/mountinfo`, want: "rw rw,sync,dirsync,lazytime"},
		{names: "mounts.options", change: mounted("bind", "/sys", "rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"), run: everyMount, want: "1 0"},
		{names: "mounts.options", change: mounted("bind", "/sys", "bind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"), run: everyMount, want: "0 0"},
		{names: "mounts.options", change: mounted("bind", "/sys", "rbind", "rshared"), run: `busybox awk '$5 ~ "^/m(/|$)" && $7 !~ /^shared:/' /proc/self/mountinfo`, want: ""},
		{names: "mounts.options", change: mounted("bind", "/sys", "rbind", "unbindable"), run: `busybox awk '$5 ~ "^/m(/|$)" && $7 == "unbindable" {print $5}' /proc/self/mountinfo`, want: "/m"},
		{names: "mounts.options", change: mounted("bind", "/sys", "rbind", "slave", "private", "rprivate"), run: `busybox awk '$5 ~ "^/m(/|$)" && $7 != "-"' /proc/self/mountinfo`, want: ""},
		{names: "linux.resources.unified", only: "v1", change: resources(func(r *specs.LinuxResources) { r.Unified = map[string]string{"memory.low": "1M"} }), want: "!keys of cgroup v2"},
		{names: "linux.resources.hugepageLimits.pageSize", change: resources(func(r *specs.LinuxResources) {
			r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3KB", Limit: 1}}
		}), want: "!hugepageLimits", only: "v1"},
		{names: "linux.resources.memory.kernel", change: resources(func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{Kernel: to(int64(1 << 20))} }), want: "!memory.kernel"},
		{names: "linux.resources.memory.kernelTCP", change: resources(func(r *specs.LinuxResources) { r.Memory = &specs.LinuxMemory{KernelTCP: to(int64(1 << 20))} }), want: "!memory.kernelTCP"},
		{names: "linux.resources.blockIO.leafWeight", change: resources(func(r *specs.LinuxResources) { r.BlockIO = &specs.LinuxBlockIO{LeafWeight: to(uint16(300))} }), want: "!blockIO.leafWeight"},
		{names: "linux.resources.network.classID", change: resources(func(r *specs.LinuxResources) { r.Network = &specs.LinuxNetwork{ClassID: to(uint32(5))} }), want: "!network.classID"},
		{names: "linux.resources.network.priorities", change: resources(func(r *specs.LinuxResources) {
			r.Network = &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 3}}}
		}), want: "!network.priorities"},
		{names: "linux.resources.rdma", change: resources(func(r *specs.LinuxResources) {
			r.Rdma = map[string]specs.LinuxRdma{"mlx5_0": {HcaHandles: to(uint32(3))}}
		}), want: "!rdma"},
		{names: "linux.cgroupsPath", change: func(s *specs.Spec) { s.Linux.CgroupsPath = "/../x" }, want: "!cgroup"},
		{names: "linux.cgroupsPath", change: func(s *specs.Spec) { s.Linux.CgroupsPath = "a.slice:b:c" }, want: "!systemd"},
	}
	rows = append(rows, slices.Concat(
		limit("linux.resources.memory.limit", "memory/memory.limit_in_bytes", "67108864", "memory.max", "67108864", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: to(int64(64 << 20))}
		}),
		limit("linux.resources.memory.swap", "memory/memory.memsw.limit_in_bytes", "134217728", "memory.swap.max", "67108864", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: to(int64(64 << 20)), Swap: to(int64(128 << 20))}
		}),
		limit("linux.resources.memory.reservation", "memory/memory.soft_limit_in_bytes", "33554432", "memory.low", "33554432", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Reservation: to(int64(32 << 20))}
		}),
		limit("linux.resources.memory.swappiness", "memory/memory.swappiness", "11", "", "", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Swappiness: to(uint64(11))}
		}),
		limit("linux.resources.memory.disableOOMKiller", "memory/memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0", "", "", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: to(int64(64 << 20)), DisableOOMKiller: to(true)}
		}),
		limit("linux.resources.memory.useHierarchy linux.resources.memory.checkBeforeUpdate", "memory/memory.use_hierarchy", "1", "memory.max", "67108864", func(r *specs.LinuxResources) {
			r.Memory = &specs.LinuxMemory{Limit: to(int64(64 << 20)), UseHierarchy: to(true), CheckBeforeUpdate: to(true)}
		}),
		limit("linux.resources.cpu.shares", "cpu/cpu.shares", "512", "cpu.weight", "59", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Shares: to(uint64(512))}
		}),
		limit("linux.resources.cpu.quota linux.resources.cpu.period", "cpu/cpu.cfs_quota_us", "20000", "cpu.max", "20000 50000", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Quota: to(int64(20000)), Period: to(uint64(50000))}
		}),
		limit("linux.resources.cpu.burst", "cpu/cpu.cfs_burst_us", "10000", "cpu.max.burst", "10000", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Quota: to(int64(20000)), Period: to(uint64(50000)), Burst: to(uint64(10000))}
		}),
		limit("linux.resources.cpu.idle", "cpu/cpu.idle", "1", "cpu.idle", "1", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Idle: to(int64(1))}
		}),
		limit("linux.resources.cpu.cpus linux.resources.cpu.mems", "cpuset/cpuset.cpus", "0", "cpuset.cpus", "0", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{Cpus: "0", Mems: "0"}
		}),
		limit("linux.resources.pids.limit", "pids/pids.max", "20", "pids.max", "20", func(r *specs.LinuxResources) {
			r.Pids = &specs.LinuxPids{Limit: to(int64(20))}
		}),
		limit("linux.resources.unified", "", "", "memory.low", "1048576", func(r *specs.LinuxResources) {
			r.Unified = map[string]string{"memory.low": "1048576"}
		}),
	)...)
	is := func(name, words string) bool {
		text, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(text), words)
	}
	if is("/sys/module/apparmor/parameters/enabled", "Y") {
		elsewhere("process.apparmorProfile")
	} else {
		rows = append(rows, field{names: "process.apparmorProfile", change: func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }, want: "!process.apparmorProfile"})
	}
	if is("/sys/fs/selinux/enforce", "") {
		elsewhere("process.selinuxLabel linux.mountLabel")
	} else {
		rows = append(rows, field{names: "process.selinuxLabel", change: func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c" }, want: "!process.selinuxLabel"},
			field{names: "linux.mountLabel", change: func(s *specs.Spec) { s.Linux.MountLabel = "a:b:c" }, want: "!linux.mountLabel"})
	}
	if realtime := "linux.resources.cpu.realtimeRuntime linux.resources.cpu.realtimePeriod"; is("/sys/fs/cgroup/cpu/cpu.rt_runtime_us", "000") {
		rows = append(rows, limit(realtime, "cpu/cpu.rt_runtime_us", "1000", "", "", func(r *specs.LinuxResources) {
			r.CPU = &specs.LinuxCPU{RealtimeRuntime: to(int64(1000)), RealtimePeriod: to(uint64(500000))}
		})...)
	} else {
		elsewhere(realtime)
	}
	disks := diskFields(t, is, elsewhere)
	return append(rows, disks...)
}

// diskFields are those that need a disk.
func diskFields(t *testing.T, is func(name, words string) bool, elsewhere func(names string)) (rows []field) {
	major, minor, ok := disk(t)
	if !ok {
		elsewhere("linux.resources.blockIO")
		return nil
	}
	device := fmt.Sprintf("%d:%d ", major, minor)
	throttle := func(rate uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = major, minor
		return []specs.LinuxThrottleDevice{d}
	}
	all := func(r *specs.LinuxResources) {
		r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: throttle(1 << 20), ThrottleWriteBpsDevice: throttle(2 << 20), ThrottleReadIOPSDevice: throttle(3), ThrottleWriteIOPSDevice: throttle(4)}
	}
	rows = slices.Concat(
		limit("linux.resources.blockIO.throttleReadBpsDevice", "blkio/blkio.throttle.read_bps_device", device+"1048576", "io.max", device+"rbps=1048576 wbps=2097152 riops=3 wiops=4", all),
		limit("linux.resources.blockIO.throttleWriteBpsDevice", "blkio/blkio.throttle.write_bps_device", device+"2097152", "", "", all),
		limit("linux.resources.blockIO.throttleReadIOPSDevice", "blkio/blkio.throttle.read_iops_device", device+"3", "", "", all),
		limit("linux.resources.blockIO.throttleWriteIOPSDevice", "blkio/blkio.throttle.write_iops_device", device+"4", "", "", all),
	)
	if !is("/sys/fs/cgroup/blkio/blkio.bfq.io_serviced", "") {
		elsewhere("linux.resources.blockIO.weight linux.resources.blockIO.weightDevice")
		return rows
	}
	weight := specs.LinuxWeightDevice{Weight: to(uint16(300))}
	weight.Major, weight.Minor = major, minor
	want := "!weight_device"
	if is(fmt.Sprintf("/sys/dev/block/%d:%d/queue/scheduler", major, minor), "[bfq]") {
		want = device + "300"
	}
	return append(rows, field{names: "linux.resources.blockIO.weightDevice", only: "v1", run: "grep : /sys/fs/cgroup/blkio/blkio.bfq.weight_device", want: want,
		change: resources(func(r *specs.LinuxResources) {
			r.BlockIO = &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{weight}}
		})}, limit("linux.resources.blockIO.weight", "blkio/blkio.bfq.weight", "300", "", "", func(r *specs.LinuxResources) {
		r.BlockIO = &specs.LinuxBlockIO{Weight: to(uint16(300))}
	})[0])
}

// TestFields gives a container one part of the specification after the other and looks at it from inside.
func TestFields(t *testing.T) {
	s := newSide(t, filepath.Join(bin, "pier-runtime"))
	name := filepath.Join(s.bundle, "config.json")
	base, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	version := "v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		version = "v2"
	}
	for _, f := range fields(t) {
		if f.only != "" && f.only != version {
			continue
		}
		t.Run(strings.ReplaceAll(f.names, " ", ","), func(t *testing.T) {
			var spec specs.Spec
			if err := json.Unmarshal(base, &spec); err != nil {
				t.Fatal(err)
			}
			spec.Annotations, spec.Root.Readonly = nil, false
			spec.Process.Args = []string{"sh", "-c", f.run}
			f.change(&spec)
			text, err := json.Marshal(spec)
			if err == nil {
				err = os.WriteFile(name, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			out, errs, code := s.run("run", "pet")
			refused, refusal := strings.CutPrefix(f.want, "!")
			switch {
			case refusal:
				if code != 1 || !strings.Contains(errs, refused) {
					t.Errorf("status %d, error %q, want %q", code, errs, refused)
				}
			case code != 0 || strings.TrimSpace(out) != f.want:
				t.Errorf("status %d, printed %q, want %q\n%s", code, out, f.want, errs)
			}
		})
	}
}

// TestTableOfFields holds docs/oci-runtime.md against the specification: a row for every part that Linux has, and in each
// row tests that exist.
func TestTableOfFields(t *testing.T) {
	parts := map[string]bool{}
	list(reflect.TypeFor[specs.Spec](), "", parts)
	text, err := os.ReadFile("../../docs/oci-runtime.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Field by field\n")
	tests := map[string]bool{}
	for _, folder := range []string{"runtime/oci", "runtime/command", "runtime/oci/internal/agent", "kernel/cgroup", "kernel/seccomp", "test/oci", "test/security"} {
		files, err := filepath.Glob("../../" + folder + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(source, -1) {
				tests[folder+" "+string(m[1])] = true
			}
		}
	}
	tried := map[string]bool{}
	for _, f := range fields(t) {
		for part := range strings.FieldsSeq(f.names) {
			tried[part] = true
		}
	}
	word := regexp.MustCompile("`([^`]+)`")
	seen := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		prefix := ""
		for _, m := range word.FindAllStringSubmatch(cells[1], -1) {
			part := m[1]
			if rest, short := strings.CutPrefix(part, "."); short {
				part = prefix + "." + rest
			} else if i := strings.LastIndex(part, "."); i >= 0 {
				prefix = part[:i]
			}
			found := false
			for p := range parts {
				if p == part || strings.HasPrefix(p, part+".") {
					found, seen[p] = true, true
				}
			}
			if !found {
				t.Errorf("%s is no part of the specification", part)
			}
			if strings.Contains(cells[3], "`TestFields`") && !slices.ContainsFunc(slices.Collect(maps.Keys(tried)), func(p string) bool {
				return p == part || strings.HasPrefix(p, part+".") || strings.HasPrefix(part, p+".")
			}) {
				t.Errorf("TestFields does not try %s", part)
			}
		}
		folder := "test/oci"
		for _, m := range word.FindAllStringSubmatch(cells[3], -1) {
			if strings.Contains(m[1], "/") {
				folder = m[1]
			} else if !tests[folder+" "+m[1]] {
				t.Errorf("there is no test %s in %s", m[1], folder)
			}
		}
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if !seen[part] {
			t.Errorf("the table has no row for %s", part)
		}
	}
}

// list collects the paths of what a document can have for Linux. What is below a name that the user chooses counts as one.
func list(t reflect.Type, at string, parts map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		list(t.Elem(), at, parts)
		return
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			where, limited := f.Tag.Lookup("platform")
			switch {
			case limited && !strings.Contains(where, "linux"):
			case name == "" && f.Anonymous:
				list(f.Type, at, parts)
			default:
				list(f.Type, strings.TrimPrefix(at+"."+name, "."), parts)
			}
		}
		return
	}
	parts[at] = true
}
