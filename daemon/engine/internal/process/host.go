package process

import (
	"os"
	"path/filepath"
	"runtime"

	"pier/daemon/engine/internal/settings"
	"pier/kernel/probe"
)

// Host reads what this machine offers to containers; it keeps that from boot to boot. What the daemon was configured with
// (runtimes, logging) is the caller's to fill in.
func Host() settings.Host {
	hostname, _ := os.Hostname()
	throttle, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	nodes, _ := filepath.Glob("/sys/devices/system/node/node[0-9]*")
	v2 := exists("/sys/fs/cgroup/cgroup.controllers")
	return settings.Host{
		CPUs: runtime.NumCPU(), MemNodes: len(nodes), Hostname: hostname, CgroupV2: v2, Throttle: throttle,
		NoSwapLimit: !v2 && !exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
		Realtime:    exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"),
		AppArmor:    probe.AppArmor(),
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
