package custody

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/lib/errkind"
	"pier/lib/feed"
)

// remembered is how many exits the feed holds for a reader that is behind.
const remembered = 1024

// Custodian is pierd's hold on the supervisor. It is safe for concurrent use.
type Custodian struct {
	o     Options
	log   *slog.Logger
	exits *feed.Feed[shim.Exit]

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // all goroutines but those of streams

	troubles sync.Map // of logs: why they cannot be written, by container

	mu         sync.Mutex // guards what follows
	current    *incarnation
	tasks      map[shim.TaskRef]*held
	ended      map[shim.TaskRef]shim.Exit // exits that were published, until the task is deleted
	more       chan struct{}              // closed and replaced when tasks or ended grow
	overdue    []shim.TaskRef             // execs that have ended, see forgetLater
	forgetting bool                       // somebody looks after them
	streams    map[*stream]struct{}
	renewed    bool // a supervisor has taken another's place
	begins     map[*beginning]struct{}
}

// Open dials the living supervisor of o.Root and takes up its tasks, or starts one that adopts what still runs. It makes
// the calling process a child subreaper. Exits of tasks that were not deleted yet are in the feed, if they came before.
func Open(ctx context.Context, o Options) (*Custodian, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := os.MkdirAll(filepath.Join(o.Root, "tasks"), 0o700); err != nil {
		return nil, err
	}
	if err := pidfd.SetSubreaper(); err != nil {
		return nil, err
	}
	c := &Custodian{o: o, log: o.Log, exits: feed.New[shim.Exit](remembered), tasks: map[shim.TaskRef]*held{},
		ended: map[shim.TaskRef]shim.Exit{}, more: make(chan struct{}), streams: map[*stream]struct{}{}, begins: map[*beginning]struct{}{}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	inc, w, err := c.begun(ctx)
	// One that was killed together with the former daemon may answer a last time.
	for tries := 0; isLost(err) && tries < 3 && ctx.Err() == nil; tries++ {
		if inc != nil {
			inc.retire()
		}
		inc, w, err = c.begun(ctx)
	}
	if err != nil {
		if inc != nil {
			inc.retire()
		}
		c.stop()
		return nil, errkind.New(errkind.Of(err), "take custody of %s: %w", o.Root, err)
	}
	c.current = inc
	close(inc.ready)
	c.work.Go(func() { c.keep(w) })
	c.work.Go(c.reapOrphans)
	return c, nil
}

// begun finds a supervisor, gives it what one before it has handed over, takes up what it has and begins to hear of it.
func (c *Custodian) begun(ctx context.Context) (inc *incarnation, w *watch, err error) {
	if inc, err = c.find(ctx); err == nil {
		err = c.handAllOver(inc)
	}
	if err == nil {
		err = c.takeUp(ctx, inc)
	}
	if err == nil {
		w, err = c.openWatch(inc)
	}
	return inc, w, err
}

// find dials the living supervisor or starts one. One that a killed daemon was just starting may come up meanwhile: ours
// then ends at once, and the other answers.
func (c *Custodian) find(ctx context.Context) (*incarnation, error) {
	inc, err := c.dialLiving(ctx)
	for tries := 0; err != nil && tries < 3 && ctx.Err() == nil; tries++ {
		if inc, err = c.launch(ctx); err != nil {
			if living, dialErr := c.dialLiving(ctx); dialErr == nil {
				return living, nil
			}
		}
	}
	return inc, err
}

// takeUp gets duplicates of everything that a supervisor holds, after it looked for tasks that it does not know yet.
func (c *Custodian) takeUp(ctx context.Context, inc *incarnation) error {
	awaited, deposits := c.awaited(inc)
	_, err := inc.call(ctx, &shim.Request{Kind: shim.KindRecover, Recover: awaited}, deposits...)
	for _, f := range deposits {
		f.Close()
	}
	if err != nil {
		return err
	}
	list, err := inc.call(ctx, &shim.Request{Kind: shim.KindList})
	if err != nil {
		return err
	}
	for _, t := range list.Tasks {
		c.mu.Lock()
		_, have := c.tasks[t.TaskRef]
		c.mu.Unlock()
		if have {
			continue
		}
		answer, err := inc.call(ctx, &shim.Request{Kind: shim.KindCustody, Custody: &t.TaskRef})
		if errkind.Is(err, errkind.NotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		c.hold(answer)
	}
	return nil
}

// awaited tells inc of the streams, and of the deposits, of tasks that are not held. The caller closes the files.
func (c *Custodian) awaited(inc *incarnation) (r *shim.Recover, files []*os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[shim.TaskRef]int{}
	for b := range c.begins {
		n[b.ref] = 0
	}
	for s := range c.streams {
		if c.tasks[s.asked.TaskRef] == nil && !s.over.Load() {
			n[s.asked.TaskRef]++
		}
	}
	r = &shim.Recover{}
	for ref, patient := range n {
		a := shim.Awaited{TaskRef: ref, Patient: patient}
		if f := c.copyDeposit(ref); f != nil && inc.hello.Deposits && len(files) < fdsock.MaxFiles {
			a.HasDeposit, files = true, append(files, f)
		} else if f != nil {
			f.Close()
		}
		r.Streams = append(r.Streams, a)
	}
	return r, files
}

// Exits returns a reader of all exits, each once, beginning with those that were found at Open. A reader that falls
// behind by more than 1024 learns so from feed.Reader.Next; Tasks then shows what it missed.
func (c *Custodian) Exits() *feed.Reader[shim.Exit] { return c.exits.Head() }

// SupervisorPid is the process number of the living supervisor.
func (c *Custodian) SupervisorPid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.pid
}

// Start runs a container's first process and returns once its execve has succeeded. Rootfs and netns (either may be nil)
// are borrowed. An error is a *shim.Error with the failing call where the container is at fault. The container's folder,
// cgroup and FIFOs stay until Delete.
func (c *Custodian) Start(ctx context.Context, s *shim.Start, rootfs, netns *os.File) (*shim.Task, error) {
	return c.start(ctx, s, rootfs, netns, nil)
}

// start is Start, or Restore from a folder.
func (c *Custodian) start(ctx context.Context, s *shim.Start, rootfs, netns, folder *os.File) (*shim.Task, error) {
	r := *s
	var files []*os.File
	if r.HasRootfs = rootfs != nil; r.HasRootfs {
		files = append(files, rootfs)
	}
	if r.HasNetns = netns != nil; r.HasNetns {
		files = append(files, netns)
	}
	if folder != nil {
		files = append(files, folder)
	}
	ref := shim.TaskRef{ID: r.ID}
	r.Expected = c.expected(ref)
	return c.begin(ctx, c.enroll(ref), &shim.Request{Kind: shim.KindStart, Start: &r}, files...)
}

// IsTaken reports whether a Start failed because the container has a process, or is about to get one: a former daemon had
// sent off its start. Tasks shows it at the latest when it runs.
func IsTaken(err error) bool {
	var failed *shim.Error
	return errors.As(err, &failed) && failed.Kind == errkind.Conflict && failed.Call == shim.CallBegin
}

// IsCutOff reports whether a Start failed because the supervisor died over it. Nothing of the container runs, but its
// root file system may be used up: it can be started again with another mount.
func IsCutOff(err error) bool {
	var cut *cutOffError
	return errors.As(err, &cut)
}

type cutOffError struct{ id string }

func (e *cutOffError) Error() string {
	return "start " + e.id + ": the supervisor died in the middle of it; start it again"
}
func (e *cutOffError) Unwrap() error { return errkind.New(errkind.Unavailable, "%s", e.Error()) }

// expected counts the streams of a task that is about to begin, where some may still be on their way from a supervisor
// that has died.
func (c *Custodian) expected(ref shim.TaskRef) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renewed {
		return 0
	}
	for s := range c.streams {
		if s.asked.TaskRef == ref && !s.over.Load() {
			n++
		}
	}
	return n
}

// Exec runs one more process in a running container and returns once its execve has succeeded. It is deleted by itself
// after its exit was published. Where join is not nil the process comes with a stream, as if Attach had been called before.
// A supervisor that has not begun it when ctx ends, or after execAnswerLimit (errkind.Timeout), never does.
func (c *Custodian) Exec(ctx context.Context, e *shim.Exec, join *shim.Attach) (*shim.Task, Stream, error) {
	r := *e
	r.Expected = c.expected(e.TaskRef)
	b := c.enroll(e.TaskRef)
	if join != nil {
		b.stream = c.newStream(*join)
		c.mu.Lock()
		c.streams[b.stream] = struct{}{}
		c.mu.Unlock()
	}
	within, cancel := context.WithTimeout(ctx, execAnswerLimit)
	defer cancel()
	task, err := c.begin(within, b, &shim.Request{Kind: shim.KindExec, Exec: &r})
	err = c.explain(ctx, within, execAnswerLimit, err)
	if b.stream == nil {
		return task, nil, err
	}
	if err != nil {
		_ = b.stream.Close()
		return nil, nil, err
	}
	return task, b.stream, nil
}

// begin sends a request that must not be carried out twice. Where its answer is lost with the supervisor, the next one is
// asked what became of it. That one has gone on with a process that had executed its program, and killed any other, so
// where it knows nothing nothing has been done. What a process writes in that time, its terminal and its end are kept by the
// deposit.
func (c *Custodian) begin(ctx context.Context, b *beginning, r *shim.Request, files ...*os.File) (*shim.Task, error) {
	defer c.strike(b)
	ref := b.ref
	inc, err := c.living(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.ask(ctx, inc, b, r, files)
	for isLost(err) {
		if inc, err = c.next(ctx, inc); err != nil {
			return nil, err
		}
		answer, err = inc.call(ctx, &shim.Request{Kind: shim.KindCustody, Custody: &ref})
		if !errkind.Is(err, errkind.NotFound) {
			continue
		}
		c.mu.Lock()
		exit, ended := c.ended[ref]
		c.mu.Unlock()
		switch {
		case ended:
			return &shim.Task{TaskRef: ref, Pid: exit.Pid, Exit: &exit}, nil
		case r.Start != nil && r.Start.HasRootfs:
			return nil, &cutOffError{ref.ID}
		case r.Exec != nil:
			r.Exec.Expected = c.expected(ref)
		}
		answer, err = c.ask(ctx, inc, b, r, files)
	}
	if err != nil {
		return nil, err
	}
	if b.stream != nil && answer.Started != nil {
		b.stream.carriedBy(answer.Started.Hello)
	}
	task := c.hold(answer)
	return &task, nil
}

// Signal sends a signal to one process, or to all of the container. If the supervisor dies meanwhile it may be sent
// twice. Signal, Resize, Freeze and Update fail with errkind.Timeout where the supervisor does not answer for answerLimit;
// what they ask for may then still happen.
func (c *Custodian) Signal(ctx context.Context, s shim.Signal) error {
	return c.soon(ctx, &shim.Request{Kind: shim.KindSignal, Signal: &s})
}

// Resize sets a terminal's size; a task without one is errkind.Conflict.
func (c *Custodian) Resize(ctx context.Context, r shim.Resize) error {
	return c.soon(ctx, &shim.Request{Kind: shim.KindResize, Resize: &r})
}

// Freeze stops or continues all processes of a container.
func (c *Custodian) Freeze(ctx context.Context, f shim.Freeze) error {
	return c.soon(ctx, &shim.Request{Kind: shim.KindFreeze, Freeze: &f})
}

// Update changes the limits of a running container.
func (c *Custodian) Update(ctx context.Context, u shim.Update) error {
	return c.soon(ctx, &shim.Request{Kind: shim.KindUpdate, Update: &u})
}

// Delete forgets a task that has exited, with a container its execs, cgroup and FIFOs. One that lives is
// errkind.Conflict; one that is not there is no error.
func (c *Custodian) Delete(ctx context.Context, ref shim.TaskRef) error {
	c.awaitStreams(ctx, ref)
	err := c.plain(ctx, &shim.Request{Kind: shim.KindDelete, Delete: &ref})
	if err != nil && !errkind.Is(err, errkind.NotFound) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, h := range c.tasks {
		if other == ref || ref.Exec == "" && other.ID == ref.ID {
			h.release()
			delete(c.tasks, other)
		}
	}
	for other := range c.ended {
		if other == ref || ref.Exec == "" && other.ID == ref.ID {
			c.forgetExit(other)
		}
	}
	return nil
}

// Tasks lists what the supervisor holds: living tasks, and those that have exited and were not deleted.
func (c *Custodian) Tasks(ctx context.Context) ([]shim.Task, error) {
	answer, err := c.again(ctx, &shim.Request{Kind: shim.KindList})
	if err != nil {
		return nil, err
	}
	return answer.Tasks, nil
}

// Upgrade makes the supervisor execute the program that is now at its binary's path. Tasks, their output and attached
// streams go on.
func (c *Custodian) Upgrade(ctx context.Context) error {
	return c.plain(ctx, &shim.Request{Kind: shim.KindUpgrade})
}

// Shutdown ends the supervisor; it is errkind.Conflict while a task lives. The Custodian is of no more use but for Close.
func (c *Custodian) Shutdown(ctx context.Context) error {
	inc, err := c.living(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	inc.leaving = true
	c.mu.Unlock()
	if _, err = inc.call(ctx, &shim.Request{Kind: shim.KindShutdown}); err != nil && !isLost(err) {
		c.mu.Lock()
		inc.leaving = false
		c.mu.Unlock()
		return err
	}
	select {
	case <-inc.dead:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close lets go of everything; the supervisor and its tasks go on. Attached streams end.
func (c *Custodian) Close() error {
	c.stop()
	c.mu.Lock()
	inc, streams := c.current, c.streams
	c.streams = map[*stream]struct{}{}
	c.mu.Unlock()
	inc.hangUp()
	for s := range streams {
		s.cut()
	}
	c.work.Wait()
	inc.retire()
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref, h := range c.tasks {
		h.release()
		delete(c.tasks, ref)
	}
	return nil
}

// plain sends a request that has no answer but an error, again if need be.
func (c *Custodian) plain(ctx context.Context, r *shim.Request) error {
	_, err := c.again(ctx, r)
	return err
}

// answerLimit is how long a supervisor that is asked for something short may take: one that is stopped, or that waits in
// the kernel, answers when somebody has helped it.
const answerLimit = 10 * time.Second

// execAnswerLimit is how long it may take for an exec, which the supervisor itself ends after shim.ExecLimit.
const execAnswerLimit = shim.ExecLimit + answerLimit

// soon is plain for answerLimit at most.
func (c *Custodian) soon(ctx context.Context, r *shim.Request) error {
	within, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return c.explain(ctx, within, answerLimit, c.plain(within, r))
}

// explain tells a supervisor that does not answer within limit, for which within is, from a caller who went away.
func (c *Custodian) explain(ctx, within context.Context, limit time.Duration, err error) error {
	if err == nil || within.Err() == nil || ctx.Err() != nil {
		return err
	}
	pid := c.SupervisorPid()
	return errkind.New(errkind.Timeout, "the supervisor (process %d) has not answered for %v: see State in /proc/%d/status, and where it is stopped "+
		"let it go on with kill -CONT %d; what was asked for may happen then", pid, limit, pid, pid)
}

// again sends a request that may be sent more than once: to the next supervisor, if one dies over it.
func (c *Custodian) again(ctx context.Context, r *shim.Request) (*response, error) {
	inc, err := c.living(ctx)
	for err == nil {
		var answer *response
		if answer, err = inc.call(ctx, r); !isLost(err) {
			return answer, err
		}
		inc, err = c.next(ctx, inc)
	}
	return nil, err
}

// living waits until there is a supervisor that has all tasks.
func (c *Custodian) living(ctx context.Context) (*incarnation, error) {
	for {
		c.mu.Lock()
		inc := c.current
		c.mu.Unlock()
		select {
		case <-inc.ready:
			if !inc.vacant {
				return inc, nil
			}
		case <-ctx.Done():
			return nil, errkind.New(errkind.Of(ctx.Err()), "wait for the supervisor: %w", ctx.Err())
		case <-c.ctx.Done():
			return nil, errkind.New(errkind.Unavailable, "wait for the supervisor: the daemon is closing")
		}
	}
}

// next is living after a request to old was lost: it gives the keeper a moment to notice.
func (c *Custodian) next(ctx context.Context, old *incarnation) (*incarnation, error) {
	for {
		inc, err := c.living(ctx)
		if err != nil {
			return nil, err
		}
		if inc != old {
			return inc, nil
		}
		if old.answers(ctx) { // only the connection broke
			return old, nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, errkind.New(errkind.Of(ctx.Err()), "wait for the supervisor: %w", ctx.Err())
		}
	}
}
