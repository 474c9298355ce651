package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var bin string

// killedEnv makes this program a test that is killed.
const killedEnv = "PIER_TEST_LAB_KILLED"

func TestMain(m *testing.M) { Main(m, &bin) }

// TestSweep kills a test while its containers run, one of them frozen, and with a second network; what it left goes, and
// what the living have stays.
func TestSweep(t *testing.T) {
	if os.Getenv(killedEnv) != "" {
		d := Start(t, bin)
		d.Pier("import", Busybox(t, os.Getenv(killedEnv)), "busybox")
		d.Pier("network", "create", "-o", "com.docker.network.bridge.name="+d.Name+"x", "second")
		for _, name := range []string{"one", "two"} {
			d.Pier("run", "-d", "--name", name, "--net", "second", "-p", "127.0.0.1::80", "-v", "data:/data", "busybox", "sleep", "1000")
		}
		d.Pier("pause", "two")
		fmt.Printf("holds %s %s\n", d.Name, d.Dir)
		time.Sleep(time.Hour)
		return
	}
	living := Start(t, bin)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSweep$")
	cmd.Env = append(os.Environ(), killedEnv+"="+t.TempDir(), "PIER_BIN="+bin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var name, dir string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
		if n, _ := fmt.Sscanf(lines.Text(), "holds %s %s", &name, &dir); n == 2 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil || dir == "" {
		t.Fatalf("the test to be killed: in %q, %v", dir, err)
	}
	_ = cmd.Wait()
	if left := strings.Join(Leftovers(t, dir, name), "\n"); !strings.Contains(left, "cgroup") || !strings.Contains(left, "process") ||
		!strings.Contains(left, "interface") {
		t.Errorf("it left only:\n%s", left)
	}
	swept, err := Sweep(bin)
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(strings.Join(swept, " "), name) {
		t.Errorf("cleared up: %v, not %s", swept, name)
	}
	if left := Leftovers(t, dir, name); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
	living.Pier("version")
}

// TestSweepByHand has nothing to go by but the lease: pierd and its data are gone, and a process of a container stands still.
func TestSweepByHand(t *testing.T) {
	d := Start(t, bin)
	d.Pier("import", Busybox(t, t.TempDir()), "busybox")
	d.Pier("run", "-d", "--name", "one", "busybox", "sleep", "1000")
	d.Pier("pause", "one")
	_ = d.Signal(os.Kill)
	l := &lease{Name: d.Name, Dir: d.Dir, Started: "1", Boot: boot(), path: d.Dir + "/none"}
	if err := l.sweep(bin); err != nil {
		t.Error(err)
	}
	if left := Leftovers(t, d.Dir, d.Name); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil { // for the end of this test
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Dir+"/pierd.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A lease is dead where its test is gone for certain, and only there.
func TestDead(t *testing.T) {
	began, err := started(os.Getpid())
	if err != nil || began == "" {
		t.Fatalf("this test began at %q, %v", began, err)
	}
	own := lease{Pid: os.Getpid(), Started: began, Boot: boot(), Numbers: numbers()}
	const free = 1<<22 + 1 // no process has such a number
	for _, x := range []struct {
		what   string
		change func(l *lease)
		want   bool
	}{
		{"its own", func(*lease) {}, false},
		{"one of before the last boot", func(l *lease) { l.Boot = "another" }, true},
		{"one whose number nobody has", func(l *lease) { l.Pid = free }, true},
		{"one whose number another process has", func(l *lease) { l.Started = "1" }, true},
		{"one of a namespace with other numbers", func(l *lease) { l.Pid, l.Numbers = free, "pid:[1]" }, false},
	} {
		l := own
		if x.change(&l); l.dead() != x.want {
			t.Errorf("%s: dead is %v", x.what, !x.want)
		}
	}
}
