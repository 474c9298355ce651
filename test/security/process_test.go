package security

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// status reads fields of /proc/PID/status on the host.
func (w *world) status(pid int) map[string]string {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	w.check(err)
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.TrimSpace(v)
	}
	return out
}

const defaultCaps = "00000000a80425fb" // Docker's fourteen

// TestPrivileges asks the kernel what processes were given (CVE-2018-10856, CVE-2022-24769, CVE-2022-29162, CVE-2023-25173,
// CVE-2018-1000400, CVE-2021-20188).
func TestPrivileges(t *testing.T) {
	w := start(t)
	none := "0000000000000000"
	for name, one := range map[string]struct {
		args   []string
		groups string
		want   map[string]string
	}{
		"root":    {nil, "0", map[string]string{"CapEff": defaultCaps, "CapPrm": defaultCaps, "CapBnd": defaultCaps, "Uid": "0\t0\t0\t0"}},
		"user":    {[]string{"-u", "app"}, "1000 2000", map[string]string{"CapEff": none, "CapPrm": none, "CapBnd": defaultCaps, "Uid": "1000\t1000\t1000\t1000"}},
		"number":  {[]string{"-u", "1234:5678"}, "5678", map[string]string{"CapEff": none, "CapPrm": none, "Gid": "5678\t5678\t5678\t5678"}},
		"groups":  {[]string{"-u", "app", "--group-add", "77"}, "77 1000 2000", nil},
		"added":   {[]string{"-u", "app", "--cap-add", "NET_ADMIN"}, "1000 2000", map[string]string{"CapEff": none, "CapPrm": none}},
		"dropped": {[]string{"--cap-drop", "ALL"}, "0", map[string]string{"CapEff": none, "CapPrm": none, "CapBnd": none}},
		"nnp":     {[]string{"--security-opt", "no-new-privileges"}, "0", map[string]string{"NoNewPrivs": "1"}},
	} {
		w.sub(name, func(w *world) {
			w.background(name, append(one.args, "busybox", "sleep", "1000")...)
			w.granted(w.pid(name), one.groups, one.want)
			if name == "added" {
				return
			}
			w.pier("exec", "-d", name, "sleep", "2000")
			for _, pid := range w.processes(w.pid(name), "2000") {
				w.granted(pid, one.groups, one.want)
			}
		})
	}
}

// processes finds those in the pid namespace of a process whose command line ends with word.
func (w *world) processes(of int, word string) (pids []int) {
	w.t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", of))
	w.check(err)
	w.Eventually("process "+word, func() error {
		pids = w.find(ns, word)
		if len(pids) == 0 {
			return os.ErrNotExist
		}
		return nil
	})
	return pids
}

func (w *world) find(ns, word string) (pids []int) {
	w.t.Helper()
	all, err := os.ReadDir("/proc")
	w.check(err)
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		other, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if other == ns && strings.HasSuffix(string(line), word+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (w *world) granted(pid int, groups string, want map[string]string) {
	w.t.Helper()
	s := w.status(pid)
	for k, v := range want {
		if s[k] != v {
			w.t.Errorf("%s = %q, want %q", k, s[k], v)
		}
	}
	for _, k := range []string{"CapInh", "CapAmb"} {
		if strings.Trim(s[k], "0") != "" {
			w.t.Errorf("%s = %s", k, s[k])
		}
	}
	if s["Seccomp"] != "2" || s["Groups"] != groups {
		w.t.Errorf("Seccomp %s, groups %q, want %q", s["Seccomp"], s["Groups"], groups)
	}
}

// TestKernelFiles looks at what a container sees of the kernel (CVE-2018-10892, GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm,
// CVE-2023-25809, GHSA-g54h-m393-cpwq).
func TestKernelFiles(t *testing.T) {
	w := start(t)
	script := `
for p in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/devices/virtual/thermal /sys/devices/system/cpu/cpu*/thermal_throttle; do
  if [ -d $p ]; then [ -z "$(ls $p)" ] || echo "seen $p"; fi
  if [ -e $p ] && [ ! -d $p ]; then [ -c $p ] || echo "file $p"; [ -z "$(head -c 1 $p 2>/dev/null)" ] || echo "read $p"; fi
done
for p in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom /sys/kernel/uevent_helper /proc/irq/default_smp_affinity /sys/fs/cgroup/release_agent; do
  (echo x > $p) 2>/dev/null && echo "wrote $p"
done
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/evil 2>/dev/null && echo "made $d/evil"; (echo 1 > $d/cgroup.procs) 2>/dev/null && echo "wrote $d"; done
grep -E ' /(proc|sys)[^ ]* (proc|sysfs|cgroup.?) ' /proc/self/mounts | grep -v nosuid
mkdir /tmp/d
i=0; for n in "b 8 0" "b 254 0" "c 1 1" "c 1 2" "c 1 4" "c 10 229" "c 10 200" "c 5 64" "b 7 0" "c 1 11"; do
  i=$((i+1)); /bin/busybox mknod /tmp/d/$i $n && (head -c 1 /tmp/d/$i >/dev/null) 2>/dev/null && echo "opened $n"
  (: > /tmp/d/$i) 2>/dev/null && echo "opened $n for writing"
done
(: < /dev/console) 2>/dev/null && echo "opened console"
/bin/busybox mount -t tmpfs x /tmp 2>/dev/null && echo "mounted"
/bin/busybox unshare -U true 2>/dev/null && echo "unshared"
/bin/busybox dmesg >/dev/null 2>&1 && [ "$(cat /proc/sys/kernel/dmesg_restrict)" = 1 ] && echo "dmesg"
:
`
	for name, args := range map[string][]string{
		"plain": nil, "host network": {"--network", "host"}, "host pid": {"--pid", "host"}, "annotations": {"--annotation", "run.oci.keep_original_groups=1", "--annotation", "io.kubernetes.cri-o.Devices=/dev/kmsg"},
	} {
		w.sub(name, func(w *world) {
			if out := w.output(append(args, "busybox", "sh", "-c", script)...); out != "" {
				w.t.Error(out)
			}
		})
	}
	w.image("labels", []string{`LABEL io.pier.privileged=true privileged=true io.podman.annotations.privileged=TRUE io.podman.annotations.seccomp=unconfined io.containers.capabilities=ALL com.docker.security-opt=seccomp=unconfined containerd.io/restart.loguri=binary:///bin/sh run=--privileged`})
	w.background("labels", "labels", "sleep", "1000")
	w.granted(w.pid("labels"), "0", map[string]string{"CapEff": defaultCaps, "CapBnd": defaultCaps})
	if out := w.output("labels", "sh", "-c", script); out != "" {
		t.Error(out)
	}
}

// TestRequestsAreChecked sends settings that would act on the host, or mean two things (CVE-2022-0811, CVE-2022-0532,
// GHSA-w2j5-3rcx-vx7x, CVE-2022-4318, CVE-2018-20699, CVE-2023-6476).
func TestRequestsAreChecked(t *testing.T) {
	w := start(t)
	before := map[string]string{}
	watched := []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/shmmax", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"}
	for _, p := range watched {
		b, _ := os.ReadFile(p)
		before[p] = string(b)
	}
	type host = object
	sysctl := func(k, v string, more ...string) object {
		h := host{"Sysctls": object{k: v}, "NetworkMode": "none"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return object{"HostConfig": h}
	}
	for name, body := range map[string]object{
		"core_pattern":         sysctl("kernel.core_pattern", "|/evil"),
		"plus":                 sysctl("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil"),
		"slashes":              sysctl("kernel/shmmax", "1\n"),
		"dots":                 sysctl("net.ipv4....kernel.core_pattern", "x"),
		"net dots":             sysctl("net/../kernel/core_pattern", "x"),
		"net mixed":            sysctl("net.//..//kernel.core_pattern", "x"),
		"host ipc":             sysctl("kernel.shmmax", "1", "IpcMode", "host"),
		"host net":             sysctl("net.ipv4.ip_forward", "0", "NetworkMode", "host"),
		"line end":             sysctl("kernel.msgmax", "1\n2"),
		"env zero":             {"Env": []string{"A=b\x00C=d"}},
		"env nameless":         {"Env": []string{"=x"}},
		"user line":            {"User": "root\nevil"},
		"user minus":           {"User": "-1"},
		"user too large":       {"User": "4294967296"},
		"hostname":             {"Hostname": "a\nb"},
		"domain":               {"Domainname": "a\nnameserver 1.2.3.4"},
		"hosts":                {"HostConfig": host{"ExtraHosts": []string{"a:1.2.3.4\nb"}}},
		"dns":                  {"HostConfig": host{"Dns": []string{"1.2.3.4\noptions x"}}},
		"dns search":           {"HostConfig": host{"DnsSearch": []string{"a\nnameserver 6.6.6.6"}}},
		"dns option":           {"HostConfig": host{"DnsOptions": []string{"a\nnameserver 6.6.6.6"}}},
		"cpuset":               {"HostConfig": host{"CpusetCpus": "0-4294967295"}},
		"cpuset huge":          {"HostConfig": host{"CpusetCpus": "18446744073709551616"}},
		"cpuset words":         {"HostConfig": host{"CpusetCpus": "0\n../x"}},
		"cgroup parent":        {"HostConfig": host{"CgroupParent": "/x\x00y"}},
		"bind":                 {"HostConfig": host{"Binds": []string{"../../etc:/x"}}},
		"bind volume":          {"HostConfig": host{"Binds": []string{"..:/x"}}},
		"subpath":              {"HostConfig": host{"Mounts": []object{{"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions": object{"Subpath": "../.."}}}}},
		"mount":                {"HostConfig": host{"Mounts": []object{{"Type": "bind", "Source": "/tmp", "Target": "/../.."}}}},
		"tmpfs":                {"HostConfig": host{"Tmpfs": object{"/x": "size=1m,source=/dev/vda"}}},
		"device rule":          {"HostConfig": host{"DeviceCgroupRules": []string{"a *:* rwm\nb 8:0 rwm"}}},
		"capability":           {"HostConfig": host{"CapAdd": []string{"ALL\x00"}}},
		"security":             {"HostConfig": host{"SecurityOpt": []string{"systempaths"}}},
		"seccomp":              {"HostConfig": host{"SecurityOpt": []string{"seccomp={}{}"}}},
		"runtime":              {"HostConfig": host{"Runtime": "/tmp/evil"}},
		"log path":             {"HostConfig": host{"LogConfig": object{"Type": "json-file", "Config": object{"path": "/etc/passwd"}}}},
		"log driver":           {"HostConfig": host{"LogConfig": object{"Type": "../x"}}},
		"pid of a path":        {"HostConfig": host{"PidMode": "container:../../proc/1"}},
		"ipc of a path":        {"HostConfig": host{"IpcMode": "container:/proc/1/ns/ipc"}},
		"network of a path":    {"HostConfig": host{"NetworkMode": "ns:/proc/1/ns/net"}},
		"network of a folder":  {"HostConfig": host{"NetworkMode": "container:.."}},
		"volumes from a path":  {"HostConfig": host{"VolumesFrom": []string{"../x"}}},
		"container id file":    {"HostConfig": host{"VolumeDriver": "../../plugin"}},
		"working dir":          {"WorkingDir": "../x"},
		"working dir zero":     {"WorkingDir": "/x\x00y"},
		"image":                {"Image": "../../etc/passwd"},
		"image of an odd hash": {"Image": "busybox@sha256:../../../../etc/passwd"},
	} {
		w.sub(name, func(w *world) {
			full := object{"Image": "busybox", "Cmd": []string{"true"}}
			for k, v := range body {
				full[k] = v
			}
			status, text := w.request("POST", "/containers/create", full)
			var made struct{ ID string }
			_ = json.Unmarshal([]byte(text), &made)
			if status == 201 { // some things are known only when it starts
				if status, text = w.request("POST", "/containers/"+made.ID+"/start", nil); status < 300 {
					w.t.Errorf("it starts")
				}
				w.request("DELETE", "/containers/"+made.ID+"?force=1&v=1", nil)
			}
			if status >= 500 && !strings.Contains(text, "OCI runtime create failed") { // the kernel has refused it
				w.t.Errorf("answer %d %s", status, text)
			}
		})
	}
	for _, p := range watched {
		if b, _ := os.ReadFile(p); string(b) != before[p] {
			t.Errorf("%s was %q and is %q", p, before[p], b)
		}
	}
}
