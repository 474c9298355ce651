package supervisor

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// A probe is the cheap kind of exec, of which there may be hundreds a second: one pipe, one wait and nothing on disk. It
// leaves no trace for a successor to find, so it must not outlive this program: the kernel kills it with us, an upgrade
// does before it executes the next program.

const (
	// probeDrain is how long the output may stay open after the process has ended: something in the background holds it.
	probeDrain = time.Second
	// probeDeath is how long a killed process may take to be gone; a frozen one takes until it is thawed.
	probeDeath = 2 * time.Second
	// entryKept is how long after the one before a probe may come for its preparation to be kept, some 30 KiB.
	entryKept = 10 * time.Second
)

// probeSpec is what a probe runs. It is not changed, but for last.
type probeSpec struct {
	key     string
	process *specs.Process
	filter  []byte
	flags   uint      // to load it with
	last    time.Time // when it was last run; guarded by Supervisor.mu
}

// probing is the process of a probe under way.
type probing struct {
	index   int    // in its round
	id      string // the container's
	process *oci.Process
	out     *pipe.Capture
	ctx     context.Context // ends with its time, or when nobody waits
	stop    context.CancelFunc
	cut     bool // by an upgrade; guarded by Supervisor.mu
}

// beginProbe makes the process and enters it in s.probes, or says why there is none.
func (s *Supervisor) beginProbe(ctx context.Context, r *shim.Probe) (*probing, *shim.Probed) {
	failed := func(err error) (*probing, *shim.Probed) { return nil, &shim.Probed{Error: wireError(err)} }
	if r.Timeout <= 0 || r.Limit < 0 || r.Limit > shim.MaxProbeOutput {
		return failed(errkind.New(errkind.Invalid, "probe of %s: a timeout of %v and %d bytes of output are not possible", r.ID, r.Timeout, r.Limit))
	}
	init, err := s.running(r.ID)
	if err != nil {
		return failed(err)
	}
	spec, err := s.probeSpec(init, r)
	if err != nil {
		return failed(err)
	}
	if spec == nil {
		return nil, &shim.Probed{Missing: true}
	}
	p := &probing{id: r.ID}
	if p.out, err = pipe.NewCapture(r.Limit); err != nil {
		return failed(err)
	}
	if init.record.Uid != 0 && spec.process.User.UID == 0 { // a user namespace maps the container's root
		_ = p.out.In.Chown(init.record.Uid, init.record.Gid) // so that it may open /dev/stdout again
	}
	p.ctx, p.stop = context.WithTimeout(ctx, r.Timeout)
	if err = s.makeProbe(init, spec, p); err == nil {
		return p, nil
	}
	late := p.ctx.Err() != nil
	p.out.Close()
	p.stop()
	if late {
		return nil, &shim.Probed{TimedOut: true}
	}
	return failed(startFailure(err))
}

// probeSpec returns what is to be run, nil where r does not say and it is not known.
func (s *Supervisor) probeSpec(init *task, r *shim.Probe) (*probeSpec, error) {
	s.mu.Lock()
	known := init.probed
	s.mu.Unlock()
	if len(r.Process) == 0 {
		if known == nil || r.Key == "" || known.key != r.Key {
			known = nil
		}
		return known, nil
	}
	spec := &probeSpec{key: r.Key, process: &specs.Process{}, filter: r.Seccomp, flags: r.SeccompFlags}
	if err := json.Unmarshal(r.Process, spec.process); err != nil {
		return nil, errkind.New(errkind.Invalid, "probe of %s: the process: %w", r.ID, err)
	}
	spec.process.Terminal = false
	if r.Key != "" {
		s.mu.Lock()
		init.dropEntry()
		init.probed = spec
		s.mu.Unlock()
	}
	return spec, nil
}

// makeProbe makes the process of p.
func (s *Supervisor) makeProbe(init *task, spec *probeSpec, p *probing) (err error) {
	s.starting.RLock()
	defer s.starting.RUnlock()
	if init.view().Exit != nil {
		return errkind.New(errkind.Conflict, "container %s is not running", init.ref.ID)
	}
	c := &oci.ExecConfig{Process: spec.process, Seccomp: spec.filter, SeccompFlags: spec.flags, Stdio: oci.Stdio{Stdin: s.null}}
	done, err := s.aim(p.ctx, init, c)
	if err != nil {
		return err
	}
	defer done()
	var e *oci.Entry
	if c.NoTracers { // a kept one was made for this
		e = init.takeEntry(spec)
	}
	if e == nil {
		if e, err = oci.Enter(c); err != nil {
			return err
		}
	}
	p.process, err = e.Run(p.ctx, p.out.In)
	p.out.In.Close()
	if err != nil || !c.NoTracers || !init.keepEntry(spec, e) {
		e.Close()
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.probes[p.process.Pid] = p
	s.mu.Unlock()
	return nil
}

// takeEntry returns what was kept for spec, nil if there is nothing.
func (t *task) takeEntry(spec *probeSpec) *oci.Entry {
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	e := t.entry
	if e == nil || t.probed != spec {
		return nil
	}
	t.entry = nil
	return e
}

// keepEntry keeps e for the next run of spec where that will come soon. It reports whether it has.
func (t *task) keepEntry(spec *probeSpec, e *oci.Entry) bool {
	t.sup.mu.Lock()
	defer t.sup.mu.Unlock()
	now := time.Now()
	soon := now.Sub(spec.last) < entryKept
	spec.last = now
	if !soon || t.probed != spec || t.entry != nil || t.info.Exit != nil {
		return false
	}
	t.entry = e
	return true
}

// dropEntry is called with Supervisor.mu held.
func (t *task) dropEntry() {
	if t.entry != nil {
		t.entry.Close()
		t.entry = nil
	}
}

// followProbe reads the output and waits for the end, which p.ctx hastens.
func (s *Supervisor) followProbe(p *probing) *shim.Probed {
	out := p.out.Reader()
	defer out.Close()
	killed := context.AfterFunc(p.ctx, func() {
		_ = pidfd.Signal(p.process.Pidfd, sigkill)
		_ = out.SetReadDeadline(time.Now().Add(probeDrain))
	})
	ended := make(chan bool)
	go func() {
		err := pidfd.Wait(p.ctx, p.process.Pidfd)
		if err == nil {
			_ = out.SetReadDeadline(time.Now().Add(probeDrain))
		}
		ended <- err == nil
	}()
	_, _ = io.Copy(p.out, out) // to the end, or for as long as there is time
	gone := <-ended
	inTime := killed() // and the process is not killed from here on
	if !gone {
		within, stop := context.WithTimeout(context.Background(), probeDeath)
		gone = pidfd.Wait(within, p.process.Pidfd) == nil
		stop()
	}
	if gone {
		return s.endProbe(p, inTime)
	}
	text := p.out.Text()
	go func() {
		if err := pidfd.Wait(context.Background(), p.process.Pidfd); err != nil {
			s.log.Error("wait for a probe that was killed", "container", p.id, "err", err)
		}
		_ = s.endProbe(p, false)
	}()
	return &shim.Probed{Output: text, TimedOut: true}
}

// endProbe forgets a process that has ended, and says how.
func (s *Supervisor) endProbe(p *probing, inTime bool) *shim.Probed {
	status, err := pidfd.Reap(p.process.Pidfd)
	s.mu.Lock()
	delete(s.probes, p.process.Pid)
	cut := p.cut
	s.mu.Unlock()
	p.process.Pidfd.Close()
	p.out.Close()
	p.stop()
	switch {
	case cut:
		return &shim.Probed{Error: wireError(errkind.New(errkind.Unavailable, "probe of %s: it was cut short by an upgrade", p.id))}
	case !inTime:
		return &shim.Probed{Output: p.out.Text(), TimedOut: true}
	case err != nil:
		return &shim.Probed{Error: wireError(err)}
	}
	return &shim.Probed{Code: status.Code, Output: p.out.Text()}
}

// cutProbes ends all probes. It is called with s.starting and s.mu held, where this program is about to be another.
func (s *Supervisor) cutProbes() {
	for _, p := range s.probes {
		p.cut = true
		_ = pidfd.Signal(p.process.Pidfd, sigkill)
	}
}

// openNull opens the input of probes, which have none. Where that fails each opens its own.
func openNull() *os.File {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return f
}
