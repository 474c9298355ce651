package security

import (
	"strings"
	"testing"
)

// TestControlGroups lets containers that pass for one of systemd do their worst with the control groups that they get:
// none of them limits anything, and none stays (kin of CVE-2022-0492 and CVE-2023-25809).
func TestControlGroups(t *testing.T) {
	w := start(t)
	// /sbin/init leads to a file called systemd: that is all it takes to be one.
	w.image("passes", []string{`CMD ["/sbin/init"]`}, dir("lib"), program("lib/systemd", "#!/bin/sh\nexec sleep 600\n"), dir("sbin"), symlink("sbin/init", "/lib/systemd"))
	script := `
/bin/busybox find /sys/fs/cgroup -name release_agent
for f in $(/bin/busybox find /sys/fs/cgroup -name 'memory.limit_in_bytes' -o -name 'pids.max' -o -name 'cpu.shares' -o -name 'devices.allow' -o -name 'cpuset.cpus'); do
  case $f in /sys/fs/cgroup/pids.max) continue;; esac # v2: the payload's own, below the limit
  (echo 1 >$f) 2>/dev/null && echo "wrote $f"
done
for d in /sys/fs/cgroup/*/; do case $d in */systemd/) continue;; esac; mkdir $d/evil 2>/dev/null && echo "made $d/evil"; done
cd /sys/fs/cgroup; [ ! -d systemd ] || cd systemd
mkdir ours || echo "no group of its own"
# what a host's agent would be told, and a tree that no path can name
(echo 1 >notify_on_release) 2>/dev/null
name=$(printf '%0200d' 1)
for i in $(seq 40); do mkdir $name 2>/dev/null && cd $name || break; done
:
`
	for name, args := range map[string][]string{"asked for": {"--security-opt", "systemd=true", "busybox", "sleep", "600"}, "by name": {"passes"}} {
		w.sub(name, func(w *world) {
			w.background("system", append([]string{"--memory", "64m", "--pids-limit", "100"}, args...)...)
			if out := w.pier("exec", "system", "sh", "-c", script); out != "" {
				w.t.Errorf("it could:\n%s", out)
			}
			if stop := w.pier("inspect", "-f", "{{.Config.StopSignal}}", "system"); strings.TrimSpace(stop) != "SIGRTMIN+3" {
				w.t.Errorf("it did not pass for one of systemd: its stop signal is %s", stop)
			}
			w.pier("rm", "-f", "system")
		})
	}
}
