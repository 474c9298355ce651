package newcomer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pier/test/lab"
)

// TestReadme clones the repository, types `make run`, opens the page, uses the commands that it suggests, and types
// `make stop` and `make clean`. Nothing may be left.
func TestReadme(t *testing.T) {
	dir, err := os.MkdirTemp("", "pier-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	clone, name := filepath.Join(dir, "pier"), "pt"+filepath.Base(dir)[5:][:6]
	// Not `git clone`: what is being worked on is tried before it is committed, and nothing git ignores comes along.
	copyTree := exec.Command("bash", "-euo", "pipefail", "-c", `mkdir "$0" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "$0" --`, clone)
	copyTree.Dir = "../.."
	if out, err := copyTree.CombinedOutput(); err != nil {
		t.Fatalf("copy the repository: %v\n%s", err, out)
	}
	port := freePort(t)
	env := append(os.Environ(), "DATA_ROOT="+dir+"/data", "EXEC_ROOT="+dir+"/run", fmt.Sprintf("PORT=%d", port),
		"PIERD_FLAGS=--bridge "+name+" --cgroup-parent /pier-test-"+name)
	do := func(command string) string {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", command)
		cmd.Dir, cmd.Env = clone, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	// Whatever happens, end what was started.
	t.Cleanup(func() {
		cmd := exec.Command("make", "clean")
		cmd.Dir, cmd.Env = clone, env
		_ = cmd.Run()
	})

	out := do("make run")
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	for _, want := range []string{"Building examples/hello", "healthy", url, "Five things to try next"} {
		if !strings.Contains(out, want) {
			t.Errorf("make run does not say %q:\n%s", want, out)
		}
	}
	host := "-H unix://" + dir + "/run/pier.sock "
	if page := do("curl -fsS " + url); !strings.Contains(page, "Hello from Pier") {
		t.Errorf("the page is %q", page)
	}
	if limit := do("bin/pier " + host + "inspect -f '{{.HostConfig.Memory}}' hello"); limit != "67108864\n" {
		t.Errorf("memory limit %q, want 64 MiB", limit)
	}
	do("bin/pier " + host + "logs hello | grep 'serving on'")
	do("bin/pier " + host + "exec hello /hello check")
	do(`eval "$(bin/pier ` + host + `env)" && docker ps | grep hello`)

	// A second time finds everything there.
	if out := do("make run"); !strings.Contains(out, "pierd is running already") {
		t.Errorf("the second make run says\n%s", out)
	}
	do("make stop")
	if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		t.Error("the port answers after make stop")
	}
	do("make clean")
	for _, left := range lab.Leftovers(t, dir, name) {
		t.Errorf("left behind: %s", left)
	}
	if ignored := do("cd " + clone + " && ls"); strings.Contains(ignored, "bin\n") {
		t.Error("make clean left bin/")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
