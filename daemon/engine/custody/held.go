package custody

import (
	"context"
	"os"
	"time"

	"pier/api/shim"
	"pier/kernel/pipe"
	"pier/lib/errkind"
)

// forget is how long after an exec's exit it is deleted at the earliest, where nobody has done so: its streams and a lost
// answer are served until then. It may take twice as long.
const forget = 2 * time.Second

// held is what is kept of a task for the next supervisor.
type held struct {
	task  shim.Task
	files shim.Files
	child bool // it fell to us

	pidfd, master, stdin, stdout, stderr *pipe.Held
}

// hold keeps the descriptors of an answer to Start, Exec or Custody.
func (c *Custodian) hold(answer *response) shim.Task {
	h := &held{task: answer.Started.Task, files: answer.Started.Files}
	files := answer.files()
	for _, f := range []struct {
		there bool
		to    **pipe.Held
	}{{h.files.Pidfd, &h.pidfd}, {h.files.Master, &h.master}, {h.files.Stdin, &h.stdin}, {h.files.Stdout, &h.stdout}, {h.files.Stderr, &h.stderr}} {
		if !f.there || len(files) == 0 {
			continue
		}
		kept, err := pipe.Hold(files[0])
		if err != nil {
			c.log.Error("keep a descriptor of task", "task", h.task.TaskRef, "err", err)
		}
		*f.to, files = kept, files[1:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.tasks[h.task.TaskRef]; old != nil {
		old.release()
	}
	if _, ended := c.ended[h.task.TaskRef]; ended || h.task.Exit != nil {
		h.release()
	}
	c.tasks[h.task.TaskRef] = h
	c.wake()
	return h.task
}

// release closes what is held. Custodian.mu is held, or nobody knows h.
func (h *held) release() {
	for _, f := range []*pipe.Held{h.pidfd, h.master, h.stdin, h.stdout, h.stderr} {
		f.Close()
	}
}

// wake tells those who wait for a task. mu is held.
func (c *Custodian) wake() {
	close(c.more)
	c.more = make(chan struct{})
}

// exited publishes an exit, once.
func (c *Custodian) exited(e shim.Exit) {
	c.mu.Lock()
	if known, again := c.ended[e.TaskRef]; again && known.Pid == e.Pid {
		c.mu.Unlock()
		return
	}
	c.ended[e.TaskRef] = e
	if h := c.tasks[e.TaskRef]; h != nil && !h.child { // a child is reaped first
		h.release()
	}
	c.wake()
	c.mu.Unlock()
	c.exits.Publish(e)
	if e.Exec == "" {
		c.troubles.Delete(e.ID)
	}
	if e.Exec != "" {
		c.forgetLater(e.TaskRef)
	}
}

// forgetLater has an exec that has ended deleted after a while. One goroutine does that for all.
func (c *Custodian) forgetLater(exec shim.TaskRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overdue = append(c.overdue, exec)
	if !c.forgetting {
		c.forgetting = true
		c.work.Go(c.forgetOverdue)
	}
}

// forgetOverdue ends when there is nothing more to forget.
func (c *Custodian) forgetOverdue() {
	for {
		c.mu.Lock()
		execs := c.overdue
		c.overdue, c.forgetting = nil, len(execs) > 0
		c.mu.Unlock()
		if len(execs) == 0 {
			return
		}
		select {
		case <-time.After(forget):
		case <-c.ctx.Done():
			return
		}
		for _, exec := range execs {
			c.mu.Lock()
			_, there := c.ended[exec]
			c.mu.Unlock()
			if !there { // it is deleted
				continue
			}
			if err := c.Delete(c.ctx, exec); err != nil {
				c.log.Warn("forget an exec", "task", exec, "err", err)
			}
		}
	}
}

// stdinClosed drops our end of a standard input that the supervisor has closed.
func (c *Custodian) stdinClosed(ref shim.TaskRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.tasks[ref]; h != nil {
		h.closeStdin()
	}
}

func (h *held) closeStdin() {
	h.stdin.Close()
	h.files.Stdin = false
}

// input waits for the task to begin and opens what its input is written to: the terminal, or standard input.
func (c *Custodian) input(ctx context.Context, ref shim.TaskRef) (shim.Task, *os.File, error) {
	for {
		c.mu.Lock()
		h, more := c.tasks[ref], c.more
		_, ended := c.ended[ref]
		c.mu.Unlock()
		switch {
		case ended:
			return shim.Task{}, nil, errkind.New(errkind.Conflict, "write to task %s: it has ended", ref.ID)
		case h != nil && h.files.Master:
			f, err := h.master.File()
			return h.task, f, err
		case h != nil && h.task.Stdio.OpenStdin:
			f, err := h.stdin.File()
			return h.task, f, err
		case h != nil:
			return h.task, nil, errkind.New(errkind.Conflict, "write to task %s: its standard input is not open", ref.ID)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return shim.Task{}, nil, ctx.Err()
		}
	}
}

// logTrouble notes what the supervisor tells of a log.
func (c *Custodian) logTrouble(l shim.LogTrouble) {
	if l.Reason == "" {
		c.troubles.Delete(l.ID)
		c.log.Info("output of container is logged again", "container", l.ID)
		return
	}
	c.troubles.Store(l.ID, l.Reason)
	c.log.Error("output of container is not logged, and is lost", "container", l.ID, "error", l.Reason)
}

// LogTrouble says why a running container's output cannot be written to its log at this time, "" if it can. It never waits.
func (c *Custodian) LogTrouble(id string) string {
	reason, _ := c.troubles.Load(id)
	text, _ := reason.(string)
	return text
}
