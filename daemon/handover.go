package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"pier/kernel/self"
	"pier/lib/errkind"
)

// listenersEnv tells the next program in this process which descriptors are whose listening sockets: "number=host"
// words.
const listenersEnv = "PIER_LISTENERS"

// probeLimit is how long a program that is about to be executed may take to show that it can run.
const probeLimit = 10 * time.Second

// socket is a listening socket: as the kernel has it, and as the server uses it.
type socket struct {
	host string
	raw  net.Listener
	net.Listener
}

// inherited takes the sockets that a former program in this process has left, by host. Each is to be used once.
func inherited() map[string]net.Listener {
	all := map[string]net.Listener{}
	for word := range strings.FieldsSeq(os.Getenv(listenersEnv)) {
		number, host, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 3 {
			continue
		}
		f := os.NewFile(uintptr(n), host)
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			continue // it will be made anew
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(true)
		}
		all[host] = l
	}
	_ = os.Unsetenv(listenersEnv)
	return all
}

// Handover is an upgrade that has been prepared: see Prepare.
type Handover struct {
	program string
	argv    []string
	kept    []*os.File
	words   []string
}

// Prepare readies d to be replaced by the program that is now at its own path, called with argv. It checks that this
// program and pier-runtime can run at all and that the program accepts argv, and keeps the listening sockets open, so that
// clients who connect meanwhile only wait. After an error nothing has changed and d serves on. Serve must be under way;
// end it and call Replace.
func (d *Daemon) Prepare(ctx context.Context, argv []string) (_ *Handover, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	h := &Handover{program: strings.TrimSuffix(program, " (deleted)"), argv: argv}
	binary, err := runtimeBinary(d.config.Runtime)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(Runs(ctx, h.program, append([]string{"--validate"}, argv[1:]...)...), Runs(ctx, binary, "--version")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sockets {
		filer, ok := s.raw.(interface{ File() (*os.File, error) })
		if !ok {
			continue
		}
		f, err := filer.File()
		if err != nil {
			return nil, fmt.Errorf("upgrade: keep %s: %w", s.host, err)
		}
		h.kept = append(h.kept, f)
		n, err := self.Keep(f, false) // until Replace: what is executed meanwhile must not have the sockets
		if err != nil {
			return nil, fmt.Errorf("upgrade: keep %s: %w", s.host, err)
		}
		h.words = append(h.words, strconv.Itoa(n)+"="+s.host)
	}
	for _, s := range d.sockets {
		if u, ok := s.raw.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
	}
	d.staying = true
	return h, nil
}

// Runs reports, as an error of kind Invalid, that a program which is to take over does not end well when it is called with
// args.
func Runs(ctx context.Context, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return errkind.New(errkind.Invalid, "upgrade: %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Replace upgrades the supervisor in its place, closes all rooms and executes the next program in this process. It
// returns only if that failed; d is closed then, and containers run on.
func (d *Daemon) Replace(ctx context.Context, h *Handover) error {
	defer h.close()
	if err := d.custodian.Upgrade(ctx); err != nil {
		d.log.Error("the supervisor is not upgraded", "error", err)
	}
	if err := d.close(true); err != nil {
		d.log.Error("closing for an upgrade", "error", err)
	}
	for _, f := range h.kept {
		if _, err := self.Keep(f, true); err != nil {
			d.log.Error("a socket is made anew", "socket", f.Name(), "error", err)
		}
	}
	env := append(os.Environ(), listenersEnv+"="+strings.Join(h.words, " "))
	return errors.Join(errkind.New(errkind.Internal, "upgrade to %s failed; containers run on: start pierd again", h.program),
		self.Exec(h.program, h.argv, env))
}

func (h *Handover) close() {
	for _, f := range h.kept {
		_ = f.Close()
	}
}
