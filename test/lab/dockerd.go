package lab

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/sys/signal"

	"pier/lib/id"
)

// Dockerd is a running Docker Engine of Debian's, with roots and cgroup of its own. It belongs to one test.
type Dockerd struct {
	Socket string
	Group  string // parent of its containers' cgroups

	enter []string
}

// StartDockerd starts dockerd for the length of the test, with flags added and the words of enter, such as nsenter, before
// its command line. Afterwards nothing of it is left; the test removes its containers.
func StartDockerd(t testing.TB, enter []string, flags ...string) *Dockerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "pier-docker-") // a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	d := &Dockerd{Socket: dir + "/sock", Group: "/pier-test-docker-" + id.New()[:8], enter: enter}
	words := slices.Concat(enter, []string{"dockerd", "--data-root", dir + "/data", "--exec-root", dir + "/x", "-H", "unix://" + d.Socket, "-p", dir + "/pid",
		"--config-file", dir + "/daemon.json", "--log-level", "warn", "--cgroup-parent", d.Group}, flags)
	cmd := exec.Command(words[0], words[1:]...)
	log, err := os.Create(dir + "/log")
	if err == nil {
		err = os.WriteFile(dir+"/daemon.json", []byte("{}"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	_, err = os.Stat("/etc/docker")
	hadFolder := err == nil // dockerd writes a key there, whatever its flags
	before := deadShims()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal("this test needs docker.io (scripts/setup.sh test installs it): ", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(signal.SignalMap["TERM"])
		_ = cmd.Wait()
		RemoveGroups(t, d.Group)
		for _, socket := range deadShims() {
			if !slices.Contains(before, socket) {
				_ = os.Remove(socket)
			}
		}
		if !hadFolder {
			_ = os.RemoveAll("/etc/docker")
		}
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("log of dockerd:\n%s", text)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	Eventually(t, "dockerd to answer", func() error {
		if out, err := d.Command("version").CombinedOutput(); err != nil {
			return errors.New(string(out))
		}
		return nil
	})
	return d
}

// Command is a command of docker's, to be run.
func (d *Dockerd) Command(args ...string) *exec.Cmd {
	words := slices.Concat(d.enter, []string{"docker", "-H", "unix://" + d.Socket}, args)
	return exec.Command(words[0], words[1:]...)
}

// RemoveGroups removes the cgroup group and what podman makes in it for its monitors, in all hierarchies.
func RemoveGroups(t testing.TB, group string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup" + group, "/sys/fs/cgroup/*" + group} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			Eventually(t, "the end of the cgroups", func() error { // what was in them may still be ending
				_ = os.Remove(dir + "/conmon")
				return os.Remove(dir)
			})
		}
	}
}

// deadShims lists the sockets of Docker's shims that nobody serves: they stay after their containers.
func deadShims() (dead []string) {
	paths, _ := filepath.Glob("/run/containerd/s/*")
	for _, path := range paths {
		conn, err := net.Dial("unix", path)
		if err != nil {
			dead = append(dead, path)
			continue
		}
		_ = conn.Close()
	}
	return dead
}
