package outside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"pier/api/docker"
	"pier/kernel/fsroot"
	"pier/kernel/link"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// maxOutput is how many bytes an answer's Output has at most.
const maxOutput = 4096

// Subject is one run of a container, and how it is checked. Its fields do not change; it is safe for concurrent use.
type Subject struct {
	Check *Check
	// ID is the container's, Pid and StartTime (see kernel/pidfd) its first process's.
	ID        string
	Pid       int
	StartTime uint64
	// Within ends where no answer is wanted any more: jobs give up then. Until then a descriptor is held.
	Within context.Context

	mu      sync.Mutex // guards process
	process *os.File   // see kernel/pidfd; nil before the first job
}

// Job is one check of a Subject.
type Job struct {
	*Subject
	// Timeout is how long the other side may take.
	Timeout time.Duration
	// Tell gets the answer, once, in a goroutine of its own.
	Tell func(Answer)
}

// handle returns the process. NotFound where it has ended before the first job.
func (s *Subject) handle() (_ *os.File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		if s.process, err = pidfd.Open(s.Pid, s.StartTime); err != nil {
			return nil, err
		}
		context.AfterFunc(s.Within, func() { _ = s.process.Close() })
	}
	return s.process, nil
}

// Answer is what came of a job.
type Answer struct {
	// Code is the verdict: 0 for healthy, else 1.
	Code int
	// Output says what was asked and what came, in a sentence; then, of HTTP, comes the beginning of the answer's body, as the
	// container sent it.
	Output string
	// Late is set where Timeout has passed.
	Late bool
	// Err is Unavailable where nothing can be said: the container has ended, or Within has.
	Err error
}

// Prober runs jobs. The zero value is ready. It is safe for concurrent use.
type Prober struct {
	mu      sync.Mutex               // guards looking
	looking map[string]chan struct{} // by the ID of a container: a look into its files that has not returned; closed when it has
}

// linger is how long the answers of a round are left to come before the first is looked for. A thread woken for each, as they
// come, would be most of what a probe costs.
const linger = 10 * time.Millisecond

// Run begins all jobs and returns: those that ask a port have their sockets then. It is for many at once.
func (p *Prober) Run(jobs []Job) {
	now := time.Now()
	calls := make([]link.Call, 0, len(jobs))
	callers := make([]*Job, 0, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		process, err := j.handle()
		switch {
		case err != nil:
			go j.Tell(Answer{Err: ended(j, err)})
		case j.Check.kind == docker.ProbeFile:
			go p.find(j, process)
		default:
			calls = append(calls, link.Call{Process: process, To: j.Check.first(), Say: j.Check.say})
			callers = append(callers, j)
		}
	}
	if len(calls) == 0 {
		return
	}
	link.PlaceCalls(calls)
	var later []func()
	for i, j := range callers {
		hear := func() { j.hear(&calls[i], now.Add(j.Timeout)) }
		if calls[i].Connected && calls[i].Say != nil && j.Timeout > 2*linger {
			later = append(later, hear)
		} else {
			go hear()
		}
	}
	if len(later) > 0 {
		time.AfterFunc(linger, func() {
			for _, hear := range later {
				go hear()
			}
		})
	}
}

func ended(j *Job, err error) error {
	return errkind.New(errkind.Unavailable, "health check of %s: %w", j.ID, err)
}

// first is whom to ask first.
func (c *Check) first() netip.AddrPort {
	if c.host.IsValid() {
		return netip.AddrPortFrom(c.host, c.port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.port)
}

// hear waits for what comes of a call, and tells.
func (j *Job) hear(call *link.Call, deadline time.Time) {
	healthy, said, err := j.talk(call, deadline)
	late := err != nil && !link.Refused(err) && !time.Now().Before(deadline)
	if late { // what breaks off at the deadline says so in many ways
		err = os.ErrDeadlineExceeded
	}
	a := j.outcome(healthy, said, err)
	a.Late = late
	switch {
	case j.Within.Err() != nil:
		a = Answer{Err: ended(j, j.Within.Err())}
	case errkind.Is(call.Err, errkind.NotFound):
		a = Answer{Err: ended(j, call.Err)}
	}
	j.Tell(a)
}

// talk asks where the call is connected, or at ::1 where nobody listens there. said is what came, for Output.
func (j *Job) talk(call *link.Call, deadline time.Time) (healthy bool, said string, err error) {
	c := j.Check
	if call.Err == nil && call.Connected && c.kind == docker.ProbeTCP {
		call.Drop()
		return true, connected, nil
	}
	healthy, said, err = j.ask(call, deadline)
	if link.Refused(err) && !c.host.IsValid() && call.To.Addr().Is4() {
		again := []link.Call{{Process: call.Process, To: netip.AddrPortFrom(netip.IPv6Loopback(), c.port), Say: c.say}}
		link.PlaceCalls(again)
		if healthy, said, otherErr := j.ask(&again[0], deadline); again[0].Err == nil && !link.Refused(otherErr) {
			return healthy, said, otherErr
		}
	}
	return healthy, said, err
}

// connected is what came of a TCP probe.
const connected = "connected"

// ask waits until the call is connected, and for the answer.
func (j *Job) ask(call *link.Call, deadline time.Time) (healthy bool, said string, err error) {
	if call.Err != nil {
		return false, "", call.Err
	}
	conn := call.Conn()
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return false, "", err
	}
	giveUp := context.AfterFunc(j.Within, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer giveUp()
	if !call.Connected {
		if err := link.Settled(conn); err != nil {
			return false, "", err
		}
		if _, err := conn.Write(call.Say); err != nil {
			return false, "", err
		}
	}
	w := &wire{file: conn, in: conn, left: maxRead}
	switch c := j.Check; {
	case c.secure:
		return c.getTLS(w)
	case c.kind == docker.ProbeHTTP:
		return c.get(w)
	case c.kind == docker.ProbeGRPC:
		return c.serving(w)
	}
	return true, connected, nil
}

// outcome words what came.
func (j *Job) outcome(healthy bool, said string, err error) Answer {
	if err != nil {
		said = reason(err)
	}
	out := j.Check.asked + ": " + said
	out = strings.ToValidUTF8(out, "\uFFFD") // three bytes for one
	a := Answer{Code: 1, Output: strings.ToValidUTF8(out[:min(len(out), maxOutput)], "")}
	if healthy && err == nil {
		a.Code = 0
	}
	return a
}

// reason words an error for the one who reads the health log.
func reason(err error) string {
	var call *os.SyscallError
	var name *fs.PathError
	switch {
	case link.Refused(err):
		return "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer"
	case errors.Is(err, errTooLong):
		return errTooLong.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed within the answer"
	case errors.Is(err, io.EOF):
		return "the connection was closed without an answer"
	case errors.As(err, &call):
		return call.Err.Error()
	case errors.As(err, &name):
		return name.Err.Error()
	}
	return err.Error()
}

// find looks for a file. A look into a file system that does not answer (FUSE, NFS) holds its thread until that does or its
// process ends, so that a container has one such look at most, whatever the number of its probes.
func (p *Prober) find(j *Job, process *os.File) {
	timer := time.NewTimer(j.Timeout)
	defer timer.Stop()
	for {
		done, mine := p.begin(j.ID)
		found := make(chan Answer, 1)
		if mine {
			go func() {
				a := j.look(process)
				p.end(j.ID)
				found <- a
			}()
			done = nil
		}
		select {
		case a := <-found:
			j.Tell(a)
			return
		case <-done: // what another one was about, of the run before this one
		case <-timer.C:
			j.Tell(Answer{Code: 1, Output: j.Check.asked + ": the file system does not answer", Late: true})
			return
		case <-j.Within.Done():
			j.Tell(Answer{Err: ended(j, j.Within.Err())})
			return
		}
	}
}

// begin begins a look into a container. Where one is under way it is not the caller's, and done is closed when that has ended.
func (p *Prober) begin(id string) (done chan struct{}, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if done = p.looking[id]; done != nil {
		return done, false
	}
	if p.looking == nil {
		p.looking = map[string]chan struct{}{}
	}
	p.looking[id] = make(chan struct{})
	return nil, true
}

func (p *Prober) end(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.looking[id])
	delete(p.looking, id)
}

// look looks for the file once.
func (j *Job) look(process *os.File) Answer {
	root, err := fsroot.Open(fmt.Sprintf("/proc/%d/root", j.Pid))
	if err == nil {
		defer root.Close()
		err = pidfd.Signal(process, 0) // only if it is there still was that its root
	}
	if err != nil {
		return Answer{Err: ended(j, err)}
	}
	_, err = root.Stat(j.Check.what)
	return j.outcome(err == nil, "found", err)
}
