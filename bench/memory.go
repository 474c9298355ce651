package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The promises about memory, in KiB of proportional set size.
const (
	idlePromise      = 35 << 10
	containerPromise = 64
)

// memory measures what the daemons hold when idle, and what n idle containers add to them.
func (l *lab) memory(n int) (bool, error) {
	settle := func() { time.Sleep(12 * time.Second) } // pierd calls itself idle after 5 s without a request, and looks every 5 s
	settle()
	pierIdle, err := daemonPSS(l.pierd.Process.Pid, "pierd", "pier-runtime")
	if err != nil {
		return false, err
	}
	dockIdle, err := daemonPSS(l.dockerd.Process.Pid, "dockerd", "containerd", "containerd-shim", "docker-proxy")
	if err != nil {
		return false, err
	}
	for i := range n {
		name := "idle" + strconv.Itoa(i)
		for _, do := range []func(...string) error{l.pier, l.docker} {
			if err := do("run", "-d", "--name", name, "bb", "sleep", "100000"); err != nil {
				return false, err
			}
		}
	}
	settle()
	pierFull, err := daemonPSS(l.pierd.Process.Pid, "pierd", "pier-runtime")
	if err != nil {
		return false, err
	}
	dockFull, err := daemonPSS(l.dockerd.Process.Pid, "dockerd", "containerd", "containerd-shim", "docker-proxy")
	if err != nil {
		return false, err
	}
	perPier, perDock := (pierFull-pierIdle)/float64(n), (dockFull-dockIdle)/float64(n)
	ok := pierIdle <= idlePromise && perPier <= containerPromise
	fmt.Printf("%-34s %9.1f MB %9.1f MB %12s %9.1f %9s%s\n", "memory, idle daemons (PSS)", pierIdle/1024, dockIdle/1024, "-", dockIdle/pierIdle, "<= 35 MB", verdict(pierIdle <= idlePromise))
	fmt.Printf("%-34s %8.1f KiB %8.1f KiB %12s %9.1f %9s%s\n", fmt.Sprintf("memory, per idle container of %d", n), perPier, perDock, "-", perDock/perPier, "<= 64 KiB",
		verdict(perPier <= containerPromise))
	return ok, nil
}

// daemonPSS adds up, in KiB, the proportional set size of root and of every process below it that bears one of names.
func daemonPSS(root int, names ...string) (float64, error) {
	children := map[int][]int{}
	name := map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		open, shut := strings.IndexByte(string(data), '('), strings.LastIndexByte(string(data), ')')
		fields := strings.Fields(string(data[shut+1:]))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(data[:open])))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
		name[pid] = string(data[open+1 : shut])
	}
	total := 0.0
	var visit func(pid int) error
	visit = func(pid int) error {
		wanted := false
		for _, n := range names {
			wanted = wanted || strings.HasPrefix(name[pid], n[:min(15, len(n))])
		}
		if wanted {
			kib, err := pss(pid)
			if err != nil {
				return err
			}
			total += kib
		}
		for _, c := range children[pid] {
			if err := visit(c); err != nil {
				return err
			}
		}
		return nil
	}
	return total, visit(root)
}

func pss(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("process %d: smaps_rollup has no Pss line", pid)
}
