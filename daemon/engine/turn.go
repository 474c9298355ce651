package engine

import (
	"context"
	"time"
)

// turn is a container's place in the row of those that are started when the daemon is: in the order in which they were made.
type turn struct {
	before *turn         // nil for the first
	begun  chan struct{} // closed when it is this one's turn
	over   <-chan struct{}
}

// turnPatience is how long a container waits for the start of the one made before it: a start that hangs holds up the next
// for no longer.
const turnPatience = 5 * time.Second

// await returns when the start before this one is over, or has taken turnPatience, or ctx has ended. Those behind this one
// then have it before them: however many starts hang, no two that wait go on at once. A nil turn awaits nobody.
func (t *turn) await(ctx context.Context) {
	if t == nil {
		return
	}
	defer close(t.begun)
	if t.before == nil {
		return
	}
	select {
	case <-t.before.begun:
	case <-ctx.Done():
		return
	}
	late := time.NewTimer(turnPatience)
	defer late.Stop()
	select {
	case <-t.before.over:
	case <-late.C:
	case <-ctx.Done():
	}
}
