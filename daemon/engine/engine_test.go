package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"pier/daemon/engine/internal/streams"
	"pier/daemon/image/layer"
	"pier/daemon/volume"
	"pier/lib/errkind"
)

func TestRun(t *testing.T) {
	r := newRig(t)
	head := r.events.Tail()
	out, code := r.run(nil, "sh", "-c", "echo out; echo err >&2; exit 7")
	if out != "out\nerr\n" && out != "err\nout\n" || code != 7 {
		t.Errorf("output %q, code %d", out, code)
	}
	var said []string
	for {
		m, _, ok := head.TryNext()
		if !ok {
			break
		}
		if m.Type == events.ContainerEventType {
			said = append(said, string(m.Action))
		}
	}
	if got := strings.Join(said, " "); got != "create attach start die" {
		t.Errorf("events %q", got)
	}
	for name, tt := range map[string]struct {
		f    setup
		cmd  string
		want string
	}{
		"user":      {func(c *container.Config, _ *container.HostConfig) { c.User = "app" }, "id -u; id -G; echo $HOME", "1000\n1001 2000\n/home/app\n"},
		"workdir":   {func(c *container.Config, _ *container.HostConfig) { c.WorkingDir = "/new/dir" }, "pwd", "/new/dir\n"},
		"hostname":  {func(c *container.Config, _ *container.HostConfig) { c.Hostname = "harbour" }, "hostname; cat /etc/hostname; echo $HOSTNAME", "harbour\nharbour\nharbour\n"},
		"env":       {func(c *container.Config, _ *container.HostConfig) { c.Env = []string{"A=b c"} }, "echo $A $PATH", "b c /bin\n"},
		"read-only": {func(_ *container.Config, h *container.HostConfig) { h.ReadonlyRootfs = true }, "touch /x 2>/dev/null || echo refused", "refused\n"},
		"tmpfs":     {func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/scratch": "size=1m"} }, "touch /scratch/x && stat -f -c %T /scratch", "tmpfs\n"},
		"pid 1":     {nil, "echo $$", "1\n"},
		"caps":      {nil, "grep CapBnd /proc/self/status", "CapBnd:\t00000000a80425fb\n"},
		"no caps":   {func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"ALL"} }, "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"},
		"seccomp":   {nil, "grep Seccomp: /proc/self/status", "Seccomp:\t2\n"},
		"nnp":       {func(_ *container.Config, h *container.HostConfig) { h.SecurityOpt = []string{"no-new-privileges"} }, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"},
		"ulimit": {func(_ *container.Config, h *container.HostConfig) {
			h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 100, Hard: 150}, {Name: "nofile", Soft: 123, Hard: 200}}
		}, "ulimit -n; ulimit -Hn", "123\n200\n"},
		"shm":    {func(_ *container.Config, h *container.HostConfig) { h.ShmSize = 1 << 20 }, "stat -f -c '%S %b' /dev/shm", "4096 256\n"},
		"memory": {func(_ *container.Config, h *container.HostConfig) { h.Memory = 64 << 20 }, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max", "67108864\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := r.run(tt.f, "sh", "-c", tt.cmd)
			if out != tt.want || code != 0 {
				t.Errorf("%s: %q, code %d; want %q", tt.cmd, out, code, tt.want)
			}
		})
	}
}

func TestAutoRemove(t *testing.T) {
	r := newRig(t)
	var cid string
	out, code := r.run(func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true }, "sh", "-c", "echo hi; exit 3")
	if out != "hi\n" || code != 3 {
		t.Errorf("%q, %d", out, code)
	}
	if n := len(r.index.All()); n != 0 {
		t.Errorf("%d containers are left", n)
	}
	cid = r.create("gone", func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true }, "nosuch")
	if _, _, err := r.finish(cid); err == nil {
		t.Error("a command that does not exist ran")
	}
	if _, err := r.Containers().Inspect(context.Background(), "gone", false); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("a --rm container that could not start: %v", err)
	}
}

// TestFailedStarts pins the words by which Docker's command line chooses its exit code, and what remains.
func TestFailedStarts(t *testing.T) {
	r := newRig(t)
	for name, tt := range map[string]struct {
		f    setup
		cmd  string
		want string
		code int
	}{
		"not found":      {nil, "nosuch", `exec: "nosuch": executable file not found in $PATH`, 127},
		"no file":        {nil, "/bin/nosuch", "no such file or directory", 127},
		"not executable": {nil, "/bin/notexec", "permission denied", 126},
		"a directory":    {nil, "/bin", "permission denied", 126},
		"garbage":        {nil, "/bin/garbage", "exec format error", 126},
		"unknown user":   {func(c *container.Config, _ *container.HostConfig) { c.User = "nobodyhere" }, "true", "unable to find user nobodyhere: no matching entries in passwd file", 128},
		"missing bind": {func(_ *container.Config, h *container.HostConfig) {
			h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: r.dir + "/late", Target: "/x"}}
		}, "true", "bind source path does not exist", 128},
	} {
		t.Run(name, func(t *testing.T) {
			late := r.dir + "/late"
			_ = os.Mkdir(late, 0o755)
			cid := r.create("", tt.f, tt.cmd)
			_ = os.Remove(late)
			_, _, err := r.finish(cid)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("start: %v, want %q", err, tt.want)
			}
			if errkind.Is(err, errkind.NotFound) {
				t.Errorf("a container that was found is told as not found: %v", err)
			}
			i := r.inspect(cid)
			if i.State.Status != container.StateCreated || i.State.ExitCode != tt.code || i.State.Error == "" {
				t.Errorf("state %+v", i.State)
			}
		})
	}
}

func TestStop(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cs := r.Containers()
	cid := r.create("web", nil, "sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
	r.must(cs.Start(ctx, cid))
	if err := cs.Start(ctx, "web"); !errkind.Is(err, errkind.NotModified) {
		t.Errorf("second start: %v", err)
	}
	if err := cs.Remove(ctx, "web", RemoveOptions{}); !errkind.Is(err, errkind.Conflict) {
		t.Errorf("remove of a running container: %v", err)
	}
	r.ready(cid)
	r.must(cs.Stop(ctx, cid[:12], StopOptions{}))
	if s := r.inspect("web").State; s.ExitCode != 42 || s.Status != container.StateExited || s.Pid != 0 {
		t.Errorf("after stop: %+v", s)
	}
	if err := cs.Stop(ctx, "web", StopOptions{}); !errkind.Is(err, errkind.NotModified) {
		t.Errorf("second stop: %v", err)
	}
	if err := cs.Kill(ctx, "web", "HUP"); !errkind.Is(err, errkind.Conflict) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("kill of a stopped container: %v", err)
	}
	r.must(cs.Restart(ctx, "web", StopOptions{}))
	zero := 0
	r.must(cs.Stop(ctx, "web", StopOptions{Signal: "USR2", Timeout: &zero}))
	if s := r.inspect("web").State; s.Running {
		t.Errorf("after stop with no patience: %+v", s)
	}
	r.must(cs.Start(ctx, "web"))
	r.must(cs.Pause(ctx, "web"))
	if s := r.inspect("web").State; s.Status != container.StatePaused {
		t.Errorf("paused: %+v", s)
	}
	r.must(cs.Stop(ctx, "web", StopOptions{Timeout: &zero}))
	r.must(cs.Start(ctx, "web"))
	r.must(cs.Kill(ctx, "web", ""))
	if s := r.inspect("web").State; s.ExitCode != 137 {
		t.Errorf("after kill: %+v", s)
	}
	r.create("rm", func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true }, "sleep", "60")
	r.must(cs.Start(ctx, "rm"))
	r.must(cs.Restart(ctx, "rm", StopOptions{Timeout: &zero}))
	r.must(cs.Stop(ctx, "rm", StopOptions{Timeout: &zero}))
	r.eventually("the --rm container gone", func() bool { _, err := r.index.Find("rm"); return err != nil })
	r.must(cs.Rename(ctx, "web", "web2"))
	r.must(cs.Start(ctx, "web2"))
	r.must(cs.Remove(ctx, "web2", RemoveOptions{Force: true}))
	if _, err := cs.Inspect(ctx, cid, false); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("after removal: %v", err)
	}
}

func TestExec(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("target", func(_ *container.Config, h *container.HostConfig) {
		h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 123, Hard: 200}}
	}, "sleep", "60")
	r.must(r.Containers().Start(ctx, cid))
	xs := r.Execs()
	run := func(q container.ExecCreateRequest, input string) (string, int) {
		t.Helper()
		q.AttachStdout, q.AttachStderr = true, true
		x, err := xs.Create(ctx, "target", q)
		r.must(err)
		s, err := xs.Start(ctx, x.ID, ExecStartOptions{})
		r.must(err)
		defer s.Close()
		if input != "" {
			r.must(xs.Resize(ctx, x.ID, 80, 24)) // it has no terminal: nothing to do
			_, err := io.WriteString(s, input)
			r.must(err)
		}
		r.must(s.CloseWrite())
		out := r.read(s)
		i, err := xs.Inspect(ctx, x.ID)
		r.must(err)
		if i.Running || i.ExitCode == nil {
			t.Fatalf("after its output's end: %+v", i)
		}
		return out, *i.ExitCode
	}
	for _, tt := range []struct {
		q         container.ExecCreateRequest
		in, want  string
		code      int
		substring bool
	}{
		{container.ExecCreateRequest{Cmd: []string{"sh", "-c", "echo hi; exit 5"}}, "", "hi\n", 5, false},
		{container.ExecCreateRequest{Cmd: []string{"cat"}, AttachStdin: true}, "typed", "typed", 0, false},
		{container.ExecCreateRequest{Cmd: []string{"sh", "-c", "id -u; pwd; echo $X"}, User: "app", WorkingDir: "/tmp", Env: []string{"X=y"}}, "", "1000\n/tmp\ny\n", 0, false},
		{container.ExecCreateRequest{Cmd: []string{"stty", "size"}, Tty: true, ConsoleSize: &[2]uint{33, 99}}, "", "33 99\r\n", 0, false},
		{container.ExecCreateRequest{Cmd: []string{"sh", "-c", "ulimit -n; ulimit -Hn"}}, "", "123\n200\n", 0, false},
		{container.ExecCreateRequest{Cmd: []string{"nosuch"}}, "", "executable file not found in $PATH", 127, true},
		{container.ExecCreateRequest{Cmd: []string{"/bin/notexec"}}, "", "permission denied", 126, true},
		{container.ExecCreateRequest{Cmd: []string{""}}, "", "executable file not found in $PATH", 127, true},
		{container.ExecCreateRequest{Cmd: []string{"id"}, User: "nobodyhere"}, "", "unable to find user nobodyhere: no matching entries in passwd file", 126, true},
		{container.ExecCreateRequest{Cmd: []string{"true"}, WorkingDir: "rel"}, "", "OCI runtime exec failed: exec failed: Cwd must be an absolute path", 126, true},
	} {
		out, code := run(tt.q, tt.in)
		if code != tt.code || out != tt.want && !(tt.substring && strings.Contains(out, tt.want)) {
			t.Errorf("exec %q: %q, code %d; want %q, %d", tt.q.Cmd, out, code, tt.want, tt.code)
		}
	}
	top, err := r.Containers().Top(ctx, "target", nil)
	if err != nil || len(top.Processes) != 1 || top.Titles[1] != "PID" {
		t.Errorf("top: %+v, %v", top, err)
	}
}

func TestAttachInput(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("", func(c *container.Config, _ *container.HostConfig) { c.OpenStdin, c.StdinOnce = true, true }, "wc", "-c")
	s, err := r.Streams().Attach(ctx, cid, AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	r.must(err)
	defer s.Close()
	r.must(r.Containers().Start(ctx, cid))
	r.must(r.Streams().Resize(ctx, cid, 80, 24)) // it has no terminal: nothing to do
	go func() {
		_, _ = s.Write(bytes.Repeat([]byte("x"), 1<<20))
		_ = s.CloseWrite()
	}()
	if out := r.read(s); strings.TrimSpace(out) != "1048576" {
		t.Errorf("%q", out)
	}
}

func TestTerminalAndDetachKeys(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("", func(c *container.Config, _ *container.HostConfig) { c.OpenStdin, c.Tty = true, true }, "sh")
	s, err := r.Streams().Attach(ctx, cid, AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	r.must(err)
	defer s.Close()
	r.must(r.Containers().Start(ctx, cid))
	r.must(r.Streams().Resize(ctx, cid, 77, 22))
	_, err = io.WriteString(s, "stty size\n")
	r.must(err)
	var seen bytes.Buffer
	buf := make([]byte, 512)
	for !strings.Contains(seen.String(), "22 77") {
		n, err := s.Read(buf)
		r.must(err)
		seen.Write(buf[:n])
	}
	go func() { _, _ = io.WriteString(s, "\x10\x11") }()
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Errorf("after the detach keys: %v", err)
	}
	if !r.inspect(cid).State.Running {
		t.Error("detaching ended the container")
	}
}

func TestLogs(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("", func(_ *container.Config, h *container.HostConfig) {
		h.LogConfig.Config = map[string]string{"max-size": "4k", "max-file": "20"}
	}, "sh", "-c", "seq 1 200; until [ -e /go ]; do sleep 0.02; done; echo last >&2")
	r.must(r.Containers().Start(ctx, cid))
	read := func(o LogsOptions) string {
		l, err := r.Streams().Logs(ctx, cid, o)
		r.must(err)
		defer l.Close()
		var out, errs, raw bytes.Buffer
		r.must(l.Copy(ctx, &raw))
		r.must(streams.Split(&raw, &out, &errs))
		return out.String() + errs.String()
	}
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintln(&want, i+1)
	}
	// What goes to two streams at about the same time has no order: the first is in the log before the second begins.
	r.eventually("the log", func() bool { return read(LogsOptions{Stdout: true, Tail: 1}) == "200\n" })
	over, cancel := context.WithCancel(ctx)
	cancel()
	cut := func(o LogsOptions) error {
		l, err := r.Streams().Logs(ctx, cid, o)
		r.must(err)
		defer l.Close()
		return l.Copy(over, io.Discard)
	}
	if err := cut(LogsOptions{Stdout: true, Tail: -1}); err != nil {
		t.Errorf("all of a log: %v", err)
	}
	if err := cut(LogsOptions{Stdout: true, Follow: true, Tail: -1}); !errors.Is(err, context.Canceled) {
		t.Errorf("a log whose follower was cut off: %v", err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond) // it is followed by then, as a rule
		r.exec(cid, "touch", "/go")
	}()
	if got := read(LogsOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}); got != want.String()+"last\n" {
		t.Errorf("followed %d bytes, want %d", len(got), want.Len()+5)
	}
	if files, _ := filepath.Glob(r.logPath(cid) + "*"); len(files) < 3 {
		t.Errorf("the log was not rotated: %v", files)
	}
	if got := read(LogsOptions{Stdout: true, Stderr: true, Tail: 3}); got != "199\n200\nlast\n" {
		t.Errorf("tail: %q", got)
	}
	if got := read(LogsOptions{Stderr: true, Tail: -1}); got != "last\n" {
		t.Errorf("stderr: %q", got)
	}
}

func TestVolumesAndBinds(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	host := filepath.Join(r.dir, "made")
	vols := func(c *container.Config, h *container.HostConfig) {
		h.Binds = []string{host + ":/bound", "named:/data"}
		c.Volumes = map[string]struct{}{"/anon": {}}
	}
	out, code := r.run(vols, "sh", "-c", "cat /data/seed; echo x > /bound/f; echo y >> /data/seed; touch /anon/z")
	if out != "from the image\n" || code != 0 {
		t.Errorf("%q, %d", out, code)
	}
	if b, err := os.ReadFile(filepath.Join(host, "f")); err != nil || string(b) != "x\n" {
		t.Errorf("bind: %q, %v", b, err)
	}
	out, _ = r.run(func(_ *container.Config, h *container.HostConfig) { h.Binds = []string{"named:/data:ro"} }, "sh", "-c", "cat /data/seed; touch /data/x 2>/dev/null || echo ro")
	if out != "from the image\ny\nro\n" {
		t.Errorf("%q", out)
	}
	if n := len(r.o.Volumes.List(filterAll())); n != 2 {
		t.Errorf("%d volumes", n)
	}
	for _, c := range r.index.All() {
		r.must(r.Containers().Remove(ctx, c.id, RemoveOptions{Volumes: true}))
	}
	if list := r.o.Volumes.List(filterAll()); len(list) != 1 || list[0].Name != "named" {
		t.Errorf("after removal: %+v", list)
	}
}

func TestParallelNames(t *testing.T) {
	r := newRig(t)
	var won, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := r.Containers().Create(context.Background(), CreateRequest{Name: "same", Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{NetworkMode: "none"}})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errkind.Is(err, errkind.Conflict) && strings.Contains(err.Error(), `The container name "/same" is already in use by container`):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 19 {
		t.Errorf("%d creators won, %d lost", won, lost)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t)
	cid := r.create("", func(_ *container.Config, h *container.HostConfig) { h.Memory, h.MemorySwap = 16<<20, 16<<20 },
		"sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1")
	_, code, err := r.finish(cid)
	if i := r.inspect(cid); err != nil || code != 137 || !i.State.OOMKilled {
		t.Errorf("more memory than allowed: code %d, %v, %+v", code, err, i.State)
	}
	five := int64(5)
	out, _ := r.run(func(_ *container.Config, h *container.HostConfig) { h.PidsLimit = &five },
		"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>/dev/null; echo never")
	if strings.Contains(out, "never") {
		t.Errorf("more processes than allowed: %q", out)
	}
}

func TestNoSuchImage(t *testing.T) {
	r := newRig(t)
	_, err := r.Containers().Create(context.Background(), CreateRequest{Config: &container.Config{Image: "nosuch"}})
	if !errkind.Is(err, errkind.NotFound) || !strings.Contains(err.Error(), "No such image: nosuch") {
		t.Error(err)
	}
	if err := r.Containers().Start(context.Background(), "nosuch"); !errkind.Is(err, errkind.NotFound) || err.Error() != "No such container: nosuch" {
		t.Error(err)
	}
}

func TestHealthAndRestart(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("checked", func(c *container.Config, _ *container.HostConfig) {
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", "test -e /tmp/ok"}, Interval: 30 * time.Millisecond, Retries: 2}
	}, "sleep", "60")
	r.must(r.Containers().Start(ctx, cid))
	r.eventually("unhealthy", func() bool { return r.inspect("checked").State.Health.Status == container.Unhealthy })
	x, err := r.Execs().Create(ctx, "checked", container.ExecCreateRequest{Cmd: []string{"touch", "/tmp/ok"}})
	r.must(err)
	_, err = r.Execs().Start(ctx, x.ID, ExecStartOptions{Detach: true})
	r.must(err)
	r.eventually("healthy", func() bool { return r.inspect("checked").State.Health.Status == container.Healthy })

	r.create("again", func(_ *container.Config, h *container.HostConfig) {
		h.RestartPolicy = container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
	}, "false")
	r.must(r.Containers().Start(ctx, "again"))
	r.eventually("given up", func() bool {
		i := r.inspect("again")
		return i.State.Status == container.StateExited && i.RestartCount == 2 && i.State.ExitCode == 1
	})
}

// TestReopen closes the daemon's side while containers run, and opens it again.
func TestReopen(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	runs := r.create("runs", nil, "sh", "-c", "while :; do sleep 0.05; done")
	ends := r.create("ends", nil, "sh", "-c", "sleep 0.3; exit 9")
	always := r.create("always", func(_ *container.Config, h *container.HostConfig) { h.RestartPolicy.Name = "always" }, "sh", "-c", "sleep 0.3")
	rm := r.create("rm", func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true }, "sh", "-c", "sleep 0.3")
	rmCreated := r.create("rm-created", func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true }, "true")
	r.create("created", nil, "true")
	for _, c := range []string{runs, ends, always, rm} {
		r.must(r.Containers().Start(ctx, c))
	}
	pid := r.inspect(runs).State.Pid
	// Half-made and half-removed containers have things, but no record.
	_, err := r.layers.NewWritable(strings.Repeat("ab", 32))
	r.must(err)
	r.must(os.Mkdir(r.dir2("cd"), 0o710))
	r.close()
	time.Sleep(500 * time.Millisecond)
	r.open()
	if s := r.inspect(runs).State; !s.Running || s.Pid != pid {
		t.Errorf("a running container: %+v", s)
	}
	r.eventually("the exit learnt", func() bool { s := r.inspect(ends).State; return s.Status == container.StateExited && s.ExitCode == 9 })
	r.eventually("the policy applied", func() bool { s := r.inspect(always).State; return s.Running && !s.Restarting })
	r.eventually("--rm containers gone", func() bool { return r.index.Get(rm) == nil && r.index.Get(rmCreated) == nil })
	if _, err := os.Stat(r.dir2("cd")); !os.IsNotExist(err) {
		t.Error("a folder without a record is left")
	}
	if s := r.inspect("created").State; s.Status != container.StateCreated {
		t.Errorf("a created container: %+v", s)
	}
	x, err := r.Execs().Create(ctx, runs, container.ExecCreateRequest{Cmd: []string{"true"}})
	r.must(err)
	_, err = r.Execs().Start(ctx, x.ID, ExecStartOptions{Detach: true})
	r.must(err)
}

func (r *rig) dir2(pair string) string {
	return filepath.Join(r.dir, "data/containers", strings.Repeat(pair, 32))
}

func TestStep(t *testing.T) {
	r := newRig(t)
	img, err := r.o.Images.Get("busybox")
	r.must(err)
	w, err := r.layers.NewWritable("step-test")
	r.must(err)
	defer r.layers.RemoveWritable("step-test")
	step := func(ctx context.Context, q StepRequest) (int, error) {
		root, err := r.layers.Mount(img.Chain, &w, layer.MountOptions{Volatile: true})
		r.must(err)
		defer root.Close()
		q.Rootfs, q.Network = root, "none"
		return r.Step(ctx, q)
	}
	var out bytes.Buffer
	code, err := step(context.Background(), StepRequest{Args: []string{"sh", "-c", "echo building; touch /made; exit 4"}, Stdout: &out})
	if err != nil || code != 4 || out.String() != "building\n" {
		t.Fatalf("code %d, %v, output %q", code, err, out.String())
	}
	if _, err := os.Stat(filepath.Join(w.Upper, "made")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := step(ctx, StepRequest{Args: []string{"sleep", "100000"}, Stdout: &out}); !errkind.Is(err, errkind.Timeout) { // which does not wait for its end
		t.Errorf("cancelled step: %v", err)
	}
	if _, err := step(context.Background(), StepRequest{Args: []string{"nosuch"}, Stdout: &out}); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("a step without its command: %v", err)
	}
}

func BenchmarkRunRm(b *testing.B) {
	r := newRig(b)
	for _, mode := range []container.NetworkMode{"none", "bridge"} {
		b.Run(string(mode), func(b *testing.B) {
			for b.Loop() {
				r.run(func(_ *container.Config, h *container.HostConfig) { h.AutoRemove, h.NetworkMode = true, mode }, "true")
			}
		})
	}
}

func filterAll() volume.Filter { return volume.Filter{} }

// BenchmarkStarts starts containers from 16 clients at once and reports starts a second.
func BenchmarkStarts(b *testing.B) {
	r := newRig(b)
	ctx := context.Background()
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	began := time.Now()
	n := 0
	for b.Loop() {
		n++
		slots <- struct{}{}
		cid := r.create("", func(_ *container.Config, h *container.HostConfig) { h.AutoRemove, h.NetworkMode = true, "bridge" }, "sleep", "600")
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.Containers().Start(ctx, cid); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "starts/s")
}

// TestReadersNeverWait lists and inspects while a container's worker is stuck.
func TestReadersNeverWait(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.create("stuck", nil, "true")
	free := make(chan struct{})
	r.index.Get(cid).work.Post(func() { <-free })
	defer close(free)
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := r.Containers().Start(limited, cid); !errkind.Is(err, errkind.Timeout) {
		t.Errorf("an operation on a stuck container: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if list, err := r.Containers().List(ctx, ListOptions{All: true}); err != nil || len(list) != 1 {
			t.Errorf("list: %v, %v", list, err)
		}
		r.inspect("stuck")
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("readers wait for a stuck container")
	}
}
