package supervisor

import (
	"pier/kernel/pipe"
	"pier/runtime/logging"
)

// tools is what moving output needs while it moves: memory, a scratch pipe, and a goroutine with a stack that has grown.
// An idle task has none of it; the goroutines that wait for its output stay as small as they were born.
type tools struct {
	scratch *pipe.Scratch
	encoded []byte
	line    []byte // from the ring
	jobs    chan func(*tools)
	done    chan struct{}
}

// toolBox lends tools. It keeps a few for the next user.
type toolBox chan *tools

// do runs f with tools and waits for it.
func (b toolBox) do(f func(*tools)) error {
	t, err := b.take()
	if err != nil {
		return err
	}
	t.jobs <- f
	<-t.done
	b.put(t)
	return nil
}

func (b toolBox) take() (*tools, error) {
	select {
	case t := <-b:
		return t, nil
	default:
	}
	s, err := pipe.NewScratch()
	if err != nil {
		return nil, err
	}
	t := &tools{scratch: s, jobs: make(chan func(*tools)), done: make(chan struct{})}
	go t.work()
	return t, nil
}

func (t *tools) work() {
	defer t.scratch.Release()
	for f := range t.jobs {
		f(t)
		t.done <- struct{}{}
	}
}

func (b toolBox) put(t *tools) {
	if cap(t.encoded) > 2*logging.MaxPortion {
		t.encoded = nil
	}
	if cap(t.line) > 2*logging.MaxPortion {
		t.line = nil
	}
	select {
	case b <- t:
	default:
		close(t.jobs)
	}
}

func (b toolBox) close() {
	for {
		select {
		case t := <-b:
			close(t.jobs)
		default:
			return
		}
	}
}
