// Package logs is what the engine does with the logs of its containers: it says where the supervisor writes them, reads
// them back, and follows them to the container's end.
//
// Start reading at Container.
package logs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/api/shim"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/logging"
	"pier/lib/clock"
	"pier/lib/errkind"
)

// Container is what a log has to know of its container.
type Container struct {
	ID      string
	Name    string // without slash
	Image   string // its identifier
	Created time.Time
	Config  *container.Config
	Host    *container.HostConfig
	Path    string // of the live file
}

func (c Container) config() (logging.Config, error) {
	return logging.Parse(c.Host.LogConfig.Type, c.Host.LogConfig.Config)
}

func (c Container) subject() logging.Subject {
	s := logging.Subject{ContainerID: c.ID, ContainerName: "/" + c.Name, ContainerImageID: c.Image, ContainerImage: c.Config.Image,
		Created: c.Created, ContainerEnv: c.Config.Env, ContainerLabels: c.Config.Labels}
	if command := settings.Command(c.Config); len(command) > 0 {
		s.Entrypoint, s.Args = command[0], command[1:]
	}
	return s
}

// Target says where and how the supervisor writes the container's output. Errors say why its driver cannot work here.
func (c Container) Target() (shim.Log, error) {
	config, err := c.config()
	if err == nil {
		err = config.Ready()
	}
	if err != nil || config.Driver == logging.None {
		return shim.Log{}, err
	}
	out := shim.Log{Path: c.Path, MaxSize: config.MaxSize, MaxFiles: config.MaxFiles, Compress: config.Compress, Buffer: config.Buffer}
	if config.Driver == logging.JSONFile {
		out.Attrs, err = config.Attributes(c.subject())
	}
	return out, err
}

// Ship has s deliver the log, where its driver is remote, until s is told of its end.
func (c Container) Ship(s *logging.Shipper) error {
	config, err := c.config()
	if err == nil {
		s.Begin(c.ID, c.Path, config, c.subject())
	}
	return err
}

// Options are those of GET /containers/{id}/logs.
type Options struct {
	Stdout     bool
	Stderr     bool
	Follow     bool
	Timestamps bool
	Details    bool
	Since      time.Time // zero: from the beginning
	Until      time.Time // zero: to the end
	Tail       int       // last so many lines; negative: all
}

// Life is what a stream must know of the engine and of how long the container lives.
type Life struct {
	Clock clock.Clock
	// Background runs what outlives a call.
	Background func(func())
	// Ended gives a channel that is closed once no more output can come, and what forgets it.
	Ended func() (<-chan struct{}, func())
	// Engine ends with the engine.
	Engine context.Context
}

// Stream is an opened log.
type Stream struct {
	// Terminal tells that lines are written raw; otherwise in Docker's stream frames.
	Terminal bool

	o       Options
	life    Life
	printer logging.Printer
	r       *logging.Reader
	watch   *logging.Watch // nil unless following
}

// Open opens a container's log. At least one of the streams must be asked for. With the log driver none, or a cache that
// is disabled, there is nothing to read: Unsupported. Close the result.
func Open(c Container, o Options, life Life) (*Stream, error) {
	if !o.Stdout && !o.Stderr {
		return nil, errkind.New(errkind.Invalid, "Bad parameters: you must choose at least one stream")
	}
	if !o.Until.IsZero() && o.Until.Before(o.Since) {
		return nil, errkind.New(errkind.Invalid, "invalid value for until: it is earlier than since")
	}
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	if !config.Readable {
		return nil, errkind.New(errkind.Unsupported, "configured logging driver does not support reading")
	}
	s := &Stream{Terminal: c.Config.Tty, o: o, life: life, printer: logging.Printer{Terminal: c.Config.Tty,
		Stdout: o.Stdout, Stderr: o.Stderr, Timestamps: o.Timestamps, Details: o.Details, Since: o.Since, Until: o.Until}}
	if o.Follow {
		s.watch = logging.NewWatch(c.Path)
	}
	s.r, err = logging.Open(c.Path, logging.From{Limited: o.Tail >= 0, Tail: o.Tail, Since: o.Since})
	if err != nil {
		s.watch.Close()
		return nil, err
	}
	return s, nil
}

// Close frees the log's files. Copy must not run.
func (s *Stream) Close() error {
	s.r.Close()
	s.watch.Close()
	return nil
}

// errPast ends following at a point in time; nobody outside sees it.
var errPast = errors.New("past the wanted time")

// Copy writes the log to w until its end; for Follow until the container ends or is removed, or Until has passed. Where ctx
// has ended before all of that was written, the error is that of ctx.
func (s *Stream) Copy(ctx context.Context, w io.Writer) error {
	done := make(chan struct{})
	if s.o.Follow {
		defer s.follow(ctx, done)()
	} else {
		close(done)
	}
	buffered := bufio.NewWriterSize(w, 32<<10)
	err := s.r.Follow(ctx, done, s.watch, func(e *logging.Entry) error {
		if e == nil {
			return buffered.Flush()
		}
		past, err := s.printer.Print(buffered, e)
		if past {
			return errPast
		}
		return err
	})
	if flushErr := buffered.Flush(); err == nil {
		err = flushErr
	}
	if errors.Is(err, errPast) {
		return nil
	}
	if cut := ctx.Err(); cut != nil && err != nil {
		return cut
	}
	return err
}

// Reader gives what Copy writes, until it is closed or at its end, and closes the log then. However long the log is,
// little of it is in memory.
func (s *Stream) Reader(ctx context.Context) *io.PipeReader {
	r, w := io.Pipe()
	s.life.Background(func() {
		err := s.Copy(ctx, w)
		_ = s.Close()
		_ = w.CloseWithError(err)
	})
	return r
}

// follow closes done when no more can come, unless ctx or the caller has ended it before.
func (s *Stream) follow(ctx context.Context, done chan struct{}) (stop func()) {
	ended, forget := s.life.Ended()
	ctx, cancel := context.WithCancel(ctx)
	var late <-chan time.Time
	var timer *time.Timer
	if !s.o.Until.IsZero() {
		timer = time.NewTimer(s.o.Until.Sub(s.life.Clock.Now()))
		late = timer.C
	}
	s.life.Background(func() {
		defer forget()
		select {
		case <-ended:
		case <-late:
		case <-s.life.Engine.Done():
		case <-ctx.Done():
			return // no more may come, or it may
		}
		close(done)
	})
	return func() {
		cancel()
		if timer != nil {
			timer.Stop()
		}
	}
}
