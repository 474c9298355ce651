package newcomer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pier/test/lab"
)

var bin string // folder of the programs under test

func TestMain(m *testing.M) { lab.Main(m, &bin) }

// machine is a clone of the repository, and what a newcomer's shell has in it.
type machine struct {
	t     *testing.T
	dir   string // everything: clone, data root, exec root
	clone string
	name  string // unique: of bridge and cgroup
	port  int
	env   []string
	enter []string // what goes before each command, such as nsenter
}

// newMachine copies the repository as `git clone` would.
func newMachine(t *testing.T, enter ...string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "pier-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, clone: filepath.Join(dir, "pier"), name: "pt" + filepath.Base(dir)[5:][:6], port: lab.FreePorts(t, 1), enter: enter}
	// Not `git clone`: what is being worked on is tried before it is committed, and nothing git ignores comes along.
	copyTree := exec.Command("bash", "-euo", "pipefail", "-c", `mkdir "$0" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "$0" --`, m.clone)
	copyTree.Dir = "../.."
	if out, err := copyTree.CombinedOutput(); err != nil {
		t.Fatalf("copy the repository: %v\n%s", err, out)
	}
	m.env = append(os.Environ(), "DATA_ROOT="+dir+"/data", "EXEC_ROOT="+dir+"/run", fmt.Sprintf("PORT=%d", m.port),
		"PIERD_FLAGS=--bridge "+m.name+" --cgroup-parent /pier-test-"+m.name)
	// Whatever happens, end what was started.
	t.Cleanup(func() { _ = m.command("make clean").Run() })
	return m
}

func (m *machine) command(line string) *exec.Cmd {
	words := append(append([]string{}, m.enter...), "bash", "-euo", "pipefail", "-c", line)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = m.clone, m.env
	return cmd
}

// do runs a line of shell, which must succeed, and returns its output.
func (m *machine) do(line string) string {
	m.t.Helper()
	out, err := m.command(line).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

func (m *machine) url() string { return fmt.Sprintf("http://127.0.0.1:%d/", m.port) }

// pier is how a line begins that asks this machine's pierd.
func (m *machine) pier() string { return "bin/pier -H unix://" + m.dir + "/run/pier.sock " }

// TestReadme types `make run`, opens the page, uses the commands that it suggests, kills the daemon, and types `make stop`
// and `make clean`. Nothing may be left.
func TestReadme(t *testing.T) {
	m := newMachine(t)
	out := m.do("make run")
	for _, want := range []string{"Building examples/hello", "healthy", m.url(), "Five things to try next, after  export PIER_HOST=unix://" + m.dir + "/run/pier.sock:",
		"make run PORT=" + strconv.Itoa(m.port) + " DATA_ROOT=" + m.dir + "/data EXEC_ROOT=" + m.dir + "/run\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("make run does not say %q:\n%s", want, out)
		}
	}
	if page := m.do("curl -fsS " + m.url()); !strings.Contains(page, "Hello from Pier") {
		t.Errorf("the page is %q", page)
	}
	if limit := m.do(m.pier() + "inspect -f '{{.HostConfig.Memory}}' hello"); limit != "67108864\n" {
		t.Errorf("memory limit %q, want 64 MiB", limit)
	}
	m.do(m.pier() + "logs hello | grep 'serving on'")
	m.do(m.pier() + "exec hello /hello check")
	m.do(`eval "$(` + m.pier() + `env)" && docker ps | grep hello`)

	// A second time finds everything there.
	if out := m.do("make run"); !strings.Contains(out, "pierd is running already") {
		t.Errorf("the second make run says\n%s", out)
	}

	// The last of the five things: the daemon dies, the containers do not notice, and `make run` brings it back.
	m.do(m.pier() + "run -d --name witness hello")
	life := m.pier() + "inspect -f '{{.State.Pid}} {{.State.StartedAt}}' hello witness"
	before := m.do(life)
	m.do("kill -9 $(cat " + m.dir + "/run/pierd.pid)")
	if page := m.do("curl -fsS " + m.url()); !strings.Contains(page, "Hello from Pier") {
		t.Errorf("without pierd the page is %q", page)
	}
	if out, err := m.command(m.pier() + "ps").CombinedOutput(); err == nil {
		t.Errorf("pier ps without pierd says\n%s", out)
	}
	if out := m.do("make run"); !strings.Contains(out, "Starting pierd") || !strings.Contains(out, "healthy") {
		t.Errorf("make run after kill -9 says\n%s", out)
	}
	witness := func(s string) string { _, line, _ := strings.Cut(s, "\n"); return line }
	if after := m.do(life); witness(after) != witness(before) {
		t.Errorf("the container that ran before pierd died was %q and is %q", witness(before), witness(after))
	}

	m.do("make stop")
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port)); err == nil {
		t.Error("the port answers after make stop")
	}
	m.do("make clean")
	for _, left := range lab.Leftovers(t, m.dir, m.name) {
		t.Errorf("left behind: %s", left)
	}
	if _, err := os.Stat(filepath.Join(m.clone, "bin")); err == nil {
		t.Error("make clean left bin/")
	}
}
