package supervisor

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"pier/kernel/memory"
)

const (
	// tidyAfter is how long after the last start or delete what they used goes back to the system. Requests are many times
	// larger than what stays of them. Not at once: the next start would have to get it back page by page.
	tidyAfter = 5 * time.Second
	// tidyProbes is the same for probes, from the first on since the last time: they go on for as long as their containers
	// do, a little garbage each, so nobody waits for a pause.
	tidyProbes = time.Minute
)

// tidier gives memory back to the system some time after it was used. It is safe for concurrent use.
type tidier struct {
	timer *time.Timer
	due   atomic.Bool // the timer runs
}

// newTidier returns a tidier that is due: the program's own beginning has left something, too.
func newTidier(tidy func()) *tidier {
	t := &tidier{}
	t.due.Store(true)
	t.timer = time.AfterFunc(tidyAfter, func() {
		t.due.Store(false)
		tidy()
	})
	return t
}

// request puts the work off: it comes when there was no such request for a while.
func (t *tidier) request() {
	t.due.Store(true)
	t.timer.Reset(tidyAfter)
}

// probes has the work come in a while, unless it does so anyway. It costs next to nothing.
func (t *tidier) probes() {
	if t.due.CompareAndSwap(false, true) {
		t.timer.Reset(tidyProbes)
	}
}

// stop is for a program that ends.
func (t *tidier) stop() { t.timer.Stop() }

// tidyUp collects twice: a stack that grew during a start is halved each time.
func tidyUp() {
	runtime.GC()
	debug.FreeOSMemory()
	_ = memory.Trim() // only a saving
}
