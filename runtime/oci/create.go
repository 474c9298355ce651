package oci

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
	"pier/kernel/spawn"
	"pier/lib/errkind"
	"pier/runtime/oci/internal/calls"
)

// gate is where a prepared child waits. It is two FIFOs in a folder, so that a process other than the parent can open it:
//
//	go       the child reads one byte from it before its execve
//	result   the child writes its errnos to it when its execve failed; a successful one closes it
//
// The child holds both open for reading and writing: nobody's death ends a wait.
type gate struct {
	goAhead, report *os.File
	result          int // descriptor of result, as the child knows it
	ready           *os.File
}

const (
	gateGo     = "go"
	gateResult = "result"
)

func openGate(dir string) (*gate, error) {
	g := &gate{}
	for _, fifo := range []struct {
		name string
		to   **os.File
	}{{gateGo, &g.goAhead}, {gateResult, &g.report}} {
		name := filepath.Join(dir, fifo.name)
		err := unix.Mkfifo(name, 0o600)
		var fd int
		if err == nil {
			fd, err = unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		}
		if err != nil {
			g.close()
			return nil, &os.PathError{Op: "make gate", Path: name, Err: err}
		}
		*fifo.to = os.NewFile(uintptr(fd), name)
	}
	g.result = calls.FD(g.report)
	return g, nil
}

func (g *gate) close() {
	for _, f := range []*os.File{g.goAhead, g.report} {
		if f != nil {
			f.Close()
		}
	}
}

// remove takes the FIFOs away again.
func (g *gate) remove() {
	_ = os.Remove(g.goAhead.Name())
	_ = os.Remove(g.report.Name())
}

// closeOthers closes what the child has of the parent's descriptors but those of the gate.
func (g *gate) closeOthers(t *task) {
	t.closeBut(0, calls.FD(g.goAhead), g.result, calls.FD(g.ready))
}

// wait adds the child's stay at the gate. It closes whatever it has of the parent's descriptors first (close-on-exec
// alone would hold pipes and locks of the parent open until the start).
func (g *gate) wait(t *task) {
	const what = "wait for start"
	ready := calls.FD(g.ready)
	g.closeOthers(t)
	t.Write(what, "", spawn.Int(ready), "1")
	t.Add("close", "", unix.SYS_CLOSE, spawn.Int(ready))
	answer := new(uint64)
	t.Add(what, "", unix.SYS_READ, spawn.Int(calls.FD(g.goAhead)), spawn.Pointer(t.List, answer), spawn.Int(1))
	t.Check(what, "", spawn.Pointer(t.List, answer), 0xff, '1', unix.ECANCELED)
}

// Prepared is a first process that has everything but its program: it waits for Release. Its Process is complete; what
// ends it before is a signal.
type Prepared struct {
	Process
	gate string
	args []string
}

// Create makes c's first process up to, but not including, its execve. The process waits for Release on c.Gate, also
// after the calling process has ended. Errors are as for Start. Ending ctx later has no effect.
func Create(ctx context.Context, c *Container) (*Prepared, error) {
	s, err := prepare(c)
	defer s.close()
	if err != nil {
		return nil, err
	}
	g, err := openGate(c.Gate)
	if err != nil {
		return nil, s.fail("make", "gate", err)
	}
	defer g.close()
	ready, childReady, err := os.Pipe()
	if err != nil {
		g.remove()
		return nil, s.fail("open", "pipe", err)
	}
	defer ready.Close()
	g.ready, s.init = childReady, nil
	if err := s.build(g); err != nil {
		childReady.Close()
		g.remove()
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	ended := make(chan error, 1)
	master := s.takeMaster()
	go func() {
		defer cancel()
		p, err := s.run(run)
		if err == nil {
			p.Pidfd.Close() // Prepared has its own
		}
		ended <- err
		childReady.Close()
	}()
	var b [1]byte
	_, err = ready.Read(b[:])
	stop()
	var p *Prepared
	if err != nil { // closed without a word
		err = <-ended
	} else {
		p, err = s.prepared(master)
	}
	if err != nil {
		cancel()
		if master != nil {
			master.Close()
		}
		g.remove()
		return nil, err
	}
	return p, nil
}

// takeMaster moves the terminal's master out of the task, which would close it.
func (t *task) takeMaster() *os.File {
	if t.terminal == nil {
		return nil
	}
	t.size()
	m := t.terminal.Master
	t.terminal.Master = nil
	return m
}

// prepared describes the child that has come to the gate.
func (s *start) prepared(master *os.File) (*Prepared, error) {
	pid := s.Child()
	f, err := pidfd.Open(pid, 0)
	if err != nil {
		return nil, s.fail("open", "process", err)
	}
	p := &Prepared{Process: Process{Pid: pid, Pidfd: f, Master: master}, gate: s.c.Gate, args: s.process.Args}
	if p.StartTime, err = pidfd.StartTime(pid); err != nil {
		f.Close()
		return nil, s.fail("look at", "process", err)
	}
	return p, nil
}

// Start lets the process go: Release on its gate.
func (p *Prepared) Start(ctx context.Context) error { return Release(ctx, p.gate, p.args) }

// Release lets the process that waits at gate go, from any process, and returns when its execve of args has succeeded.
// After a failure (*StartError) the process is about to end. A gate that was opened before is errkind.Conflict.
func Release(ctx context.Context, gate string, args []string) error {
	fail := func(err error) error {
		return &StartError{Call: "open gate", Path: gate, Errno: errnoOf(err), Err: errkind.New(errkind.Internal, "open gate %s: %w", gate, err)}
	}
	goName, resultName := filepath.Join(gate, gateGo), filepath.Join(gate, gateResult)
	// Without a reader at the other end the process is gone; O_NONBLOCK tells so instead of waiting for one.
	out, err := os.OpenFile(goName, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENXIO) {
		return &StartError{Call: "open gate", Path: gate, Err: errkind.New(errkind.Conflict, "the container is not waiting to be started")}
	}
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	result, err := os.OpenFile(resultName, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fail(err)
	}
	defer result.Close()
	if err := os.Remove(goName); err != nil { // of two that start at once one gets through
		return &StartError{Call: "open gate", Path: gate, Err: errkind.New(errkind.Conflict, "the container is being started already")}
	}
	_ = os.Remove(resultName)
	if _, err := out.Write([]byte("1")); err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = result.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	report, err := io.ReadAll(io.LimitReader(result, 1<<16))
	if ctx.Err() != nil {
		return &StartError{Call: "start", Err: ctx.Err()}
	}
	if err != nil {
		return fail(err)
	}
	return readReport(report, args)
}

// readReport turns the errnos of the calls after the gate into an error; none means success.
func readReport(report []byte, args []string) error {
	var last, denied syscall.Errno
	for ; len(report) >= 8; report = report[8:] {
		errno := syscall.Errno(binary.NativeEndian.Uint64(report))
		if errno != 0 {
			last = errno
		}
		if errno == unix.EACCES {
			denied = errno
		}
	}
	if denied != 0 {
		last = denied
	}
	if last == 0 {
		return nil
	}
	name := strings.Join(args[:min(len(args), 1)], "")
	return execError(name, last)
}
