package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"pier/api/shim"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/logging"
	"pier/lib/errkind"
)

// LogStream is an opened log.
type LogStream struct {
	// Terminal tells that lines are written raw; otherwise in Docker's stream frames.
	Terminal bool

	o       LogsOptions
	printer logging.Printer
	r       *logging.Reader
	watch   *logging.Watch // nil unless following
	e       *Engine
	c       *ctr
}

// Logs opens a container's log. At least one of the streams must be asked for. With the log driver none, or a cache that
// is disabled, there is nothing to read: Unsupported. Close the result.
func (st *Streams) Logs(ctx context.Context, ref string, o LogsOptions) (*LogStream, error) {
	c, err := st.e.index.find(ref)
	if err != nil {
		return nil, err
	}
	if !o.Stdout && !o.Stderr {
		return nil, errkind.New(errkind.Invalid, "Bad parameters: you must choose at least one stream")
	}
	if !o.Until.IsZero() && o.Until.Before(o.Since) {
		return nil, errkind.New(errkind.Invalid, "invalid value for until: it is earlier than since")
	}
	r := c.row()
	config, err := logging.Parse(r.Host.LogConfig.Type, r.Host.LogConfig.Config)
	if err != nil {
		return nil, err
	}
	if !config.Readable {
		return nil, errkind.New(errkind.Unsupported, "configured logging driver does not support reading")
	}
	l := &LogStream{Terminal: r.Config.Tty, o: o, e: st.e, c: c, printer: logging.Printer{Terminal: r.Config.Tty,
		Stdout: o.Stdout, Stderr: o.Stderr, Timestamps: o.Timestamps, Details: o.Details, Since: o.Since, Until: o.Until}}
	path := st.e.logPath(c.id)
	if o.Follow {
		l.watch = logging.NewWatch(path)
	}
	l.r, err = logging.Open(path, logging.From{Limited: o.Tail >= 0, Tail: o.Tail, Since: o.Since})
	if err != nil {
		l.watch.Close()
		return nil, err
	}
	return l, nil
}

// Close frees the log's files. Copy must not run.
func (l *LogStream) Close() error {
	l.r.Close()
	l.watch.Close()
	return nil
}

// errPast ends following at a point in time; nobody outside sees it.
var errPast = errors.New("past the wanted time")

// Copy writes the log to w until its end; for Follow until the container ends or is removed, Until has passed, or ctx
// ends, which is no error.
func (l *LogStream) Copy(ctx context.Context, w io.Writer) error {
	done := make(chan struct{})
	if l.o.Follow {
		defer l.follow(ctx, done)()
	} else {
		close(done)
	}
	err := l.r.Follow(ctx, done, l.watch, func(e *logging.Entry) error {
		past, err := l.printer.Print(w, e)
		if past {
			return errPast
		}
		return err
	})
	if errors.Is(err, errPast) || ctx.Err() != nil {
		return nil
	}
	return err
}

// reader gives what Copy writes, until it is closed or at its end, and closes the log then. However long the log is,
// little of it is in memory.
func (l *LogStream) reader(ctx context.Context) *io.PipeReader {
	r, w := io.Pipe()
	l.e.bg.Go(func() {
		buffered := bufio.NewWriterSize(w, 32<<10)
		err := l.Copy(ctx, buffered)
		if err == nil {
			err = buffered.Flush()
		}
		_ = l.Close()
		_ = w.CloseWithError(err)
	})
	return r
}

// follow closes done when no more can come.
func (l *LogStream) follow(ctx context.Context, done chan struct{}) (stop func()) {
	var once sync.Once
	finish := func() { once.Do(func() { close(done) }) }
	w := l.c.await(func(r *row) bool { return r.gone || !r.Life.State.Alive() && !isRestarting(r) })
	ctx, cancel := context.WithCancel(ctx)
	var late <-chan time.Time
	var timer *time.Timer
	if !l.o.Until.IsZero() {
		timer = time.NewTimer(l.o.Until.Sub(l.e.o.Clock.Now()))
		late = timer.C
	}
	l.e.bg.Go(func() {
		defer finish()
		defer l.c.forgetWaiter(w)
		select {
		case <-w.met:
		case <-late:
		case <-ctx.Done():
		case <-l.e.ctx.Done():
		}
	})
	return func() {
		cancel()
		if timer != nil {
			timer.Stop()
		}
	}
}

func isRestarting(r *row) bool { return r.Life.State == lifecycle.Restarting }

// logTo says where the supervisor writes the container's output.
func (e *Engine) logTo(r *row) (shim.Log, error) {
	c, err := logging.Parse(r.Host.LogConfig.Type, r.Host.LogConfig.Config)
	if err == nil {
		err = c.Ready()
	}
	if err != nil || c.Driver == logging.None {
		return shim.Log{}, err
	}
	out := shim.Log{Path: e.logPath(r.ID), MaxSize: c.MaxSize, MaxFiles: c.MaxFiles, Compress: c.Compress, Buffer: c.Buffer}
	if c.Driver == logging.JSONFile {
		out.Attrs, err = c.Attributes(subject(r))
	}
	return out, err
}

// ship delivers the container's log, where its driver is remote, until the shipper is told of its end.
func (e *Engine) ship(r *row) {
	c, err := logging.Parse(r.Host.LogConfig.Type, r.Host.LogConfig.Config)
	if err != nil {
		e.o.Log.Error("log of container is not delivered", "container", r.ID, "error", err)
		return
	}
	e.shipper.Begin(r.ID, e.logPath(r.ID), c, subject(r))
}

// subject is what a log may say of its container.
func subject(r *row) logging.Subject {
	s := logging.Subject{ContainerID: r.ID, ContainerName: "/" + r.Name, ContainerImageID: string(r.Image), ContainerImage: r.Config.Image,
		Created: r.Created, ContainerEnv: r.Config.Env, ContainerLabels: r.Config.Labels}
	if command := settings.Command(r.Config); len(command) > 0 {
		s.Entrypoint, s.Args = command[0], command[1:]
	}
	return s
}
