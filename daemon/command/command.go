package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	signals "github.com/moby/sys/signal"

	"pier/daemon"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/lib/version"
)

// How long things may take before they are cut.
const (
	requestGrace = 5 * time.Second  // running requests at the end of pierd
	upgradeGrace = 2 * time.Second  // and at an upgrade, which new ones wait for
	stopGrace    = 60 * time.Second // all containers, with the supervisor
)

// Run is pierd: it carries out the command line args (without the program's name) and returns the exit code. It
// returns when the daemon has ended.
func Run(args []string, stdout, stderr io.Writer) int {
	in, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "pierd: %v\n", err)
		return 1
	case in.help:
		fmt.Fprint(stdout, in.usage())
		return 0
	case in.version:
		v := version.Read()
		fmt.Fprintf(stdout, "Pier version %s, build %s\n", v.Number, cmp.Or(v.Commit, "unknown"))
		return 0
	case in.validate:
		fmt.Fprintln(stdout, "configuration OK")
		return 0
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: in.config.Level()}))
	switch in.word {
	case "stop":
		err = stop(in.config, log)
	case "upgrade":
		err = upgrade(in.config)
	case "cleanup":
		err = cleanup(in.config, in.removeData, log)
	default:
		err = serve(in.config, append([]string{os.Args[0]}, args...), log)
	}
	if err != nil {
		fmt.Fprintf(stderr, "pierd: %v\n", err)
		return 1
	}
	return 0
}

// serve runs the daemon, which argv started, until a signal. A second one ends it at once, but for SIGHUP: it replaces
// pierd and the supervisor by the programs that now are where theirs came from.
func serve(c daemon.Config, argv []string, log *slog.Logger) error {
	caught := make(chan os.Signal, 2)
	hangup := signals.SignalMap["HUP"]
	signal.Notify(caught, os.Interrupt, signals.SignalMap["TERM"], hangup)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	d, err := daemon.Open(ctx, c, log)
	if err != nil {
		return err
	}
	var next *daemon.Handover
	stopAll := make(chan bool, 1)
	grace := requestGrace
	serving, end := context.WithCancel(ctx)
	defer end()
	ready := make(chan struct{})
	go func() {
		<-ready
		first := <-caught
		for first == hangup {
			h, err := d.Prepare(ctx, argv)
			if err == nil {
				next = h
				log.Info("upgrading")
				grace = upgradeGrace
				break
			}
			log.Error("upgrade refused; everything goes on as before", "error", err)
			first = <-caught
		}
		if next == nil {
			signal.Stop(caught) // the next one has its usual effect
			log.Info("ending", "signal", first.String())
		}
		stopAll <- first == os.Interrupt
		end()
	}()
	if err := d.Serve(serving, func() time.Duration { return grace }, func() { close(ready); notifyReady() }); err != nil {
		return errors.Join(err, d.Close())
	}
	all := <-stopAll
	switch {
	case next != nil:
		return d.Replace(ctx, next)
	case all:
		end, cancel := context.WithTimeout(context.Background(), stopGrace)
		defer cancel()
		return d.Stop(end)
	}
	return d.Close()
}

// notifyReady tells systemd, if that started us, that clients can connect (sd_notify(3)).
func notifyReady() {
	if addr := os.Getenv("NOTIFY_SOCKET"); addr != "" {
		if conn, err := net.Dial("unixgram", addr); err == nil {
			_, _ = conn.Write([]byte("READY=1\nMAINPID=" + strconv.Itoa(os.Getpid())))
			_ = conn.Close()
		}
	}
}

// stop ends the pierd of these roots with all containers. Where none runs, it does so itself: containers and their
// supervisor may have outlived the last one.
func stop(c daemon.Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := interrupt(ctx, c); !errkind.Is(err, errkind.NotFound) {
		return err
	}
	if _, err := os.Stat(c.ExecRoot); errors.Is(err, os.ErrNotExist) {
		return nil // never ran since the last boot
	}
	d, err := daemon.Open(ctx, c, log)
	if err != nil {
		return err
	}
	return d.Stop(ctx)
}

// upgrade has the running pierd of these roots replaced by the program at its path, and waits until that answers.
func upgrade(c daemon.Config) error {
	process, err := running(c)
	if err != nil {
		return err
	}
	defer process.Release()
	pid := process.Pid
	before, err := os.Stat(c.PidPath())
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if err := daemon.Runs(context.Background(), strings.TrimSuffix(program, " (deleted)"), "--version"); err != nil {
		return err
	}
	if err := process.Signal(signals.SignalMap["HUP"]); err != nil {
		return errkind.New(errkind.NotFound, "pierd %d has ended: %w", pid, err)
	}
	missing := 0
	for end := time.Now().Add(stopGrace); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if now, err := os.Stat(c.PidPath()); err == nil && !os.SameFile(before, now) {
			return nil
		}
		if missing++; isPierd(pid) {
			missing = 0
		}
		if missing > 10 { // it looks dead for a moment while it executes the next program
			return errkind.New(errkind.Unavailable, "pierd %d ended instead of being upgraded; containers run on: see its log and start it again", pid)
		}
	}
	return errkind.New(errkind.Timeout, "pierd %d has not been upgraded: see its log", pid)
}

// cleanup is stop and the removal of everything outside the data root; with data, of that too.
func cleanup(c daemon.Config, data bool, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := interrupt(ctx, c); err != nil && !errkind.Is(err, errkind.NotFound) {
		return err
	}
	d, err := daemon.Open(ctx, c, log)
	if err != nil {
		return err
	}
	if err := d.Destroy(ctx); err != nil {
		return err
	}
	err = removeTree(c.ExecRoot)
	if data {
		err = errors.Join(err, removeTree(c.DataRoot))
	}
	return err
}

// removeTree removes a folder, unless something is mounted below it: what is there belongs to somebody else, such as
// the content of a volume on another machine.
func removeTree(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	below := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(dir) + "/" // as mountinfo writes it
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], below) {
			return errkind.New(errkind.Conflict, "remove %s: %s is still mounted below it; unmount it and try again", dir, f[4])
		}
	}
	return os.RemoveAll(dir)
}

// interrupt asks the running pierd of these roots to stop everything, and waits for its end. NotFound where none runs.
func interrupt(ctx context.Context, c daemon.Config) error {
	process, err := running(c)
	if err != nil {
		return err
	}
	defer process.Release()
	pid := process.Pid
	if err := process.Signal(os.Interrupt); err != nil {
		return errkind.New(errkind.NotFound, "pierd %d has ended: %w", pid, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errkind.New(errkind.Timeout, "pierd %d still runs after %s: see its log", pid, stopGrace)
		case <-tick.C:
			if now, err := readPid(c.PidPath()); err != nil || now != pid || !isPierd(pid) {
				return waitExit(ctx, pid)
			}
		}
	}
}

// waitExit waits until the process, whose pid file is gone already, is gone too.
func waitExit(ctx context.Context, pid int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for isPierd(pid) {
		select {
		case <-ctx.Done():
			return errkind.New(errkind.Timeout, "pierd %d still runs: see its log", pid)
		case <-tick.C:
		}
	}
	return nil
}

// running finds the pierd of these roots. The caller releases it. NotFound where none runs.
func running(c daemon.Config) (*os.Process, error) {
	pid, err := readPid(c.PidPath())
	if err != nil {
		return nil, err
	}
	process, err := os.FindProcess(pid) // by pidfd, and before the look: it stays the one that is looked at
	if err == nil && isPierd(pid) && c.Served(pid) {
		return process, nil
	}
	if err == nil {
		_ = process.Release()
	}
	return nil, errkind.New(errkind.NotFound, "no pierd runs: %s is stale", c.PidPath())
}

// readPid reads a pid file.
func readPid(path string) (int, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, errkind.New(errkind.NotFound, "no pierd runs: there is no %s", path)
	}
	if err != nil {
		return 0, fmt.Errorf("find the running pierd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, errkind.New(errkind.NotFound, "no pierd runs: %s is stale", path)
	}
	return pid, nil
}

// isPierd reports whether a process runs the same program as we do, and is not dead already. A container's process may have
// got a stale number, and calls itself what it likes; but its root is not ours.
func isPierd(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(comm)) != "pierd" {
		return false
	}
	ours, err := os.Stat("/")
	if err != nil {
		return false
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil || !os.SameFile(ours, theirs) {
		return false
	}
	condition := pidfd.Condition(pid)
	return condition != 'Z' && condition != 'X'
}
