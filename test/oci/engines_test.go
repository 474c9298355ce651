package oci

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pier/lib/id"
	"pier/test/lab"
)

// engine is a foreign engine that runs its containers by pier-runtime.
type engine struct {
	*testing.T
	words []string // its command line, up to the command
	env   []string
	group string // parent of its cgroups
}

func (e *engine) try(args ...string) (out string, code int) {
	e.Helper()
	cmd := exec.Command(e.words[0], append(slices.Clone(e.words[1:]), args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Stdin = strings.NewReader("typed\n")
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func (e *engine) do(args ...string) string {
	e.Helper()
	out, code := e.try(args...)
	if code != 0 {
		e.Fatalf("%v: status %d: %s", args, code, out)
	}
	return strings.TrimSpace(out)
}

// run is the command run with what every container of this test needs.
func (e *engine) run(args ...string) []string {
	return append([]string{"run", "--network", "none", "--cgroup-parent", e.group, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}, args...)
}

// TestEngines has Debian's docker.io and podman make, enter, stop, measure, limit and remove containers by pier-runtime.
func TestEngines(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *engine{"docker": startDocker, "podman": preparePodman} {
		t.Run(name, func(t *testing.T) { useEngine(start(t)) })
	}
}

func useEngine(e *engine) {
	e.do("import", lab.Busybox(e, e.TempDir()), "box:1")
	if out := e.do(e.run("--rm", "box:1", "echo", "hello world")...); out != "hello world" {
		e.Errorf("hello world: %q", out)
	}
	if out := e.do(e.run("--rm", "-i", "box:1", "cat")...); out != "typed" {
		e.Errorf("standard input: %q", out)
	}
	if out := e.do(e.run("--rm", "-t", "box:1", "tty")...); out != "/dev/pts/0" {
		e.Errorf("terminal: %q", out)
	}
	if out, code := e.try(e.run("--rm", "box:1", "missing")...); code != 127 || !strings.Contains(out, "executable file") {
		e.Errorf("a missing command: %d, %s", code, out)
	}
	if out := e.do(e.run("--rm", "--user", "1000", "--read-only", "--tmpfs", "/run", "--hostname", "box", "--memory", "64m", "--pids-limit", "50",
		"--cap-drop", "ALL", "--init=false", "-v", e.TempDir()+":/data:ro", "box:1", "sh", "-c", "exec 2>&1; id -u; hostname; touch /x /data/x; touch /run/x && echo ok")...); !strings.HasPrefix(out, "1000\nbox") ||
		!strings.Contains(out, "touch: /x: Read-only file system") || !strings.Contains(out, "touch: /data/x: Read-only file system") {
		e.Errorf("options: %s", out)
	}

	e.do(e.run("-d", "--name", "pet", "box:1", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")...)
	e.Cleanup(func() { _, _ = e.try("rm", "-f", "pet") })
	status := func() string { e.Helper(); return e.do("inspect", "-f", "{{.State.Status}}", "pet") }
	if out, code := e.try("exec", "-u", "1000", "-e", "A=b", "pet", "sh", "-c", "id -u; echo $A; exit 7"); code != 7 || !strings.HasPrefix(out, "1000\nb") {
		e.Errorf("exec: %d, %s", code, out)
	}
	if out := e.do("exec", "-t", "pet", "tty"); out != "/dev/pts/0" {
		e.Errorf("exec with a terminal: %q", out)
	}
	if out := e.do("top", "pet"); !strings.Contains(out, "trap") {
		e.Errorf("top: %s", out)
	}
	if out := e.do("stats", "--no-stream", "pet"); !strings.Contains(out, "pet") {
		e.Errorf("stats: %s", out)
	}
	e.do("update", "--memory", "67108864", "--memory-swap", "67108864", "pet")
	e.do("pause", "pet")
	if s := status(); s != "paused" {
		e.Errorf("after pause: %s", s)
	}
	if out, code := e.try("exec", "pet", "true"); code == 0 {
		e.Errorf("exec in a paused container: %s", out)
	}
	e.do("unpause", "pet")
	if s := status(); s != "running" {
		e.Errorf("after unpause: %s", s)
	}
	e.do("kill", "-s", "TERM", "pet")
	if code := e.do("wait", "pet"); code != "3" {
		e.Errorf("after kill: %s", code)
	}
	e.do("start", "pet")
	e.do("stop", "-t", "10", "pet")
	e.do("rm", "pet")
	if out := e.do("ps", "-aq"); out != "" {
		e.Errorf("left: %s", out)
	}
}

// preparePodman makes a place of its own for podman, which needs no daemon.
func preparePodman(t *testing.T) *engine {
	program, err := exec.LookPath("podman")
	if err != nil {
		t.Fatal("this test needs podman (scripts/setup.sh test installs it): ", err)
	}
	dir, err := os.MkdirTemp("", "pier-podman-") // short: conmon's sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{T: t, group: "/pier-test-podman-" + id.New()[:8]}
	e.words = []string{program, "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
		"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", filepath.Join(bin, "pier-runtime")}
	conf := filepath.Join(dir, "containers.conf")
	if err := os.WriteFile(conf, []byte("[containers]\nipcns = \"private\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.env = []string{"CONTAINERS_CONF=" + conf}
	t.Cleanup(func() {
		lab.RemoveGroups(t, e.group)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return e
}

// startDocker runs Debian's dockerd for the length of the test, without networks.
func startDocker(t *testing.T) *engine {
	d := lab.StartDockerd(t, nil, "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--storage-driver", "vfs",
		"--add-runtime", "pier="+filepath.Join(bin, "pier-runtime"), "--default-runtime", "pier")
	return &engine{T: t, group: d.Group, words: d.Command().Args}
}
