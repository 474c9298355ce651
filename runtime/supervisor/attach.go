package supervisor

import (
	"encoding/json"
	"os"
	"slices"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/runtime/supervisor/internal/journal"
	"pier/runtime/supervisor/internal/wire"
)

// attach makes conn a stream of the task's output. It returns when the stream has ended.
func (s *Supervisor) attach(conn *fdsock.Conn, r *shim.Attach) {
	if err := validate(r.TaskRef); err != nil {
		_ = wire.Send(conn, shim.Response{Error: wire.Error(err)})
		return
	}
	a := &attacher{conn: conn.NetConn(), want: [3]bool{shim.FrameStdout: r.Stdout, shim.FrameStderr: r.Stderr}}
	a.mu.Lock() // no output before the answer
	at, open, failure := s.join(a, r)
	err := wire.Send(conn, shim.Response{Attached: &at, Hello: s.hello()})
	_ = a.conn.SetWriteDeadline(time.Time{})
	if a.hasty.Load() { // the task has ended meanwhile
		a.hurry()
	}
	if err != nil {
		a.drop()
	}
	a.mu.Unlock()
	if !open && failure != "" {
		a.end(shim.FrameError, []byte(failure))
	} else if !open {
		a.end(shim.FrameEnd, nil)
	}
	s.follow(a, r.TaskRef)
}

// attachNext makes the socket f, which stays the caller's, a stream of a task that is about to begin. The caller has it
// followed.
func (s *Supervisor) attachNext(f *os.File, ref shim.TaskRef, want shim.Joined) (*attacher, error) {
	conn, err := fdsock.FromFile(f)
	if err != nil {
		return nil, err
	}
	a := &attacher{conn: conn.NetConn(), want: [3]bool{shim.FrameStdout: want.Stdout, shim.FrameStderr: want.Stderr}, patient: true}
	s.mu.Lock()
	s.waiting[ref] = append(s.waiting[ref], a)
	s.mu.Unlock()
	return a, nil
}

// follow returns when the other side of a has left, or the stream has ended.
func (s *Supervisor) follow(a *attacher, ref shim.TaskRef) {
	// Nothing is sent from the other side; the wait ends with the connection.
	var none [1]byte
	_, _ = a.conn.Read(none[:])
	s.leave(a, ref)
	a.leave()
}

// join adds a to its task, or to those who wait for it.
func (s *Supervisor) join(a *attacher, r *shim.Attach) (at shim.Position, open bool, failure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tasks := range []map[shim.TaskRef]*task{s.tasks, s.making} {
		if t := tasks[r.TaskRef]; t != nil {
			return t.hub.join(a, r.Resume)
		}
	}
	a.patient = true
	s.waiting[r.TaskRef] = append(s.waiting[r.TaskRef], a)
	return shim.Position{Patient: true}, true, ""
}

func (s *Supervisor) leave(a *attacher, ref shim.TaskRef) {
	s.mu.Lock()
	if list, ok := s.waiting[ref]; ok {
		list = slices.DeleteFunc(list, func(b *attacher) bool { return a == b })
		if s.waiting[ref] = list; len(list) == 0 {
			delete(s.waiting, ref)
		}
	}
	t := s.tasks[ref]
	if t == nil {
		t = s.making[ref]
	}
	s.mu.Unlock()
	if t != nil {
		t.hub.leave(a)
	}
}

// watcher is one Watch connection.
type watcher struct {
	wake  chan struct{}   // has a value when queue is not empty
	queue []shim.Response // guarded by Supervisor.mu
}

// watched reports whether a pierd is there.
func (s *Supervisor) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers) > 0
}

// tell queues a fact for all watchers. mu is held.
func (s *Supervisor) tell(r shim.Response) {
	for w := range s.watchers {
		w.put(r)
	}
}

func (w *watcher) put(r shim.Response) {
	w.queue = append(w.queue, r)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// watch sends the exits of all tasks that were not deleted yet, and then what happens.
func (s *Supervisor) watch(conn *fdsock.Conn) {
	w := &watcher{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	w.put(shim.Response{})
	for _, t := range s.tasks {
		if t.info.Exit != nil {
			w.put(shim.Response{Exit: t.info.Exit})
		}
		if t.info.Exit == nil && t.trouble != "" {
			w.put(shim.Response{LogTrouble: &shim.LogTrouble{ID: t.ref.ID, Reason: t.trouble}})
		}
		if t.info.Exit == nil && t.journal.Flag(journal.StdinClosed) {
			w.put(shim.Response{StdinClosed: &t.ref})
		}
	}
	s.mu.Unlock()
	_ = conn.NetConn().SetWriteDeadline(time.Time{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var none [1]byte
		_, _ = conn.NetConn().Read(none[:])
	}()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
		conn.Close()
		<-gone
	}()
	for {
		select {
		case <-gone:
			return
		case <-w.wake:
		}
		s.mu.Lock()
		queue := w.queue
		w.queue = nil
		s.mu.Unlock()
		for _, r := range queue {
			payload, err := json.Marshal(r)
			if err != nil {
				s.log.Error("tell pierd", "err", err)
				continue
			}
			if err := conn.Send(payload); err != nil {
				return
			}
		}
	}
}
