//go:build amd64

package crash

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pier/client"
	"pier/test/lab"
)

// agree compares pierd's records with the kernel and the disk. Whatever is there has to belong to a record, and whatever
// a record says has to be there.
func (c *cell) agree() error {
	ctx := context.Background()
	list, err := c.api.Containers().List(ctx, client.ListOptions{All: true})
	if err != nil {
		return err
	}
	var wrong []string
	var ids, alive, volumes, mounts []string
	aside := 0 // running containers on the second network
	for _, s := range list {
		in, err := c.api.Containers().Inspect(ctx, s.ID)
		if err != nil {
			return err
		}
		ids = append(ids, s.ID)
		hidden := filepath.Join(c.Dir, "data/containers", s.ID, "secrets")
		if _, err := os.Stat(hidden); err == nil {
			if in.HostConfig.AutoRemove {
				mounts = append(mounts, hidden)
			}
			if in.State.Running {
				mounts = append(mounts, hidden+".run")
			}
		}
		for _, m := range in.Mounts {
			if m.Name != "" {
				volumes = append(volumes, m.Name)
			}
		}
		if !in.State.Running {
			continue
		}
		alive = append(alive, s.ID)
		if in.NetworkSettings.Networks["side"] != nil {
			aside++
		}
		procs := processes(c.Name, s.ID)
		if !slices.Contains(procs, in.State.Pid) || len(procs) != 2 {
			wrong = append(wrong, fmt.Sprintf("container %s runs as %d, its cgroup holds %v", s.ID[:12], in.State.Pid, procs))
		}
	}
	same := func(what string, got, want []string) {
		slices.Sort(got)
		slices.Sort(want)
		got, want = slices.Compact(got), slices.Compact(want)
		if !slices.Equal(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s: there are %q, want %q", what, got, want))
		}
	}
	same("folders of containers", names(c.Dir, "data/containers"), ids)
	same("writable layers", names(c.Dir, "data/layers/writable"), ids)
	same("layers in the making", append(names(c.Dir, "data/layers/tmp"), names(c.Dir, "data/layers/trash")...), nil)
	same("tasks", names(c.Dir, "run/tasks"), alive)
	for _, id := range alive {
		same("execs of "+id[:12], names(c.Dir, "run/tasks/"+id+"/exec"), nil)
	}
	same("cgroups", groups(c.Name), alive)
	same("volumes", slices.DeleteFunc(names(c.Dir, "data/volumes"), func(n string) bool { return n == "named" }),
		slices.DeleteFunc(volumes, func(n string) bool { return n == "named" }))
	if n := len(names("/sys/class/net", c.Name+"/brif")); n != len(alive) {
		wrong = append(wrong, fmt.Sprintf("%d interfaces on the bridge, %d containers run", n, len(alive)))
	}
	if n := len(names("/sys/class/net", sideBridge(c.Name)+"/brif")); n != aside {
		wrong = append(wrong, fmt.Sprintf("%d interfaces on the second bridge, %d containers run there", n, aside))
	}
	same("mounts", mountsBelow(c.Dir), mounts)
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

// mountsBelow are the places below dir where something is mounted.
func mountsBelow(dir string) (all []string) {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			all = append(all, f[4])
		}
	}
	return all
}

func names(parts ...string) (all []string) {
	entries, _ := os.ReadDir(filepath.Join(parts...))
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// groups lists the cgroups of containers in all hierarchies.
func groups(daemon string) (all []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/*/pier-test-" + daemon + "/*/cgroup.procs", "/sys/fs/cgroup/pier-test-" + daemon + "/*/cgroup.procs"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			all = append(all, filepath.Base(filepath.Dir(f)))
		}
	}
	return all
}

// processes lists those in a container's cgroup.
func processes(daemon, id string) (all []int) {
	for _, pattern := range []string{"/sys/fs/cgroup/pids/pier-test-%s/%s/cgroup.procs", "/sys/fs/cgroup/pier-test-%s/%s/cgroup.procs"} {
		text, _ := os.ReadFile(fmt.Sprintf(pattern, daemon, id))
		for _, f := range strings.Fields(string(text)) {
			n, _ := strconv.Atoi(f)
			all = append(all, n)
		}
	}
	return all
}

// scene describes what the kernel has of a daemon's containers, for a cell that failed: who holds whom shows nowhere else.
func scene(daemon string) string {
	var b strings.Builder
	for _, id := range slices.Compact(slices.Sorted(slices.Values(groups(daemon)))) {
		frozen := ""
		for _, pattern := range []string{"/sys/fs/cgroup/freezer/pier-test-%s/%s/freezer.state", "/sys/fs/cgroup/pier-test-%s/%s/cgroup.events"} {
			text, _ := os.ReadFile(fmt.Sprintf(pattern, daemon, id))
			frozen += strings.Join(strings.Fields(string(text)), " ")
		}
		fmt.Fprintf(&b, "cgroup %s: %s\n", id, frozen)
		for _, pid := range processes(daemon, id) {
			fmt.Fprintf(&b, "\t%s\n", condition(pid))
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range commands {
		text, _ := os.ReadFile(path)
		if pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))); strings.Contains(string(text), ") Z ") {
			fmt.Fprintf(&b, "ended: %s\n", condition(pid))
		}
	}
	return b.String()
}

// condition is a process's state, family, pending signals and place in the kernel.
func condition(pid int) string {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, _ := os.ReadFile(dir + "status")
	words := []string{strconv.Itoa(pid)}
	for line := range strings.Lines(string(status)) {
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "Name", "State", "PPid", "TracerPid", "NSpid", "SigPnd", "ShdPnd":
			words = append(words, strings.Join(strings.Fields(line), " "))
		}
	}
	stack, _ := os.ReadFile(dir + "stack")
	return strings.Join(append(words, strings.Fields(string(stack))...), " ")
}

// parent is the number of a process's parent.
func parent(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// atRest waits until processes sleep: what the preparation of an operation has left them to do in the background, such as
// another spare network namespace, is no part of the operation. It does not wait for ever: some do something all the time.
func atRest(pids ...int) {
	const look = 20 * time.Millisecond
	before, asleep := switches(pids)
	for range 100 {
		time.Sleep(look)
		now, sleep := switches(pids)
		if asleep && sleep && slices.Equal(now, before) {
			return
		}
		before, asleep = now, sleep
	}
}

// switches tells how often each process has gone to sleep or was sent there, and whether all their threads are asleep now.
func switches(pids []int) (counts []int, asleep bool) {
	asleep = true
	for _, pid := range pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		n := 0
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); name {
				case "State":
					asleep = asleep && strings.HasPrefix(value, "S")
				case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
					more, _ := strconv.Atoi(value)
					n += more
				}
			}
		}
		counts = append(counts, n)
	}
	return counts, asleep
}

// peer is the process that listens on the supervisor's socket, 0 where none does.
func peer(d *lab.Daemon) int {
	conn, err := net.Dial("unix", filepath.Join(d.Dir, "run", "supervisor.sock"))
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
