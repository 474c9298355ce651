package process

import (
	"os"
	"path/filepath"
	"slices"
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
	} {
		cols, err := layout(strings.Fields(args))
		if err != nil {
			t.Errorf("ps %s: %v", args, err)
			continue
		}
		var titles []string
		for _, c := range cols {
			titles = append(titles, c.title)
		}
		if got := strings.Join(titles, " "); got != want {
			t.Errorf("ps %s: %q, want %q", args, got, want)
		}
	}
	for _, args := range []string{"-o comm", "-o nosuch", "--sort=x", "-o", "-p 1"} {
		if _, err := layout(strings.Fields(args)); err == nil {
			t.Errorf("ps %s was taken", args)
		}
	}
	p, ok := readProc(os.Getpid())
	if !ok || p.args(nil) == "" || userName(p, readHost()) != "root" && os.Getuid() == 0 {
		t.Errorf("own process: %+v", p)
	}
}
