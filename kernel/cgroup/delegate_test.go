package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pier/lib/errkind"
)

// TestBare tells hierarchies with controllers from those without.
func TestBare(t *testing.T) {
	if unified() {
		t.Skip("there are no v1 hierarchies")
	}
	c := group(t, nil)
	for controller, dir := range c.byName {
		if bare, err := Bare(dir); err != nil || bare && controller != systemdName {
			t.Errorf("%s: %v, %v", controller, bare, err)
		}
	}
	if _, err := Bare("/etc"); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("a folder: %v", err)
	}
}

// TestBareAgent tells what the host would run for a hierarchy.
func TestBareAgent(t *testing.T) {
	dir := t.TempDir()
	h := hierarchy{dir: dir, controllers: []string{systemdName}}
	if !h.bare() {
		t.Error("a part of systemd's hierarchy is not")
	}
	for agent, want := range map[string]bool{"\n": true, "/usr/lib/systemd/systemd-cgroups-agent\n": true, "/sbin/agent.sh\n": false} {
		if err := os.WriteFile(filepath.Join(dir, "release_agent"), []byte(agent), 0o600); err != nil {
			t.Fatal(err)
		}
		if h.bare() != want {
			t.Errorf("agent %q: %v", agent, !want)
		}
	}
	for _, controllers := range [][]string{{"name=openrc"}, {"pids"}, {systemdName, "pids"}} {
		h := hierarchy{dir: t.TempDir(), controllers: controllers}
		if h.bare() {
			t.Errorf("%v is bare", controllers)
		}
	}
}

// TestDelegated lets a process manage a cgroup of its own, with the limits above it.
func TestDelegated(t *testing.T) {
	c := group(t, nil)
	join, err := c.JoinDelegated()
	if err != nil {
		t.Fatal(err)
	}
	defer join.Close()
	if !unified() {
		if len(join.Tasks) != len(c.dirs) {
			t.Errorf("%d files to join %d hierarchies", len(join.Tasks), len(c.dirs))
		}
		return
	}
	if join.Dir.Name() != filepath.Join(c.dirs[0], payload) {
		t.Errorf("it joins %s", join.Dir.Name())
	}
	sleeper := exec.Command("/bin/busybox", "sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	if _, err := c.JoinBeside(sleeper.Process.Pid); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("beside a process that is elsewhere: %v", err)
	}
	inner := filepath.Join(join.Dir.Name(), "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(inner, "cgroup.procs"), strconv.Itoa(sleeper.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	beside, err := c.JoinBeside(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if beside.Dir.Name() != inner {
		t.Errorf("beside the process is %s", beside.Dir.Name())
	}
}

// TestDeleteDeep removes a tree that is deeper than any path can name.
func TestDeleteDeep(t *testing.T) {
	if unified() {
		t.Skip("there is no v1 hierarchy, and on v2 the depth has a limit")
	}
	c := group(t, nil)
	at, err := os.OpenRoot(c.byName["name=systemd"])
	if err != nil {
		t.Skip("no v1 hierarchy without a controller is mounted")
	}
	name := strings.Repeat("x", 200)
	for range 30 {
		if err := at.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := at.Mkdir("sibling", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := at.OpenRoot(name)
		_ = at.Close()
		if err != nil {
			t.Fatal(err)
		}
		at = next
	}
	_ = at.Close()
	if err := c.Delete(); err != nil {
		t.Error(err)
	}
}
