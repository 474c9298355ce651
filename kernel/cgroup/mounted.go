package cgroup

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"pier/lib/errkind"
)

// hierarchies is where the machine has its cgroups: unified is the v2 mount where it is the only kind, else v1 holds
// every mounted controller. On a hybrid machine the v2 mount, beside, has no controllers: we make nothing there, but runc does.
type hierarchies struct {
	unified string
	v1      []hierarchy
	beside  string // "" where there is none
}

type hierarchy struct {
	dir         string
	controllers []string // "cpu", "cpuacct"; "name=systemd" for a hierarchy without one
}

// systemd names the hierarchy that systemd keeps for itself, and the agent that it has the kernel run on the host when one
// of its cgroups is empty: it does no more than pass on which one.
const (
	systemdName  = "name=systemd"
	systemdAgent = "systemd-cgroups-agent"
)

// bare reports whether a cgroup of the hierarchy limits nothing, and nothing but systemd's own agent is run on the host
// for it: who may write to a cgroup can have the agent run, as root, with that cgroup's name as its argument.
func (h hierarchy) bare() bool {
	if !slices.Equal(h.controllers, []string{systemdName}) {
		return false
	}
	agent, err := readFile(filepath.Join(h.dir, "release_agent"))
	if errors.Is(err, os.ErrNotExist) {
		return true // we are in a container ourselves, which has been given a part of it
	}
	name := strings.TrimSpace(string(agent))
	return err == nil && (name == "" || filepath.Base(name) == systemdAgent)
}

// mounted looks once: hierarchies do not move while a machine runs, and the table of mounts is long.
var mounted = sync.OnceValues(func() (hierarchies, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return hierarchies{}, err
	}
	defer f.Close()
	return parseMounts(bufio.NewScanner(f))
})

// v1Controllers are the words among a v1 mount's options that name a controller; the others are flags.
var v1Controllers = [...]string{"cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb", "net_cls",
	"net_prio", "perf_event", "freezer", "rdma", "misc"}

func parseMounts(lines *bufio.Scanner) (hierarchies, error) {
	var h hierarchies
	var unified string
	seen := make(map[string]bool)
	for lines.Scan() {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue   (proc(5))
		place, kind, ok := strings.Cut(lines.Text(), " - ")
		before, after := strings.Fields(place), strings.Fields(kind)
		if !ok || len(before) < 5 || len(after) < 3 {
			continue
		}
		dir := before[4]
		switch after[0] {
		case "cgroup2":
			if unified == "" {
				unified = dir
			}
		case "cgroup":
			var controllers []string
			for option := range strings.SplitSeq(after[2], ",") {
				if isController(option) && !seen[option] {
					seen[option] = true
					controllers = append(controllers, option)
				}
			}
			if len(controllers) > 0 {
				h.v1 = append(h.v1, hierarchy{dir: dir, controllers: controllers})
			}
		}
	}
	if err := lines.Err(); err != nil {
		return h, err
	}
	if len(h.v1) == 0 {
		h.unified = unified
	} else {
		h.beside = unified
	}
	if len(h.v1) == 0 && unified == "" {
		return h, errkind.New(errkind.Unsupported, "no cgroup file system is mounted: mount -t cgroup2 none /sys/fs/cgroup")
	}
	return h, nil
}

func isController(option string) bool {
	if strings.HasPrefix(option, "name=") {
		return true
	}
	for _, c := range v1Controllers {
		if c == option {
			return true
		}
	}
	return false
}
