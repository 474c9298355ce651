package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// lab is two daemons with an image called bb in each.
type lab struct {
	dir       string
	run       string // what a reboot ends, of both: in memory, as /run is wherever there is systemd
	bin       string
	pierd     *exec.Cmd
	dockerd   *exec.Cmd
	pierHost  string
	dockHost  string
	dockerCLI string
	pierAPI   *http.Client
	dockAPI   *http.Client
}

func newLab() (l *lab, err error) {
	dir, err := os.MkdirTemp("", "pier-bench-")
	if err != nil {
		return nil, err
	}
	volatile, err := os.MkdirTemp("/dev/shm", "pier-bench-")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l = &lab{dir: dir, run: volatile, bin: os.Getenv("PIER_BIN"), pierHost: "unix://" + volatile + "/pier/pier.sock", dockHost: "unix://" + dir + "/docker.sock", dockerCLI: "docker"}
	if l.bin == "" {
		l.bin = "bin"
	}
	l.pierAPI, l.dockAPI = apiClient(l.pierHost), apiClient(l.dockHost)
	begun := l
	defer func() {
		if err != nil {
			begun.close()
		}
	}()
	if l.pierd, err = l.spawn("pierd.log", filepath.Join(l.bin, "pierd"), append(l.pierdFlags(), "-H", l.pierHost)...); err != nil {
		return nil, err
	}
	if l.dockerd, err = l.spawn("dockerd.log", "dockerd", "--data-root", dir+"/docker-data", "--exec-root", volatile+"/docker", "-H", l.dockHost, "-p", dir+"/docker.pid",
		"--bip", "10.232.0.1/16"); err != nil {
		return nil, err
	}
	for _, wait := range []func() error{func() error { return l.pier("version") }, func() error { return l.docker("version") }} {
		if err = patiently(wait); err != nil {
			return nil, err
		}
	}
	return l, l.images()
}

func (l *lab) pierdFlags() []string {
	return []string{"--data-root", l.dir + "/pier-data", "--exec-root", l.run + "/pier", "--bridge", "pierbench0", "--bip", "10.231.0.1/16", "--cgroup-parent", "/pier-bench"}
}

func (l *lab) spawn(log, name string, args ...string) (*exec.Cmd, error) {
	f, err := os.Create(filepath.Join(l.dir, log))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func patiently(f func() error) error {
	var err error
	for range 300 {
		if err = f(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (l *lab) pier(args ...string) error {
	return run("", filepath.Join(l.bin, "pier"), append([]string{"-H", l.pierHost}, args...)...)
}

func (l *lab) docker(args ...string) error {
	return run("", l.dockerCLI, append([]string{"-H", l.dockHost}, args...)...)
}

func run(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if stdin != "" {
		f, err := os.Open(stdin)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, tail(out.String()))
	}
	return nil
}

func tail(s string) string { return strings.TrimSpace(s[max(0, len(s)-600):]) }

// images makes the image bb, busybox alone, in both daemons, and the build context.
func (l *lab) images() error {
	root, ctx := filepath.Join(l.dir, "root"), filepath.Join(l.dir, "context")
	for _, d := range []string{"bin", "etc", "tmp", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := run("", "cp", "/bin/busybox", root+"/bin/busybox"); err != nil {
		return err
	}
	for _, name := range []string{"sh", "true", "sleep", "cat", "mkdir", "echo", "cp"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "ready"), []byte("ready\n"), 0o644); err != nil {
		return err
	}
	if err := run("", "tar", "-C", root, "-cf", l.dir+"/root.tar", "."); err != nil {
		return err
	}
	if err := os.MkdirAll(ctx, 0o755); err != nil {
		return err
	}
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(ctx, "file"+strconv.Itoa(i)), bytes.Repeat([]byte("x"), 4096), 0o644); err != nil {
			return err
		}
	}
	var text strings.Builder
	text.WriteString("FROM bb\nCOPY . /first\n")
	for i := range 4 {
		fmt.Fprintf(&text, "RUN echo %d > /made%d\n", i, i)
	}
	text.WriteString("COPY file1 file2 /second/\n")
	for i := 4; i < 8; i++ {
		fmt.Fprintf(&text, "RUN echo %d > /made%d\n", i, i)
	}
	if err := os.WriteFile(filepath.Join(ctx, "Dockerfile"), []byte(text.String()), 0o644); err != nil {
		return err
	}
	return errors.Join(
		run(l.dir+"/root.tar", filepath.Join(l.bin, "pier"), "-H", l.pierHost, "import", "-", "bb"),
		run(l.dir+"/root.tar", l.dockerCLI, "-H", l.dockHost, "import", "-", "bb"))
}

// rows are the promises of docs/specification.md.
func (l *lab) rows() []row {
	ctx := filepath.Join(l.dir, "context")
	both := func(name string, promise float64, args ...string) row {
		return row{name: name, promise: promise, ours: step{do: func() error { return l.pier(args...) }}, peer: step{do: func() error { return l.docker(args...) }}}
	}
	build := both("build, 8 RUN + 2 COPY, no cache", 8, "build", "--no-cache", "-q", "-t", "built", ctx)
	cached := both("build, everything cached", 10, "build", "-q", "-t", "built", ctx)
	exec := both("exec true", 20, "exec", "steady", "true")
	exec.ceiling = 6 * time.Millisecond
	started := func(client func(...string) error) func() error {
		return sync.OnceValue(func() error {
			return client("run", "-d", "--name", "steady", "--network", "none", "bb", "sleep", "100000")
		})
	}
	exec.ours.before, exec.peer.before = started(l.pier), started(l.docker)
	asked := row{name: "exec true, by the API"} // what is left of both without their clients
	asked.ours = step{exec.ours.before, func() error { return command(l.pierAPI, "steady") }}
	asked.peer = step{exec.peer.before, func() error { return command(l.dockAPI, "steady") }}
	// A signal that nobody can leave unheard: what is timed is the work, not the program's own end or the time of grace.
	stop, remove := both("stop", 0, "stop", "ended"), both("rm", 0, "rm", "ended")
	fresh := func(client func(...string) error, after ...string) func() error {
		return func() error {
			_ = client("rm", "-f", "ended") // the first time there is none
			if err := client("run", "-d", "--name", "ended", "--stop-signal", "KILL", "bb", "sleep", "100000"); err != nil || after == nil {
				return err
			}
			return client(after...)
		}
	}
	stop.ours.before, stop.peer.before = fresh(l.pier), fresh(l.docker)
	remove.ours.before, remove.peer.before = fresh(l.pier, "stop", "ended"), fresh(l.docker, "stop", "ended")
	return []row{
		both("run --rm true, bridge", 25, "run", "--rm", "bb", "true"),
		both("run --rm true, --network none", 30, "run", "--rm", "--network", "none", "bb", "true"),
		exec,
		asked,
		stop,
		remove,
		build,
		cached,
		l.logRow(),
		{name: "pier version", ceiling: 4 * time.Millisecond, ours: step{do: func() error { return l.pier("version") }}},
	}
}

// floor is what the kernel itself costs: the same program in fresh namespaces, nothing else.
func (l *lab) floor() error {
	return run("", "bwrap", "--unshare-all", "--bind", filepath.Join(l.dir, "root"), "/", "--proc", "/proc", "--dev", "/dev", "/bin/true")
}

func (l *lab) close() {
	if l.pierd != nil {
		if err := run("", filepath.Join(l.bin, "pierd"), append([]string{"cleanup", "--data"}, l.pierdFlags()...)...); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		_ = l.pierd.Wait() // it was told to end
	}
	if l.dockerd != nil {
		l.removeAll(l.docker, l.dockerCLI, l.dockHost)
		_ = l.dockerd.Process.Signal(os.Interrupt)
		_ = l.dockerd.Wait()
	}
	for _, dir := range []string{l.dir, l.run} {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench: left behind:", err)
		}
	}
}

func (l *lab) removeAll(do func(...string) error, name, host string) {
	out, err := exec.Command(name, "-H", host, "ps", "-aq").Output()
	if ids := strings.Fields(string(out)); err == nil && len(ids) > 0 {
		_ = do(append([]string{"rm", "-f"}, ids...)...)
	}
}
