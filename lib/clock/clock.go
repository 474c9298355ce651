// Package clock is the seam at which tests replace time. Everything else that tests touch is real.
//
// Start reading at Clock.
package clock

import "time"

// Clock tells and waits for time. Implementations are safe for concurrent use.
type Clock interface {
	// Now is the current time with its monotonic reading.
	Now() time.Time
	// AfterFunc calls f in its own goroutine once d has passed. Stop of the result reports whether it prevented the call.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of AfterFunc.
type Timer interface {
	// Stop prevents the call and reports true, or reports false if it was made or stopped before.
	Stop() bool
}

// Real is the computer's own clock.
type Real struct{}

// Now is time.Now.
func (Real) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (Real) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
