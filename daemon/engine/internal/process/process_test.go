package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/daemon/engine/internal/settings"
	"pier/lib/id"
)

func rootfs(t *testing.T) *os.File {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nextra:x:2000:app\nvideo:x:44:\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func build(t *testing.T, c *container.Config, h *container.HostConfig) (*specs.Spec, error) {
	t.Helper()
	cid := id.New()
	if len(c.Cmd) == 0 {
		c.Cmd = []string{"true"}
	}
	if _, err := settings.Complete(c, h, cid, settings.Host{CPUs: 2, Hostname: "host"}); err != nil {
		t.Fatal(err)
	}
	mounts, err := settings.Mounts(h, nil, settings.MountSources{Exists: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	return Container(Input{ID: cid, Config: c, Host: h, Mounts: mounts, Args: settings.Command(c), Root: rootfs(t),
		Files: map[string]string{"/etc/hosts": "/x/hosts"}, Cgroup: "/pier/" + cid})
}

func TestContainer(t *testing.T) {
	s, err := build(t, &container.Config{User: "app", Tty: true, WorkingDir: "/srv/new", Env: []string{"A=1", "HOSTNAME=x"}},
		&container.HostConfig{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"CAP_CHOWN"}, GroupAdd: []string{"video"}, ReadonlyRootfs: true})
	if err != nil {
		t.Fatal(err)
	}
	p := s.Process
	if p.User.UID != 1000 || p.User.GID != 1001 || !slices.Equal(p.User.AdditionalGids, []uint32{44, 1001, 2000}) {
		t.Errorf("user %+v", p.User)
	}
	if got := strings.Join(p.Env, " "); got != defaultPath+" HOSTNAME=x TERM=xterm A=1 HOME=/home/app" {
		t.Errorf("environment %s", got)
	}
	if !slices.Contains(p.Capabilities.Bounding, "CAP_NET_ADMIN") || slices.Contains(p.Capabilities.Bounding, "CAP_CHOWN") || len(p.Capabilities.Inheritable)+len(p.Capabilities.Ambient) > 0 {
		t.Errorf("capabilities %+v", p.Capabilities)
	}
	if !s.Root.Readonly || len(s.Linux.MaskedPaths) == 0 || len(s.Linux.Namespaces) != 5 {
		t.Errorf("%+v, namespaces %v", s.Root, s.Linux.Namespaces)
	}
}

func TestWorkingDirectoryIsMadeInside(t *testing.T) {
	root := rootfs(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root.Name(), "escape")); err != nil {
		t.Fatal(err)
	}
	if err := makeDir(root, "/escape/dir"); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Fatal("the working directory was made outside the root")
	}
	if err := makeDir(root, "/etc/passwd"); err == nil {
		t.Fatal("a file was taken for a working directory")
	}
}

func TestUnknownUser(t *testing.T) {
	for user, want := range map[string]string{"nosuch": "unable to find user nosuch", "app:nosuch": "nosuch"} {
		if _, err := build(t, &container.Config{User: user}, &container.HostConfig{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("user %q: %v", user, err)
		}
	}
}

func TestHostModes(t *testing.T) {
	s, err := build(t, &container.Config{}, &container.HostConfig{NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host", Privileged: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Linux.Namespaces) != 1 || s.Hostname != "" || s.Linux.MaskedPaths != nil {
		t.Errorf("namespaces %v, host name %q, masked %v", s.Linux.Namespaces, s.Hostname, s.Linux.MaskedPaths)
	}
	if f, err := Filter(new(Filters), &container.HostConfig{Privileged: true}, s.Process.Capabilities.Bounding, true); err != nil || f.Program != nil {
		t.Errorf("a privileged container got a filter of %d bytes, %v", len(f.Program), err)
	}
}

func TestTable(t *testing.T) {
	for args, want := range map[string]string{
		"":                  "UID PID PPID C STIME TTY TIME CMD",
		"-ef":               "UID PID PPID C STIME TTY TIME CMD",
		"aux":               "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
		"-o pid,comm":       "PID COMMAND",
		"-eo pid=PID,args":  "PID COMMAND",
		"o pid,ppid":        "PID PPID",
		"--format=pid,user": "PID USER",
		"axf":               "PID TTY STAT TIME COMMAND",
		"aux --sort=-%cpu":  "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
	} {
		l, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("ps %s: %v", args, err)
			continue
		}
		var titles []string
		for _, c := range l.columns {
			titles = append(titles, c.title)
		}
		if got := strings.Join(titles, " "); got != want {
			t.Errorf("ps %s: %q, want %q", args, got, want)
		}
	}
	for _, args := range []string{"-o comm", "-o nosuch", "--sort=x", "--sort", "k", "-ef kpid,--comm", "-o", "-p 1"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("ps %s was taken", args)
		}
	}
	p, ok := readProc(os.Getpid())
	if !ok || p.args(nil) == "" || userName(p, readHost()) != "root" && os.Getuid() == 0 {
		t.Errorf("own process: %+v", p)
	}
}

func TestOrder(t *testing.T) {
	var procs []*proc
	for _, p := range []struct {
		pid, parent int
		comm        string
		ticks, rss  int64
	}{{5, 1, "init", 10, 30}, {6, 5, "web", 900, 9}, {7, 6, "worker", 20, 200}, {8, 6, "worker", 20, 100}, {9, 5, "log", 1000, 1000}} {
		fields := slices.Repeat([]string{"0"}, 50) // of stat, from the third
		fields[4-3], fields[14-3], fields[24-3] = strconv.Itoa(p.parent), strconv.FormatInt(p.ticks, 10), strconv.FormatInt(p.rss, 10)
		procs = append(procs, &proc{pid: p.pid, comm: p.comm, fields: fields})
	}
	for args, want := range map[string]string{
		"":                              "5 6 7 8 9",
		"aux --sort=-pid":               "9 8 7 6 5",
		"aux --sort -%cpu":              "9 6 7 8 5",
		"-eo pid,comm --sort=comm,-pid": "5 9 6 8 7",
		"-eo pid k -rss":                "9 7 8 5 6", // not 9 7 8 as text would be: 200, 1000, 100
		"-eo pid krss":                  "6 5 8 7 9",
		"--sort=+time,-rss":             "5 7 8 6 9",
		"--forest":                      "5 6| \\_ 7| |   \\_ 8| |   \\_ 9| \\_",
		"auxf --sort=-rss":              "5 9| \\_ 6| \\_ 7|     \\_ 8|     \\_",
	} {
		l, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("ps %s: %v", args, err)
			continue
		}
		sorted := slices.Clone(procs)
		for _, p := range sorted {
			p.branch = ""
		}
		arrange(sorted, l.by, readHost())
		if l.forest {
			sorted = forest(sorted)
		}
		var got []string
		for _, p := range sorted {
			got = append(got, strings.TrimRight(strconv.Itoa(p.pid)+"|"+p.branch, "| "))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("ps %s: %q, want %q", args, got, want)
		}
	}

	long := make([]*proc, 10000) // a chain, closed to a circle
	for i := range long {
		long[i] = &proc{pid: i + 1, fields: []string{"S", strconv.Itoa((i+len(long)-1)%len(long) + 1)}}
	}
	long = forest(long)
	if len(long) != 10000 || long[0].branch != "" || len(long[9999].branch) > 2*maxLead {
		t.Errorf("a chain of processes: %d of them, the last behind %q", len(long), long[len(long)-1].branch)
	}
}
