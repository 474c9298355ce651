package supervisor

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/kernel/pipe"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// A probe is the cheap kind of exec, of which there may be hundreds a second: one pipe, one wait and nothing on disk. It
// leaves no trace for a successor to find, so it must not outlive this program: the kernel kills it with us, an upgrade
// does before it executes the next program.

const (
	// probeSlow is after what time a probe is worth a watch for the end of the connection and of the process.
	probeSlow = 100 * time.Millisecond
	// probeDrain is how long the output may stay open after the process has ended: something in the background holds it.
	probeDrain = time.Second
	// probeDeath is how long a killed process may take to be gone; a frozen one takes until it is thawed.
	probeDeath = 2 * time.Second
)

// probeSpec is what a probe runs. It is not changed.
type probeSpec struct {
	key     string
	process *specs.Process
	filter  []byte
	flags   uint // to load it with
}

// probing is the process of a probe under way.
type probing struct {
	pidfd *os.File // open while it is in Supervisor.probes
	cut   bool     // by an upgrade; guarded by Supervisor.mu
}

func (s *Supervisor) probe(conn *fdsock.Conn, r *shim.Probe) (*shim.Probed, error) {
	if r.Timeout <= 0 || r.Limit < 0 || r.Limit > shim.MaxProbeOutput {
		return nil, errkind.New(errkind.Invalid, "probe of %s: a timeout of %v and %d bytes of output are not possible", r.ID, r.Timeout, r.Limit)
	}
	init, err := s.running(r.ID)
	if err != nil {
		return nil, err
	}
	spec, err := s.probeSpec(init, r)
	if err != nil {
		return nil, err
	}
	if spec == nil {
		return &shim.Probed{Missing: true}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	p, out, err := s.beginProbe(ctx, init, spec)
	if err != nil && ctx.Err() != nil {
		return &shim.Probed{TimedOut: true}, nil
	}
	if err != nil {
		return nil, startFailure(err)
	}
	return s.followProbe(ctx, cancel, conn, r, p, out)
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
		init.probed = spec
		s.mu.Unlock()
	}
	return spec, nil
}

// beginProbe makes the process and enters it in s.probes. The caller closes out, its output.
func (s *Supervisor) beginProbe(ctx context.Context, init *task, spec *probeSpec) (p *oci.Process, out *os.File, err error) {
	out, in, err := pipe.New()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	if init.record.Uid != 0 && spec.process.User.UID == 0 { // a user namespace maps the container's root
		_ = in.Chown(init.record.Uid, init.record.Gid) // so that it may open /dev/stdout again
	}
	s.starting.RLock()
	defer s.starting.RUnlock()
	if init.view().Exit != nil {
		err = errkind.New(errkind.Conflict, "container %s is not running", init.ref.ID)
	} else {
		p, err = s.execIn(ctx, init, &oci.ExecConfig{Process: spec.process, Seccomp: spec.filter, SeccompFlags: spec.flags,
			Stdio: oci.Stdio{Stdout: in, Stderr: in}, Bound: true})
	}
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	s.mu.Lock()
	s.probes[p.Pid] = &probing{pidfd: p.Pidfd}
	s.mu.Unlock()
	return p, out, nil
}

// followProbe reads the output and waits for the end, which ctx hastens. cancel ends ctx.
func (s *Supervisor) followProbe(ctx context.Context, cancel func(), conn *fdsock.Conn, r *shim.Probe, p *oci.Process, out *os.File) (*shim.Probed, error) {
	defer out.Close()
	killed := context.AfterFunc(ctx, func() {
		_ = pidfd.Signal(p.Pidfd, sigkill)
		_ = out.SetReadDeadline(time.Now().Add(probeDrain))
	})
	watched := make(chan struct{})
	slow := time.AfterFunc(probeSlow, func() {
		defer close(watched)
		var hangUp sync.WaitGroup
		hangUp.Go(func() {
			if conn.AwaitHangUp() == nil {
				cancel()
			}
		})
		if pidfd.Wait(ctx, p.Pidfd) == nil {
			_ = out.SetReadDeadline(time.Now().Add(probeDrain))
		}
		hangUp.Wait()
	})
	text, err := io.ReadAll(io.LimitReader(out, int64(r.Limit)))
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	}
	_ = err // the end, or a time that is over
	ended := pidfd.EndsSoon(p.Pidfd) || pidfd.Wait(ctx, p.Pidfd) == nil
	inTime := killed() // and the process is not killed from here on
	if !ended {
		within, stop := context.WithTimeout(context.Background(), probeDeath)
		ended = pidfd.Wait(within, p.Pidfd) == nil
		stop()
	}
	if !slow.Stop() {
		_ = conn.NetConn().SetReadDeadline(time.Unix(1, 0))
		cancel()
		<-watched
		_ = conn.NetConn().SetReadDeadline(time.Time{})
	}
	if !ended {
		go func() {
			if err := pidfd.Wait(context.Background(), p.Pidfd); err != nil {
				s.log.Error("wait for a probe that was killed", "container", r.ID, "err", err)
			}
			_, _, _ = s.endProbe(p)
		}()
		return &shim.Probed{Output: text, TimedOut: true}, nil
	}
	status, cut, err := s.endProbe(p)
	switch {
	case cut:
		return nil, errkind.New(errkind.Unavailable, "probe of %s: it was cut short by an upgrade", r.ID)
	case !inTime:
		return &shim.Probed{Output: text, TimedOut: true}, nil
	case err != nil:
		return nil, err
	}
	return &shim.Probed{Code: status.Code, Output: text}, nil
}

// endProbe forgets a process that has ended.
func (s *Supervisor) endProbe(p *oci.Process) (status pidfd.Status, cut bool, err error) {
	status, err = pidfd.Reap(p.Pidfd)
	s.mu.Lock()
	cut = s.probes[p.Pid].cut
	delete(s.probes, p.Pid)
	s.mu.Unlock()
	p.Pidfd.Close()
	return status, cut, err
}

// cutProbes ends all probes. It is called with s.starting and s.mu held, where this program is about to be another.
func (s *Supervisor) cutProbes() {
	for _, p := range s.probes {
		p.cut = true
		_ = pidfd.Signal(p.pidfd, sigkill)
	}
}
