package custody

import (
	"context"
	"errors"
	"os"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
)

// watch is the connection on which a supervisor tells what happens.
type watch struct{ conn *fdsock.Conn }

// openWatch asks inc to tell what happens, and hears what has happened.
func (c *Custodian) openWatch(inc *incarnation) (*watch, error) {
	conn, err := dial(c.ctx, inc.socket)
	if err != nil {
		return nil, &lostError{err}
	}
	answer, err := roundTrip(conn, []byte(`{"kind":"`+shim.KindWatch+`"}`), nil)
	if err != nil {
		conn.Close()
		return nil, &lostError{err}
	}
	if answer.Error != nil {
		conn.Close()
		return nil, answer.Error
	}
	return &watch{conn}, nil
}

// follow hands on what the supervisor tells until the connection ends.
func (c *Custodian) follow(w *watch) {
	stop := context.AfterFunc(c.ctx, func() { w.conn.Close() })
	defer stop()
	defer w.conn.Close()
	for {
		told, err := receive(w.conn)
		if err != nil {
			return
		}
		if told.Exit != nil {
			c.exited(*told.Exit)
		}
		if told.LogTrouble != nil {
			c.logTrouble(*told.LogTrouble)
		}
		if told.StdinClosed != nil {
			c.stdinClosed(*told.StdinClosed)
		}
	}
}

// keep is the life of the custodian: it follows the supervisor, and puts a new one in its place when it dies.
func (c *Custodian) keep(w *watch) {
	for {
		if w != nil {
			c.follow(w)
		}
		if c.ctx.Err() != nil {
			return
		}
		var err error
		if w, err = c.renew(); err != nil {
			if c.ctx.Err() != nil {
				return
			}
			pause := 5 * time.Millisecond
			if !isLost(err) { // it went away once more, in the middle
				c.log.Error("replace the supervisor", "err", err)
				pause = 200 * time.Millisecond
			}
			select {
			case <-time.After(pause):
			case <-c.ctx.Done():
				return
			}
		}
		if w == nil && err == nil { // it left as it was asked to
			return
		}
	}
}

// renew brings the connection to the supervisor back: to the same one, to the next program in its process, or to a new
// one.
func (c *Custodian) renew() (*watch, error) {
	c.mu.Lock()
	old := c.current
	leaving := old.leaving
	c.mu.Unlock()
	begin := time.Now()
	inc, err := c.reach(old)
	if err != nil && c.ctx.Err() != nil {
		return nil, err
	}
	if err != nil && leaving {
		return nil, nil
	}
	replaced := err != nil
	c.mu.Lock()
	if replaced || inc.generation != old.generation {
		old.hangUp() // of no use to the next
	}
	waiting := old
	if replaced && !old.vacant {
		waiting = &incarnation{vacant: true, ready: make(chan struct{}), dead: old.dead, how: old.how, pid: old.pid, socket: old.socket}
		c.current = waiting // requests wait from here on
	}
	c.mu.Unlock()
	if replaced {
		if inc, err = c.replace(old); err != nil {
			return nil, err
		}
	}
	w, err := c.openWatch(inc)
	if err == nil {
		c.troubles.Clear()         // the watch begins with those that there are
		err = c.takeUp(c.ctx, inc) // what it began without our hearing the answer
	}
	if err != nil {
		if w != nil {
			w.conn.Close()
		}
		return nil, err
	}
	c.mu.Lock()
	c.current = inc
	c.renewed = c.renewed || inc != old
	c.mu.Unlock()
	if inc != old {
		close(inc.ready)
		if replaced {
			close(waiting.ready)
		}
	}
	c.log.Info("supervisor taken up again", "pid", inc.pid, "generation", inc.generation, "new", replaced, "took", time.Since(begin))
	return w, nil
}

// reach finds the supervisor alive: old itself, or the program that took its place in the process.
func (c *Custodian) reach(old *incarnation) (*incarnation, error) {
	for {
		select {
		case <-old.dead:
			return nil, errors.New("it has died")
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		default:
		}
		probe := &incarnation{socket: old.socket, dead: old.dead, how: old.how, process: old.process, ready: make(chan struct{})}
		if err := probe.greet(c.ctx); err == nil && probe.pid == old.pid {
			if probe.generation == old.generation {
				probe.hangUp()
				return old, nil
			}
			return probe, nil
		}
		probe.hangUp()
		select {
		case <-old.dead:
		case <-c.ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// replace starts a supervisor and hands everything over to it.
func (c *Custodian) replace(old *incarnation) (*incarnation, error) {
	c.log.Warn("the supervisor has died; starting another", "pid", old.pid, "how", *old.how)
	inc, err := c.find(c.ctx) // perhaps the one from a try before
	if err != nil {
		return nil, err
	}
	if err := c.handAllOver(inc); err != nil {
		inc.retire()
		return nil, err
	}
	return inc, nil
}

// handAllOver gives a supervisor what is held and still runs. It fails only where the supervisor is lost.
func (c *Custodian) handAllOver(inc *incarnation) error {
	c.mu.Lock()
	var tasks []*held
	for _, h := range c.tasks {
		if _, ended := c.ended[h.task.TaskRef]; !ended {
			tasks = append(tasks, h)
		}
	}
	c.mu.Unlock()
	for _, h := range tasks {
		if err := c.handOver(inc, h); err != nil {
			c.log.Error("hand a task over", "task", h.task.TaskRef, "err", err)
			if isLost(err) {
				return err
			}
		}
	}
	return nil
}

func (c *Custodian) handOver(inc *incarnation, h *held) error {
	r := &shim.Adopt{Task: h.task, Files: h.files}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	c.mu.Lock()
	for _, k := range []struct {
		there *bool
		held  interface{ File() (*os.File, error) }
	}{{&r.Files.Pidfd, h.pidfd}, {&r.Files.Master, h.master}, {&r.Files.Stdin, h.stdin}, {&r.Files.Stdout, h.stdout}, {&r.Files.Stderr, h.stderr}} {
		if !*k.there {
			continue
		}
		f, err := k.held.File()
		if err != nil {
			*k.there = false
			continue
		}
		files = append(files, f)
	}
	for s := range c.streams {
		if s.asked.TaskRef == h.task.TaskRef && !s.over.Load() {
			if s.patient.Load() {
				r.Patient++
			} else {
				r.Others++
			}
		}
	}
	c.mu.Unlock()
	if r.Files.Pidfd {
		// A child that runs is a conflict, one that has ended is none at all; not found means somebody else's.
		_, err := pidfd.Peek(files[0])
		r.Child = !errkind.Is(err, errkind.NotFound)
	}
	if _, err := inc.call(c.ctx, &shim.Request{Kind: shim.KindAdopt, Adopt: r}, files...); err != nil {
		return err
	}
	if r.Child {
		c.mu.Lock()
		first := !h.child
		h.child = true
		c.mu.Unlock()
		if first {
			c.work.Go(func() { c.waitChild(h) })
		}
	}
	return nil
}

// tellAgain is how often the end of a child is told until the supervisor has announced it.
const tellAgain = 100 * time.Millisecond

// waitChild tells the supervisor how a process that fell to us has ended. It stays a zombie, and its descriptors stay open,
// until the exit is announced: the supervisor may die once more before the output is out, and the next one needs it all.
func (c *Custodian) waitChild(h *held) {
	f, err := h.pidfd.File()
	if err != nil {
		return
	}
	defer f.Close()
	if err := pidfd.Wait(c.ctx, f); err != nil {
		return // we are closing; whoever gets the process next sees it all
	}
	for {
		c.mu.Lock()
		_, ended := c.ended[h.task.TaskRef]
		ended = ended || c.tasks[h.task.TaskRef] != h // deleted
		more := c.more
		c.mu.Unlock()
		if ended {
			break
		}
		st, err := pidfd.Peek(f)
		if err == nil {
			err = c.plain(c.ctx, &shim.Request{Kind: shim.KindReaped,
				Reaped: &shim.Exit{TaskRef: h.task.TaskRef, Pid: h.task.Pid, Code: st.Code, At: time.Now()}})
		}
		if err != nil && c.ctx.Err() == nil {
			c.log.Warn("tell the end of a task", "task", h.task.TaskRef, "err", err)
		}
		select {
		case <-more:
		case <-time.After(tellAgain):
		case <-c.ctx.Done():
			return
		}
	}
	_, _ = pidfd.Reap(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	h.release()
}
