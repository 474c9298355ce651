package command

import (
	"io"
	"os"
	"time"

	"pier/kernel/tty"
	"pier/lib/errkind"
)

// checkConsole refuses a combination of terminal, socket and foreground that cannot work.
func checkConsole(terminal bool, socket string, foreground bool) error {
	switch {
	case terminal && socket == "" && !foreground:
		return errkind.New(errkind.Invalid, "a terminal that is not ours needs --console-socket")
	case !terminal && socket != "":
		return errkind.New(errkind.Invalid, "--console-socket is given but the process has no terminal")
	}
	return nil
}

// relay copies between our standard streams and a container's terminal.
type relay struct {
	master *os.File
	in     *os.File
	raw    *tty.State
	output chan struct{} // closed when all output is copied
}

// terminal sends the master to the socket, or begins to relay it; a nil master is nothing to do.
func (o *options) terminal(master *os.File, socket string) (*relay, error) {
	if master == nil {
		return nil, nil
	}
	if socket != "" {
		defer master.Close()
		return nil, tty.Send(socket, master)
	}
	r := &relay{master: master, in: o.stdin, output: make(chan struct{})}
	if state, err := tty.MakeRaw(o.stdin); err == nil {
		r.raw = state
	}
	go func() { _, _ = io.Copy(master, o.stdin) }()
	go func() {
		defer close(r.output)
		_, _ = io.Copy(o.stdout, master) // ends with EIO when the last process has closed its side
	}()
	return r, nil
}

// resize makes the container's terminal as large as ours.
func (r *relay) resize() {
	if r == nil {
		return
	}
	if width, height, err := tty.Size(r.in); err == nil {
		_ = tty.SetSize(r.master, width, height)
	}
}

// close puts our terminal back after the last output, for which a process left behind is not waited long.
func (r *relay) close() {
	if r == nil {
		return
	}
	select {
	case <-r.output:
	case <-time.After(time.Second):
	}
	r.master.Close()
	if r.raw != nil {
		_ = tty.Restore(r.in, r.raw)
	}
}
