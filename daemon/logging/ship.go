package logging

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"pier/daemon/logging/internal/send"
	"pier/kernel/page"
)

const (
	// A batch is sent when it has so many messages or bytes, or when there are no more.
	batchMessages = 512
	batchBytes    = 256 << 10

	retryFirst = 100 * time.Millisecond
	retryLast  = 10 * time.Second

	// farewell is how long the last lines of a container that is removed are tried for.
	farewell = 10 * time.Second
)

// Shipper delivers the logs of containers whose driver is remote: it follows the file that the supervisor writes. So a
// receiver that is slow or away holds nobody up, and what is not delivered when pierd ends, the next one delivers. How
// far it came stands in a mapped page beside the log; a crash between sending and noting that sends one batch again. What
// the files had no room for until it could be delivered is lost, the oldest first, and that is logged.
//
// Safe for concurrent use.
type Shipper struct {
	log  *slog.Logger
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	loads map[string]*load
}

// load is the log of one container.
type load struct {
	id, path string
	config   Config
	subject  Subject

	done   chan struct{} // closed when no more will be written; a load that was taken up again has a new one
	cancel context.CancelFunc
	gone   chan struct{} // closed when the container is removed
	opened chan struct{} // closed when the files are open
	ended  chan struct{}
}

// NewShipper returns a shipper that tells log what goes wrong.
func NewShipper(log *slog.Logger) *Shipper {
	s := &Shipper{log: log, loads: map[string]*load{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Begin delivers what the log at path holds and will hold, until End. It does nothing for a driver that is not remote.
// Called again for a container that has ended it goes on.
func (s *Shipper) Begin(id, path string, c Config, subject Subject) {
	if !c.Remote {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	old := s.loads[id]
	l := &load{id: id, path: path, config: c, subject: subject, done: make(chan struct{}), gone: make(chan struct{}),
		opened: make(chan struct{}), ended: make(chan struct{})}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(s.ctx)
	s.loads[id] = l
	s.all.Go(func() {
		defer close(l.ended)
		defer l.cancel()
		if old != nil { // the run before has not been delivered yet
			old.cancel()
			<-old.ended
		}
		if err := s.deliver(ctx, l); err != nil && ctx.Err() == nil {
			s.log.Error("log of container is not delivered", "container", id, "driver", c.Driver, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.loads[id] == l {
			delete(s.loads, id)
		}
	})
}

// End says that the container has ended: what is there is delivered, and that is all until Begin.
func (s *Shipper) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.loads[id]; l != nil && !isClosed(l.done) {
		close(l.done)
	}
}

// Remove says that the container's files are about to be removed. They are open when it returns; the last lines are tried
// for some seconds more.
func (s *Shipper) Remove(id string) {
	s.mu.Lock()
	l := s.loads[id]
	if l == nil || isClosed(l.gone) {
		s.mu.Unlock()
		return
	}
	if !isClosed(l.done) {
		close(l.done)
	}
	close(l.gone)
	s.mu.Unlock()
	select {
	case <-l.opened:
	case <-l.ended:
	}
	time.AfterFunc(farewell, l.cancel)
}

// Close ends all and waits for it.
func (s *Shipper) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.all.Wait()
}

// newSender makes what speaks the driver's protocol for one container.
func (c Config) newSender(s Subject) (send.Sender, error) {
	tag, err := c.Tag(s)
	if err != nil {
		return nil, err
	}
	extra, err := c.chosen(s)
	if err != nil {
		return nil, err
	}
	return send.New(c.Driver, c.options, send.Container{ID: s.ContainerID, Name: s.Name(), ImageID: s.ContainerImageID,
		ImageName: s.ContainerImage, Command: s.Command(), Created: s.Created, Tag: tag, Extra: extra})
}

func (s *Shipper) deliver(ctx context.Context, l *load) error {
	opened := sync.OnceFunc(func() { close(l.opened) })
	defer opened()
	sender, err := l.config.newSender(l.subject)
	if err != nil {
		return err
	}
	defer sender.Close()
	p, err := page.Open(l.path + ".sent")
	if err != nil {
		return err
	}
	defer p.Close()
	cursor := cursor{p}
	watch := NewWatch(l.path)
	defer watch.Close()
	from := cursor.load()
	r, err := Open(l.path, From{After: from})
	if err != nil {
		return err
	}
	defer r.Close()
	opened()
	b := &batch{}
	return s.follow(ctx, l, r, watch, b, func() error {
		if err := s.send(ctx, l, sender, b); err != nil {
			return err
		}
		cursor.store(r.Position())
		if r.Lost() {
			s.log.Warn("lines of container's log were rotated away before they could be delivered", "container", l.id, "driver", l.config.Driver)
		}
		b.reset()
		return nil
	})
}

// follow reads until the end and calls flush for each batch.
func (s *Shipper) follow(ctx context.Context, l *load, r *Reader, watch *Watch, b *batch, flush func() error) error {
	var e Entry
	for {
		over := isClosed(l.done)
		for {
			ok, err := r.Next(&e)
			if err != nil {
				return err
			}
			if ok {
				b.add(&e)
			}
			if full := b.full(); len(b.messages) > 0 && (full || !ok) {
				if err := flush(); err != nil {
					return err
				}
			}
			if !ok {
				break
			}
		}
		if over {
			return nil
		}
		if err := watch.Wait(ctx, l.done); err != nil {
			return err
		}
	}
}

// send delivers a batch, however long that takes.
func (s *Shipper) send(ctx context.Context, l *load, sender send.Sender, b *batch) error {
	left := b.messages
	pause := retryFirst
	var since time.Time
	for {
		n, err := sender.Send(ctx, left)
		if left = left[n:]; err == nil {
			if !since.IsZero() {
				s.log.Info("log of container is delivered again", "container", l.id, "driver", l.config.Driver, "after", time.Since(since).Round(time.Second))
			}
			return nil
		}
		if ctx.Err() != nil {
			if isClosed(l.gone) && s.ctx.Err() == nil {
				s.log.Warn("last lines of container are not delivered", "container", l.id, "driver", l.config.Driver, "lines", len(left), "error", err)
			}
			return ctx.Err()
		}
		if n > 0 {
			pause = retryFirst
		}
		if since.IsZero() {
			since = time.Now()
			s.log.Warn("log of container waits for its receiver", "container", l.id, "driver", l.config.Driver, "error", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, retryLast)
	}
}

// batch gathers messages with memory of its own.
type batch struct {
	messages []send.Message
	size     int
}

func (b *batch) add(e *Entry) {
	text, whole := bytes.CutSuffix(e.Log, []byte{'\n'})
	b.messages = append(b.messages, send.Message{Text: bytes.Clone(text), Stderr: e.Stream == "stderr", Time: e.Time,
		Partial: !whole && len(text) >= cutAt})
	b.size += len(text)
}

func (b *batch) full() bool { return len(b.messages) >= batchMessages || b.size >= batchBytes }

func (b *batch) reset() { b.messages, b.size = b.messages[:0], 0 }

// cursor keeps a position in a mapped page: word 0 says which of two places holds it, so that it is always whole. Each
// place is two words: the time of the file in ns, and the offset.
type cursor struct{ page *page.Page }

func (c cursor) load() Position {
	at := 1 + 2*int(c.page.Load(0)&1)
	ns := int64(c.page.Load(at))
	if ns == 0 {
		return Position{}
	}
	return Position{File: time.Unix(0, ns).UTC(), Offset: int64(c.page.Load(at + 1))}
}

func (c cursor) store(p Position) {
	if p.File.IsZero() {
		return
	}
	next := 1 - c.page.Load(0)&1
	at := 1 + 2*int(next)
	c.page.Store(at, uint64(p.File.UnixNano()))
	c.page.Store(at+1, uint64(p.Offset))
	c.page.Store(0, next)
}
