package command

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/mount"
	"pier/kernel/tty"
	"pier/runtime/criu/criutest"
)

// quiet runs one command whose container has no output that lies in a file of the host: the size of such a file is part of
// a checkpoint.
func (b *bench) quiet(args ...string) (int, string) {
	b.Helper()
	log := filepath.Join(b.TempDir(), "log")
	cmd := b.command(append([]string{"--log", log}, args...)...)
	_ = cmd.Run()
	said, _ := os.ReadFile(log)
	return cmd.ProcessState.ExitCode(), string(said)
}

func (b *bench) done(args ...string) {
	b.Helper()
	if code, said := b.quiet(args...); code != 0 {
		b.Fatalf("%v: status %d: %s", args, code, said)
	}
}

// Without a criu that works a checkpoint is refused, and the container goes on. The other tests of checkpoints have nothing to look
// at then, which the skip of this one shows.
func TestCheckpointWithoutCRIU(t *testing.T) {
	lacking := criutest.Lacking()
	if lacking == nil {
		return
	}
	b := counting(t)
	b.done("run", "-d", "c")
	n := b.told(b.bundle, 3)
	if code, said := b.quiet("checkpoint", "--image-path", filepath.Join(t.TempDir(), "images"), "c"); code != 1 || !strings.Contains(said, "criu") {
		t.Errorf("checkpoint without criu: %d, %s", code, said)
	}
	b.told(b.bundle, n)
	t.Skipf("no criu here that works (%v): checkpoints were not looked at, but for what is refused", lacking)
}

// counting is the bench of a container that counts in memory; told is what it told last, in a file of its root.
func counting(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, "sh", "-c", "exec 5>/told; i=0; while :; do i=$((i+1)); echo $i >&5; usleep 20000; done")
	b.must(os.Symlink("busybox", filepath.Join(b.bundle, "rootfs/bin/usleep")))
	b.spec.Root.Readonly = false
	b.write()
	return b
}

// told waits until more than n was told in the root of a bundle, and returns it.
func (b *bench) told(bundle string, n int) int {
	b.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(bundle, "rootfs/told"))
		lines := strings.Fields(string(text))
		if len(lines) > 0 {
			if last, err := strconv.Atoi(strings.Trim(lines[len(lines)-1], "\x00")); err == nil && last > n {
				return last
			}
		}
		if time.Now().After(end) {
			b.Fatalf("no more than %d is told: %q", n, text)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	b := counting(t)
	for words, args := range map[string][]string{
		"--manage-cgroups-mode full is not supported": {"--manage-cgroups-mode", "full"},
		"want soft, ignore, full or strict":           {"--manage-cgroups-mode", "other"},
		"--empty-ns ipc is not supported":             {"--empty-ns", "ipc"},
		"--page-server":                               {"--page-server", "nowhere"},
		"--status-fd":                                 {"--status-fd", "1"},
		"does not exist":                              {},
	} {
		b.refused(words, append(append([]string{"checkpoint"}, args...), "c")...)
	}
	b.refused("--no-pivot is not supported", "restore", "--no-pivot", "c")
	images, work := filepath.Join(t.TempDir(), "images"), filepath.Join(t.TempDir(), "work")
	b.refused("no such file", "restore", "--image-path", images, "c")

	b.done("create", "c")
	b.refused("only one that runs can be saved", "checkpoint", "--image-path", images, "c")
	b.done("start", "c")
	b.told(b.bundle, 3)
	b.done("checkpoint", "--leave-running", "--image-path", images, "--work-path", work, "c")
	if _, err := os.Stat(filepath.Join(work, "dump.log")); err != nil {
		t.Error(err)
	}
	seen := b.told(b.bundle, 0)
	if b.told(b.bundle, seen); b.status() != "running" {
		t.Errorf("it is %s", b.status())
	}
	b.must(os.RemoveAll(images))
	b.done("pause", "c")
	b.done("checkpoint", "--image-path", images, "--work-path", work, "c")
	b.refused("does not exist", "state", "c")

	// In a bundle elsewhere, as on another machine: what is not in the checkpoint is a copy.
	other := t.TempDir()
	if out, err := exec.Command("/bin/busybox", "cp", "-a", b.bundle+"/.", other).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen = b.told(b.bundle, 0)
	pidFile := filepath.Join(work, "pid")
	b.done("restore", "-d", "-b", other, "--image-path", images, "--work-path", work, "--pid-file", pidFile, "c")
	b.told(other, seen)
	pid, err := os.ReadFile(pidFile)
	b.must(err)
	if out := b.ok("ps", "--format", "json", "c"); !strings.Contains(out, string(pid)) || b.status() != "running" {
		t.Errorf("process %s; there are %s, and it is %s", pid, out, b.status())
	}
	if now := b.told(b.bundle, 0); now != seen {
		t.Errorf("in the first bundle it has told %d, and %d before", now, seen)
	}
	b.refused("already exists", "restore", "-d", "--image-path", images, "c")
	b.ok("exec", "c", "touch", "/entered")
	b.ok("delete", "--force", "c")

	// The same checkpoint once more, and in the foreground, with the end of its process.
	cmd := b.command("restore", "--image-path", images, "--work-path", work, "c")
	b.must(cmd.Start())
	b.told(b.bundle, seen)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) { // it runs a moment before it is known
		if code, out := b.run("state", "c"); code == 0 && strings.Contains(out, `"running"`) {
			break
		} else if time.Now().After(end) {
			t.Fatal("the container is not known")
		}
	}
	b.ok("kill", "c", "KILL")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 137 {
		t.Errorf("it ended with %d", code)
	}
	// What was mounted then and is not now.
	b.spec.Mounts = b.spec.Mounts[:1]
	b.write()
	if code, said := b.quiet("restore", "-d", "--image-path", images, "--work-path", work, "c"); code != 1 || !strings.Contains(said, "mount") {
		t.Errorf("restore with other mounts: %d, %s", code, said)
	}
}

// What a restore that was killed has left on the host goes with delete, and nothing of the root goes with it.
func TestDeleteOfHalfARestore(t *testing.T) {
	b := newBench(t, "sleep", "1000")
	b.done("create", "c")
	place := filepath.Join(b.root, "c", stageDir, "root")
	b.must(os.MkdirAll(place, 0o700))
	rootfs := filepath.Join(b.bundle, "rootfs")
	tree, err := mount.OpenTree(rootfs, false)
	b.must(err)
	defer tree.Close()
	for range 2 {
		b.must(mount.Attach(tree, place))
		tree, err = mount.OpenTree(rootfs, false)
		b.must(err)
		defer tree.Close()
	}
	b.ok("delete", "--force", "c")
	if _, err := os.Stat(filepath.Join(rootfs, "bin/busybox")); err != nil {
		t.Error(err)
	}
	// One that was killed before it was known.
	b.must(os.MkdirAll(place, 0o700))
	b.must(mount.Attach(tree, place))
	b.ok("delete", "--force", "c")
	if _, err := os.Stat(filepath.Join(rootfs, "bin/busybox")); err != nil {
		t.Error(err)
	}
}

// A first dump of memory alone, and then one of what has changed: where the kernel tells that.
func TestCheckpointInTwoSteps(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	b := counting(t)
	b.done("run", "-d", "c")
	b.told(b.bundle, 3)
	dir := t.TempDir()
	code, said := b.quiet("checkpoint", "--pre-dump", "--empty-ns", "network", "--image-path", filepath.Join(dir, "first"), "c")
	if code != 0 && strings.Contains(said, "CONFIG_MEM_SOFT_DIRTY") {
		t.Log(said)
		return
	}
	if code != 0 || b.status() != "running" {
		t.Fatalf("status %d: %s; it is %s", code, said, b.status())
	}
	b.done("checkpoint", "--parent-path", "../first", "--empty-ns", "network", "--image-path", filepath.Join(dir, "second"), "c")
	seen := b.told(b.bundle, 0)
	b.done("restore", "-d", "--empty-ns", "network", "--image-path", filepath.Join(dir, "second"), "c")
	b.told(b.bundle, seen)
}

// The terminal of what is restored goes to the console socket.
func TestCheckpointOfTerminal(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	b := newBench(t, "sh", "-c", "while read x; do echo got $x; done")
	b.spec.Process.Terminal = true
	b.write()
	socket := filepath.Join(b.bundle, "tty.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	b.must(err)
	defer l.Close()
	talk := func(args ...string) {
		t.Helper()
		master := make(chan *os.File, 1)
		go func() {
			defer close(master)
			if conn, err := l.AcceptUnix(); err == nil {
				defer conn.Close()
				if f, err := tty.Receive(conn); err == nil {
					master <- f
				}
			}
		}()
		b.done(append(args, "--console-socket", socket, "c")...)
		f := <-master
		if f == nil {
			t.Fatal("no terminal came")
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.WriteString("word\n"); err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(f); ; {
			if !s.Scan() {
				t.Fatalf("the terminal ended: %v", s.Err())
			}
			if strings.Contains(s.Text(), "got word") {
				return
			}
		}
	}
	talk("run", "-d")
	images := filepath.Join(t.TempDir(), "images")
	b.done("checkpoint", "--empty-ns", "network", "--image-path", images, "c") // what is in it, criu saves by other programs
	talk("restore", "-d", "--empty-ns", "network", "--image-path", images)
}

// What of a checkpoint is more than the configuration has does not run.
func TestCheckpointForbidden(t *testing.T) {
	if criutest.Lacking() != nil {
		return
	}
	b := counting(t)
	b.done("run", "-d", "c")
	b.told(b.bundle, 3)
	images := filepath.Join(t.TempDir(), "images")
	b.done("checkpoint", "--empty-ns", "network", "--image-path", images, "c")
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{}
	b.write()
	if code, said := b.quiet("restore", "-d", "--empty-ns", "network", "--image-path", images, "c"); code != 1 || !strings.Contains(said, "has more rights than the container") {
		t.Errorf("restore with fewer rights: %d, %s", code, said)
	}
}
