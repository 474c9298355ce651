package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// one is Probes of one.
func one(ctx context.Context, c *Custodian, p *shim.Probe) (ended *shim.Probed, err error) {
	Probes(ctx, c, []shim.Probe{*p}, func(_ int, e *shim.Probed, why error) { ended, err = e, why })
	return ended, err
}

// probe asks for a probe of container c, whose user and bounding set p says.
func (b *bench) probe(ctx context.Context, p specs.Process, limit int, timeout time.Duration) (*shim.Probed, error) {
	b.t.Helper()
	p.Cwd, p.Env = "/", []string{"PATH=/bin"}
	text, err := json.Marshal(&p)
	if err != nil {
		b.t.Fatal(err)
	}
	return one(ctx, b.Custodian, &shim.Probe{ID: "c", Process: text, Timeout: timeout, Limit: limit})
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
	// One that takes too long: what it has said by then is there. A machine may be too busy for it to say anything.
	late, err := &shim.Probed{}, error(nil)
	for timeout := 300 * time.Millisecond; len(late.Output) == 0 && timeout < time.Minute; timeout *= 2 {
		late, err = b.probe(ctx(t), specs.Process{Args: []string{"sh", "-c", "echo now; exec sleep 1000"}}, 100, timeout)
		if err != nil || !late.TimedOut {
			t.Fatalf("too long: %+v, %v", late, err)
		}
		b.lonely("too long")
	}
	if string(late.Output) != "now\n" {
		t.Errorf("too long: %+v", late)
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
	if _, err := one(ctx(t), b.Custodian, &shim.Probe{ID: "nosuch", Timeout: time.Second}); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("no container: %v", err)
	}
	if _, err := one(ctx(t), b.Custodian, &shim.Probe{ID: "c", Timeout: time.Second, Limit: shim.MaxProbeOutput + 1}); !errkind.Is(err, errkind.Invalid) {
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
		if got, err := one(ctx(t), b.Custodian, &p); err != nil || got.Missing || got.Code != want {
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

// Of the probes of one request none waits for another: one that takes long, one that is stuck on its way, one that fails.
func TestProbesTogether(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"c", "frozen"} {
		b.run(name, shim.Stdio{}, "sleep", "1000")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Freeze(ctx(t), shim.Freeze{ID: "frozen", On: true}))
	text := func(script string) []byte {
		out, err := json.Marshal(&specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}})
		must(err)
		return out
	}
	ask := func(id, script string, timeout time.Duration) shim.Probe {
		return shim.Probe{ID: id, Process: text(script), Timeout: timeout, Limit: 100}
	}
	asked, cancel := context.WithCancel(ctx(t))
	defer cancel()
	all := []shim.Probe{
		ask("frozen", "exit 1", time.Hour),
		ask("c", "echo slow; sleep 1000", time.Hour),
		ask("nosuch", "true", time.Hour),
		ask("c", "exit 4", time.Hour),
		ask("c", "echo late; sleep 1000", 300*time.Millisecond),
		ask("frozen", "exit 5", time.Hour),
		ask("c", "sleep 0.1; exit 6", time.Hour),
		{ID: "c", Key: "key", Process: text("exit 7"), Timeout: time.Hour},
		{ID: "c", Key: "key", Process: text("exit 7"), Timeout: time.Hour},
	}
	type end struct {
		i     int
		ended *shim.Probed
		err   error
	}
	ends, done := make(chan end, len(all)), make(chan struct{})
	go func() {
		defer close(done)
		Probes(asked, b.Custodian, all, func(i int, ended *shim.Probed, err error) { ends <- end{i, ended, err} })
	}()
	got := map[int]end{}
	await := func(i int) {
		t.Helper()
		for {
			if _, ended := got[i]; ended {
				return
			}
			select {
			case e := <-ends:
				if _, twice := got[e.i]; twice {
					t.Errorf("%d is told twice", e.i)
				}
				got[e.i] = e
			case <-asked.Done():
				t.Fatalf("%d has not ended", i)
			}
		}
	}
	for _, i := range []int{2, 3, 4, 6, 7, 8} {
		await(i)
	}
	must(b.Freeze(ctx(t), shim.Freeze{ID: "frozen"}))
	await(0)
	await(5)
	// One that is late may have had no time to say so.
	for timeout := time.Second; got[4].ended != nil && len(got[4].ended.Output) == 0 && timeout < time.Minute; timeout *= 2 {
		again := []shim.Probe{ask("c", "echo late; sleep 1000", timeout), ask("c", "exit 4", time.Hour)}
		ends := make(chan end, len(again))
		Probes(asked, b.Custodian, again, func(i int, ended *shim.Probed, err error) { ends <- end{4 - i, ended, err} })
		for range again {
			e := <-ends
			got[e.i] = e
		}
	}
	for i, want := range map[int]shim.Probed{0: {Code: 1}, 3: {Code: 4}, 4: {TimedOut: true, Output: []byte("late\n")}, 5: {Code: 5}, 6: {Code: 6}, 7: {Code: 7}, 8: {Code: 7}} {
		if e := got[i]; e.err != nil || e.ended == nil || e.ended.TimedOut != want.TimedOut || string(e.ended.Output) != string(want.Output) ||
			!want.TimedOut && e.ended.Code != want.Code {
			t.Errorf("%d: %+v, %v", i, e.ended, e.err)
		}
	}
	if e := got[2]; !errkind.Is(e.err, errkind.NotFound) {
		t.Errorf("no container: %+v, %v", e.ended, e.err)
	}
	cancel() // the one that would take an hour
	<-done
	if e := <-ends; e.err == nil || e.i != 1 {
		t.Errorf("%d after the end of the caller: %+v, %v", e.i, e.ended, e.err)
	}
	b.lonely("c")
}

// What is kept for a container that is probed often goes with it, and does not outlive a change.
func TestProbeOften(t *testing.T) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	files := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.SupervisorPid()))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	probe := func(key, script string) (code int) {
		t.Helper()
		text, err := json.Marshal(&specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		ended, err := one(ctx(t), b.Custodian, &shim.Probe{ID: "c", Key: key, Process: text, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return ended.Code
	}
	probe("one", "exit 0")
	before := files()
	for range 20 {
		if code := probe("one", "exit 5"); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
	for _, key := range []string{"two", "three"} {
		for range 3 {
			if code := probe(key, "exit 5"); code != 5 {
				t.Fatalf("exit code %d", code)
			}
		}
	}
	eventually(t, "descriptors", before+2, files)
	if err := b.Signal(ctx(t), shim.Signal{TaskRef: shim.TaskRef{ID: "c"}, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	b.exit(shim.TaskRef{ID: "c"})
	if _, err := one(ctx(t), b.Custodian, &shim.Probe{ID: "c", Key: "three", Timeout: time.Minute}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("a probe of a container that has ended: %v", err)
	}
}
