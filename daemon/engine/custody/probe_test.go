package custody

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/cgroup"
	"pier/lib/errkind"
)

// probe asks for a probe of container c, whose user and bounding set p says.
func (b *bench) probe(ctx context.Context, p specs.Process, limit int, timeout time.Duration) (*shim.Probed, error) {
	b.t.Helper()
	p.Cwd, p.Env = "/", []string{"PATH=/bin"}
	text, err := json.Marshal(&p)
	if err != nil {
		b.t.Fatal(err)
	}
	return Probe(ctx, b.Custodian, &shim.Probe{ID: "c", Process: text, Timeout: timeout, Limit: limit})
}

// lonely waits until container c has one process.
func (b *bench) lonely(what string) {
	b.t.Helper()
	g, err := cgroup.Open(b.group + "/c")
	if err != nil {
		b.t.Fatal(err)
	}
	ctx := ctx(b.t)
	for {
		pids, err := g.Procs()
		if err == nil && len(pids) == 1 {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("%s: processes %v, %v, not one", what, pids, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestProbe(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	tracer := &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_PTRACE"}}
	for _, p := range []struct {
		name    string
		process specs.Process
		limit   int
		timeout time.Duration
		want    shim.Probed
	}{
		{"success", specs.Process{Args: []string{"true"}}, 10, time.Minute, shim.Probed{}},
		{"both streams in order", specs.Process{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, 100, time.Minute, shim.Probed{Code: 3, Output: []byte("out\nerr\n")}},
		{"a user", specs.Process{Args: []string{"sh", "-c", "id -u >/dev/stdout; kill -15 $$"}, User: specs.User{UID: 1000, GID: 1000}}, 100, time.Minute,
			shim.Probed{Code: 143, Output: []byte("1000\n")}},
		{"more output than is kept", specs.Process{Args: []string{"sh", "-c", "yes | head -c 1000000; exit 4"}}, 5, time.Minute, shim.Probed{Code: 4, Output: []byte("y\ny\ny")}},
		{"none is kept", specs.Process{Args: []string{"sh", "-c", "yes | head -c 1000000"}}, 0, time.Minute, shim.Probed{}},
		{"too long", specs.Process{Args: []string{"sh", "-c", "echo now; exec sleep 1000"}}, 100, 300 * time.Millisecond, shim.Probed{TimedOut: true, Output: []byte("now\n")}},
		{"closed output", specs.Process{Args: []string{"sh", "-c", "exec >/dev/null 2>&1; sleep 0.2; exit 5"}}, 100, time.Minute, shim.Probed{Code: 5}},
		{"a tracer", specs.Process{Args: []string{"sh", "-c", "echo seen; exit 6"}, Capabilities: tracer}, 100, time.Minute, shim.Probed{Code: 6, Output: []byte("seen\n")}},
		{"beside a tracer", specs.Process{Args: []string{"sh", "-c", "exit 7"}}, 100, time.Minute, shim.Probed{Code: 7}},
	} {
		got, err := b.probe(ctx(t), p.process, p.limit, p.timeout)
		if err != nil || got.Code != p.want.Code && !p.want.TimedOut || string(got.Output) != string(p.want.Output) || got.TimedOut != p.want.TimedOut {
			t.Errorf("%s: %+v, %v", p.name, got, err)
		}
		b.lonely(p.name)
	}
	// What a probe leaves behind does not keep it from ending.
	got, err := b.probe(ctx(t), specs.Process{Args: []string{"sh", "-c", "sleep 1000 & echo left"}}, 100, time.Minute)
	if err != nil || got.Code != 0 || got.TimedOut || string(got.Output) != "left\n" {
		t.Errorf("with something in the background: %+v, %v", got, err)
	}
	_, err = b.probe(ctx(t), specs.Process{Args: []string{"nosuch"}}, 100, time.Minute)
	var failed *shim.Error
	if !errors.As(err, &failed) || syscall.Errno(failed.Errno) != syscall.ENOENT || failed.Call != "execve" {
		t.Errorf("a command that is missing: %v", err)
	}
	if _, err := Probe(ctx(t), b.Custodian, &shim.Probe{ID: "nosuch", Timeout: time.Second}); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("no container: %v", err)
	}
	if _, err := Probe(ctx(t), b.Custodian, &shim.Probe{ID: "c", Timeout: time.Second, Limit: shim.MaxProbeOutput + 1}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("too much output: %v", err)
	}
}

// A supervisor remembers what the last key stands for, and its successor does not.
func TestProbeKey(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	ask := func(key, code string) shim.Probe {
		text, err := json.Marshal(&specs.Process{Args: []string{"sh", "-c", "exit " + code}, Cwd: "/", Env: []string{"PATH=/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		return shim.Probe{ID: "c", Key: key, Process: text, Timeout: time.Minute}
	}
	check := func(p shim.Probe, want int) {
		t.Helper()
		if got, err := Probe(ctx(t), b.Custodian, &p); err != nil || got.Missing || got.Code != want {
			t.Errorf("%+v, %v, not %d", got, err, want)
		}
	}
	check(ask("one", "1"), 1)
	check(ask("one", "2"), 1)
	check(ask("two", "2"), 2)
	check(ask("one", "3"), 3)
	if err := b.Upgrade(ctx(t)); err != nil {
		t.Fatal(err)
	}
	check(ask("one", "4"), 4)
}

// A probe ends with who asked for it, and with the supervisor, by its death or an upgrade, which tell nothing of the
// container.
func TestProbeCutShort(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	sign := filepath.Join(b.rootfs, "tmp", "begun")
	if err := os.Chmod(filepath.Dir(sign), 0o777); err != nil {
		t.Fatal(err)
	}
	long := specs.Process{Args: []string{"sh", "-c", ": >/tmp/begun; exec sleep 1000"}}
	user, tracer := long, long
	user.User = specs.User{UID: 1000, GID: 1000}
	caps := []string{"CAP_SYS_PTRACE"}
	tracer.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	kill := func() { killHard(t, b.SupervisorPid()) }
	for _, p := range []struct {
		name    string
		process specs.Process
		cut     func()
	}{
		{"caller", long, nil},
		{"upgrade", long, func() {
			if err := b.Upgrade(ctx(t)); err != nil {
				t.Error(err)
			}
		}},
		{"supervisor", long, kill},
		{"supervisor, a user's", user, kill},
		{"supervisor, a tracer's", tracer, kill},
	} {
		asked, cancel := context.WithCancel(ctx(t))
		done := make(chan error, 1)
		go func() {
			_, err := b.probe(asked, p.process, 100, time.Hour)
			done <- err
		}()
		for os.Remove(sign) != nil {
			time.Sleep(time.Millisecond)
		}
		if p.cut == nil {
			cancel()
		} else {
			p.cut()
		}
		if err := <-done; p.cut != nil && !errkind.Is(err, errkind.Unavailable) || err == nil {
			t.Errorf("%s: %v", p.name, err)
		}
		cancel()
		b.lonely(p.name)
		got, err := b.probe(ctx(t), specs.Process{Args: []string{"true"}}, 0, time.Minute)
		for errkind.Is(err, errkind.Unavailable) { // the death is about to be noticed
			time.Sleep(time.Millisecond)
			got, err = b.probe(ctx(t), specs.Process{Args: []string{"true"}}, 0, time.Minute)
		}
		if err != nil || got.Code != 0 {
			t.Errorf("%s: the next probe: %+v, %v", p.name, got, err)
		}
	}
}
