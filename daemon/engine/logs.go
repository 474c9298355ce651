package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/streams"
	"pier/lib/errkind"
)

// LogStream is an opened log.
type LogStream struct {
	// Terminal tells that lines are written raw; otherwise in Docker's stream frames.
	Terminal bool

	o      LogsOptions
	r      *streams.LogReader
	e      *Engine
	c      *ctr
	buffer []byte
}

// timeForm has nine digits always, so that columns align.
const timeForm = "2006-01-02T15:04:05.000000000Z07:00"

// Logs opens a container's log. At least one of the streams must be asked for. With the log driver none there is
// nothing to read: Unsupported. Close the result.
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
	if r.Host.LogConfig.Type == settings.LogNone {
		return nil, errkind.New(errkind.Unsupported, "configured logging driver does not support reading")
	}
	lr, err := streams.OpenLog(st.e.logPath(c.id), o.Tail)
	if err != nil {
		return nil, err
	}
	return &LogStream{Terminal: r.Config.Tty, o: o, r: lr, e: st.e, c: c}, nil
}

// Close frees the log's files. Copy must not run.
func (l *LogStream) Close() error {
	l.r.Close()
	return nil
}

// errPast ends following at a point in time; nobody outside sees it.
var errPast = errors.New("past the wanted time")

// Copy writes the log to w until its end; for Follow until the container ends or is removed, Until has passed, or ctx
// ends, which is no error.
func (l *LogStream) Copy(ctx context.Context, w io.Writer) error {
	done := make(chan struct{})
	wait := func(context.Context) error { return nil }
	if !l.o.Follow {
		close(done)
	} else {
		stop, err := l.follow(ctx, done)
		if err != nil {
			return err
		}
		defer stop()
		watch := streams.WatchLog(l.e.logPath(l.c.id))
		defer watch.Close()
		wait = func(ctx context.Context) error { return watch.Wait(ctx, done) }
	}
	err := l.r.Follow(ctx, done, wait, func(e streams.Entry) error {
		if !l.o.Until.IsZero() && e.Time.After(l.o.Until) {
			return errPast
		}
		return l.write(w, e)
	})
	if errors.Is(err, errPast) || ctx.Err() != nil {
		return nil
	}
	return err
}

func (l *LogStream) write(w io.Writer, e streams.Entry) error {
	stream := byte(streams.Stdout)
	if e.Stream == "stderr" {
		stream = streams.Stderr
	}
	if stream == streams.Stdout && !l.o.Stdout || stream == streams.Stderr && !l.o.Stderr || e.Time.Before(l.o.Since) {
		return nil
	}
	b := l.buffer[:0]
	var head [8]byte
	if !l.Terminal {
		b = append(b, head[:]...)
	}
	if l.o.Timestamps {
		b = append(e.Time.AppendFormat(b, timeForm), ' ')
	}
	if l.o.Details {
		b = append(append(b, details(e.Attrs)...), ' ')
	}
	b = append(b, e.Log...)
	if !l.Terminal {
		head = streams.Header(stream, len(b)-len(head))
		copy(b, head[:])
	}
	l.buffer = b
	_, err := w.Write(b)
	return err
}

func details(attrs map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		out = append(out, k+"="+attrs[k])
	}
	return strings.Join(out, ",")
}

// follow closes done when no more can come.
func (l *LogStream) follow(ctx context.Context, done chan struct{}) (stop func(), err error) {
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
	}, nil
}

func isRestarting(r *row) bool { return r.Life.State == lifecycle.Restarting }
