package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/signal"
)

// Main is a package's TestMain: it stores the folder that holds pier, pierd and pier-runtime in *bin, clears up behind tests
// that were killed (Sweep), runs the tests and ends the process. The folder is that of PIER_BIN, or one that is built on the spot and removed afterwards.
func Main(m *testing.M, bin *string) {
	os.Exit(func() int {
		if *bin = os.Getenv("PIER_BIN"); *bin == "" {
			dir, err := os.MkdirTemp("", "pier-bin-")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer os.RemoveAll(dir)
			build := exec.Command("go", "build", "-o", dir+"/", "pier/cmd/pier", "pier/cmd/pierd", "pier/cmd/pier-runtime")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
				return 1
			}
			*bin = dir
		}
		if swept, err := Sweep(*bin); len(swept) > 0 || err != nil {
			fmt.Fprintf(os.Stderr, "cleared up behind tests that were killed: %v, %v\n", swept, err)
		}
		return m.Run()
	}())
}

// Daemon is a running pierd. It belongs to one test.
type Daemon struct {
	Bin    string // folder of the programs
	Dir    string // data root, exec root, log
	Name   string // unique: of bridge and cgroup parent
	Socket string

	t      testing.TB
	flags  []string
	cmd    *exec.Cmd
	exited chan error
}

// Client returns a client of the daemon's API: of whatever URL, it asks for the path. Its connections end with the test.
func (d *Daemon) Client() *http.Client {
	client := SocketClient(d.Socket)
	d.t.Cleanup(client.CloseIdleConnections)
	return client
}

// SocketClient returns a client of who serves a unix socket. The caller ends its connections.
func SocketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// Start runs a daemon for the length of the test and then checks that nothing of it is left.
func Start(t testing.TB, bin string, flags ...string) *Daemon {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they make containers")
	}
	dir, err := os.MkdirTemp("", "pier-") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	l, bridge, err := takeLease(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.release(t) })
	d := &Daemon{t: t, Bin: bin, Dir: dir, Name: l.Name, Socket: filepath.Join(dir, "run", "pier.sock")}
	d.flags = append([]string{"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"), "--bridge", d.Name,
		"--bip", bridge.String(), "--cgroup-parent", "/pier-test-" + d.Name, "--config-file", filepath.Join(dir, "pierd.json")}, flags...)
	if err := errors.Join(l.note(d.flags), os.WriteFile(filepath.Join(dir, "pierd.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.cleanup)
	d.Run()
	return d
}

// Host is the daemon's address.
func (d *Daemon) Host() string { return "unix://" + d.Socket }

// Pid is pierd's process.
func (d *Daemon) Pid() int { return d.cmd.Process.Pid }

// Run starts pierd (again), with extra flags, and waits until it answers.
func (d *Daemon) Run(flags ...string) {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(filepath.Join(d.Bin, "pierd"), slices.Concat(d.flags, []string{"-H", d.Host()}, flags)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	exited := make(chan error, 1)
	d.exited = exited
	if err := d.cmd.Start(); err != nil {
		exited <- err
		d.t.Fatal(err)
	}
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(d.cmd)
	d.Eventually("pierd to answer", func() error {
		select {
		case err := <-exited:
			exited <- err
			d.t.Fatalf("pierd ended: %v\n%s", err, d.Log())
		default:
		}
		return d.ping()
	})
}

// ping asks for an answer: pierd gives one once all its sockets are open and have their modes.
func (d *Daemon) ping() error {
	conn, err := net.Dial("unix", d.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /_ping HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.Contains(answer, []byte("200 OK")) {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

// Flags are what every command about this daemon needs.
func (d *Daemon) Flags() []string { return slices.Clone(d.flags) }

// Signal sends pierd a signal, waits for its end and returns how it ended.
func (d *Daemon) Signal(s os.Signal) error {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Fatal(err)
	}
	select {
	case err := <-d.exited:
		d.exited <- err
		return err
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		d.t.Fatalf("pierd does not end on %v\n%s", s, d.Log())
		return nil
	}
}

// Terminate ends pierd as a service manager does, and waits for it. Containers stay.
func (d *Daemon) Terminate() {
	d.t.Helper()
	_ = d.Signal(signal.SignalMap["TERM"])
}

// Supervisor is the process of the daemon's supervisor, 0 while there is none.
func (d *Daemon) Supervisor() int {
	p := d.SupervisorProcess()
	if p == nil {
		return 0
	}
	defer p.Release()
	return p.Pid
}

// SupervisorProcess is the supervisor held by descriptor: what is sent to it reaches nobody else, should it end and its number
// become another process's. nil while there is none; the caller releases it.
func (d *Daemon) SupervisorProcess() *os.Process {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if !d.supervises(path) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		p, err := os.FindProcess(pid)
		// Looked at once more, now that it is held. A child that it is just making shares its memory, and so its command line.
		if err == nil && d.supervises(path) && !d.supervises(fmt.Sprintf("/proc/%d/cmdline", parentOf(pid))) {
			return p
		}
		if err == nil {
			_ = p.Release()
		}
	}
	return nil
}

// supervises reports whether the command line at path is that of the daemon's supervisor.
func (d *Daemon) supervises(path string) bool {
	words, _ := os.ReadFile(path) // nothing, once it has ended
	return strings.Contains(string(words), "pier-runtime\x00supervise\x00--root\x00"+filepath.Join(d.Dir, "run")+"\x00")
}

// parentOf is the parent of a process, 0 for one that is gone.
func parentOf(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ") // the program's name is ours
	if fields := strings.Fields(rest); len(fields) > 1 {
		parent, _ := strconv.Atoi(fields[1])
		return parent
	}
	return 0
}

// Log is what pierd wrote.
func (d *Daemon) Log() string {
	data, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
	return string(data)
}

// Eventually calls f until it returns nil, for at most the time of patience.
func (d *Daemon) Eventually(what string, f func() error) {
	d.t.Helper()
	Eventually(d.t, what, f)
}

// patience is when a test gives up: far above what anything takes, for a machine that is busy with other things.
const patience = 2 * time.Minute

// Eventually calls f until it returns nil, for at most the time of patience; then the test fails with what it waited for.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

// Result is a finished command.
type Result struct {
	Out, Err string
	Code     int
}

// Env is what makes both pier and docker talk to this daemon.
func (d *Daemon) Env() []string {
	return append(os.Environ(), "PIER_HOST="+d.Host(), "DOCKER_HOST="+d.Host(), "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+filepath.Join(d.Dir, "config"),
		"PATH="+d.Bin+":"+os.Getenv("PATH"))
}

// Command prepares one run of pier, docker or another program against this daemon.
func (d *Daemon) Command(name string, args ...string) *exec.Cmd {
	if name == "pier" {
		name = filepath.Join(d.Bin, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = d.Env()
	return cmd
}

// Do runs a program to its end, whatever its exit code.
func (d *Daemon) Do(name string, args ...string) Result {
	d.t.Helper()
	cmd := d.Command(name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return Result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// Pier runs pier and returns its standard output without the last line end; the test fails unless it succeeds.
func (d *Daemon) Pier(args ...string) string {
	d.t.Helper()
	r := d.Do("pier", args...)
	if r.Code != 0 {
		d.t.Fatalf("pier %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return strings.TrimSuffix(r.Out, "\n")
}

// cleanup ends everything and compares the host with what it should be.
func (d *Daemon) cleanup() {
	supervisor, _ := os.ReadFile(filepath.Join(d.Dir, "run", "supervisor.log")) // it goes with the exec root
	out, err := exec.Command(filepath.Join(d.Bin, "pierd"), append([]string{"cleanup", "--data"}, d.flags...)...).CombinedOutput()
	if err != nil {
		d.t.Errorf("pierd cleanup: %v\n%s", err, out)
	}
	select {
	case <-d.exited:
	case <-time.After(patience):
		d.t.Error("pierd outlived its cleanup")
		_ = d.cmd.Process.Kill()
	}
	for _, left := range Leftovers(d.t, d.Dir, d.Name) {
		d.t.Errorf("left behind: %s", left)
	}
	if d.t.Failed() {
		d.t.Logf("log of pierd:\n%s\nlog of the supervisor:\n%s", d.Log(), supervisor)
	}
	if err := os.RemoveAll(d.Dir); err != nil {
		d.t.Error(err)
	}
}
