package probes

import (
	"context"
	"os"
	"sync"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/kernel/pidfd"
	"pier/runtime/supervisor/internal/wire"
)

// A round is the probes of one request. Usually one goroutine does it all: it begins them one after the other, and by the
// time that the last has begun most have ended. So it is the round that wakes this program and the other side, not each
// probe.
//
//	begin, begin, begin, ... gather: wait for all, some milliseconds --> one answer
//	                           +--> follow: a goroutine, and an answer, for each that takes longer
//
// While one of them is slow to begin, help has another goroutine begin the rest, and gather.
type round struct {
	s    *Probes
	conn *fdsock.Conn
	all  []shim.Probe
	ctx  context.Context // ends when nobody waits for answers any more
	stop context.CancelFunc
	done chan struct{} // closed after the last answer

	sending sync.Mutex // held while answers are sent; taken before mu

	mu      sync.Mutex // guards what follows
	watch   *time.Timer
	next    int      // the first that nobody has begun
	moved   int      // how many beginnings are over
	seen    int      // moved, as help last saw it
	open    []*probe // have begun, and nobody waits for them yet
	answers []shim.Probed
	left    int           // how many are not answered
	broken  bool          // an answer could not be sent
	heard   chan struct{} // closed when nobody listens any more; nil if nobody has
	over    bool
}

const (
	// roundPatience is how long a round may stand still over one beginning until another goroutine goes on.
	roundPatience = 50 * time.Millisecond
	// probeSoon is how long after the last beginning the end of all is waited for.
	probeSoon = 20 * time.Millisecond
)

// Run answers a request for probes on conn. It reports whether the connection can take another request.
func (s *Probes) Run(conn *fdsock.Conn, all []shim.Probe) bool {
	r := &round{s: s, conn: conn, all: all, done: make(chan struct{}), left: len(all)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	defer r.stop()
	r.mu.Lock()
	r.watch = time.AfterFunc(roundPatience, r.help)
	r.mu.Unlock()
	r.work()
	<-r.done
	r.watch.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.heard != nil {
		_ = conn.NetConn().SetReadDeadline(time.Unix(1, 0))
		<-r.heard
		_ = conn.NetConn().SetReadDeadline(time.Time{})
	}
	return !r.broken
}

// work begins what nobody has begun, and gathers.
func (r *round) work() {
	for {
		r.mu.Lock()
		i := r.next
		r.next = min(i+1, len(r.all))
		r.mu.Unlock()
		if i == len(r.all) {
			break
		}
		p, failed := r.s.begin(r.ctx, &r.all[i])
		r.mu.Lock()
		r.moved++
		if p != nil {
			p.index = i
			r.open = append(r.open, p)
		} else {
			r.answer(i, failed)
		}
		r.mu.Unlock()
	}
	r.gather()
	r.flush()
}

// help goes on where a beginning holds the round up. It looks again while there is anything to do.
func (r *round) help() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.all) && len(r.open) == 0 {
		return // all that may be left are beginnings, each of which somebody waits for
	}
	if r.moved == r.seen {
		r.listen()
		go r.work()
	}
	r.seen = r.moved
	r.watch.Reset(roundPatience)
}

// gather waits a little for those that nobody waits for.
func (r *round) gather() {
	r.mu.Lock()
	open := r.open
	r.open = nil
	r.mu.Unlock()
	for limit := time.Now().Add(probeSoon); len(open) > 0 && time.Now().Before(limit); {
		files := make([]*os.File, len(open))
		for i, p := range open {
			files[i] = p.process.Pidfd
		}
		var rest []*probe
		for i, ended := range pidfd.Ended(files, time.Until(limit)) {
			p := open[i]
			switch {
			case !ended:
				rest = append(rest, p)
			case p.out.Drain():
				done := r.s.end(p, true)
				r.mu.Lock()
				r.answer(p.index, done)
				r.mu.Unlock()
			default: // something in the background holds the output open
				go r.follow(p)
			}
		}
		open = rest
	}
	if len(open) == 0 {
		return
	}
	r.mu.Lock()
	r.listen()
	r.mu.Unlock()
	for _, p := range open {
		go r.follow(p)
	}
}

// follow waits for one probe alone.
func (r *round) follow(p *probe) {
	done := r.s.follow(p)
	r.mu.Lock()
	r.answer(p.index, done)
	r.mu.Unlock()
	r.flush()
}

// listen ends ctx when the other side hangs up. It is called with mu held.
func (r *round) listen() {
	if r.heard != nil || r.over {
		return
	}
	r.heard = make(chan struct{})
	go func() {
		defer close(r.heard)
		if r.conn.AwaitHangUp() == nil {
			r.stop()
		}
	}()
}

// answer is called with mu held.
func (r *round) answer(index int, p *shim.Probed) {
	p.Index = index
	r.answers = append(r.answers, *p)
}

// flush sends the answers that there are.
func (r *round) flush() {
	r.sending.Lock()
	defer r.sending.Unlock()
	r.mu.Lock()
	answers := r.answers
	r.answers = nil
	r.mu.Unlock()
	if len(answers) == 0 {
		return
	}
	err := wire.Send(r.conn, shim.Response{Probed: answers})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.broken = true
		r.stop()
	}
	if r.left -= len(answers); r.left == 0 {
		close(r.done)
	}
}
