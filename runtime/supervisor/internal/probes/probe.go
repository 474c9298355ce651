package probes

import (
	"context"
	"io"
	"time"

	"pier/api/shim"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/oci"
	"pier/runtime/supervisor/internal/wire"
)

const (
	// drain is how long the output may stay open after the process has ended: something in the background holds it.
	drain = time.Second
	// death is how long a killed process may take to be gone; a frozen one takes until it is thawed.
	death = 2 * time.Second

	kill = 9
)

// probe is the process of a probe under way.
type probe struct {
	index   int    // in its round
	id      string // the container's
	process *oci.Process
	out     *pipe.Capture
	ctx     context.Context // ends with its time, or when nobody waits
	stop    context.CancelFunc
	cut     bool // by an upgrade; guarded by Probes.mu
}

// begin makes the process and enters it in s.probes, or says why there is none.
func (s *Probes) begin(ctx context.Context, r *shim.Probe) (*probe, *shim.Probed) {
	failed := func(err error) (*probe, *shim.Probed) { return nil, &shim.Probed{Error: wire.Error(err)} }
	if r.Timeout <= 0 || r.Limit < 0 || r.Limit > shim.MaxProbeOutput {
		return failed(errkind.New(errkind.Invalid, "probe of %s: a timeout of %v and %d bytes of output are not possible", r.ID, r.Timeout, r.Limit))
	}
	place, err := s.host.Find(r.ID)
	if err != nil {
		return failed(err)
	}
	what, err := place.Memory.recall(r)
	if err != nil {
		return failed(err)
	}
	if what == nil {
		return nil, &shim.Probed{Missing: true}
	}
	p := &probe{id: r.ID}
	if p.out, err = pipe.NewCapture(r.Limit); err != nil {
		return failed(err)
	}
	if place.UID != 0 && what.process.User.UID == 0 { // a user namespace maps the container's root
		_ = p.out.In.Chown(place.UID, place.GID) // so that it may open /dev/stdout again
	}
	p.ctx, p.stop = context.WithTimeout(ctx, r.Timeout)
	if err = s.make(place.Memory, what, p); err == nil {
		return p, nil
	}
	late := p.ctx.Err() != nil
	p.out.Close()
	p.stop()
	if late {
		return nil, &shim.Probed{TimedOut: true}
	}
	return failed(err)
}

// make makes the process of p.
func (s *Probes) make(memory *Memory, what *spec, p *probe) error {
	c := &oci.ExecConfig{ID: p.id, Process: what.process, Seccomp: what.filter, SeccompFlags: what.flags, Stdio: oci.Stdio{Stdin: s.null}}
	return s.host.Enter(p.ctx, c, func() (err error) {
		var e *oci.Entry
		if c.NoTracers { // what is kept was made for that
			e = memory.take(what)
		}
		if e == nil {
			if e, err = oci.Enter(c); err != nil {
				return err
			}
		}
		p.process, err = e.Run(p.ctx, p.out.In)
		p.out.In.Close()
		if err != nil || !c.NoTracers || !memory.keep(what, e) {
			e.Close()
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running[p.process.Pid] = p
		return nil
	})
}

// follow reads the output and waits for the end, which p.ctx hastens.
func (s *Probes) follow(p *probe) *shim.Probed {
	out := p.out.Reader()
	defer out.Close()
	killed := context.AfterFunc(p.ctx, func() {
		_ = pidfd.Signal(p.process.Pidfd, kill)
		_ = out.SetReadDeadline(time.Now().Add(drain))
	})
	ended := make(chan bool)
	go func() {
		err := pidfd.Wait(p.ctx, p.process.Pidfd)
		if err == nil {
			_ = out.SetReadDeadline(time.Now().Add(drain))
		}
		ended <- err == nil
	}()
	_, _ = io.Copy(p.out, out) // to the end, or for as long as there is time
	gone := <-ended
	inTime := killed() // and the process is not killed from here on
	if !gone {
		within, stop := context.WithTimeout(context.Background(), death)
		gone = pidfd.Wait(within, p.process.Pidfd) == nil
		stop()
	}
	if gone {
		return s.end(p, inTime)
	}
	text := p.out.Text()
	go func() {
		if err := pidfd.Wait(context.Background(), p.process.Pidfd); err != nil {
			s.log.Error("wait for a probe that was killed", "container", p.id, "err", err)
		}
		_ = s.end(p, false)
	}()
	return &shim.Probed{Output: text, TimedOut: true}
}

// end forgets a process that has ended, and says how.
func (s *Probes) end(p *probe, inTime bool) *shim.Probed {
	status, err := pidfd.Reap(p.process.Pidfd)
	s.mu.Lock()
	delete(s.running, p.process.Pid)
	cut := p.cut
	s.mu.Unlock()
	p.process.Pidfd.Close()
	p.out.Close()
	p.stop()
	switch {
	case cut:
		return &shim.Probed{Error: wire.Error(errkind.New(errkind.Unavailable, "probe of %s: it was cut short by an upgrade", p.id))}
	case !inTime:
		return &shim.Probed{Output: p.out.Text(), TimedOut: true}
	case err != nil:
		return &shim.Probed{Error: wire.Error(err)}
	}
	return &shim.Probed{Code: status.Code, Output: p.out.Text()}
}
