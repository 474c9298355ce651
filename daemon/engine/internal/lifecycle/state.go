package lifecycle

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is what a container is. The set is closed.
type State uint8

// The states, named as the Engine API names them.
const (
	Created State = iota
	Running
	Paused
	Restarting
	Removing
	Exited
	Dead
)

var stateNames = [...]string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}

// String is the state's name in the Engine API.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Alive reports whether a container in this state has a process.
func (s State) Alive() bool { return s == Running || s == Paused }

// MarshalJSON writes the name: records stay readable and the order of the constants stays free.
func (s State) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON accepts exactly the names.
func (s *State) UnmarshalJSON(b []byte) error {
	var name string
	if err := json.Unmarshal(b, &name); err != nil {
		return fmt.Errorf("container state: %w", err)
	}
	for i, n := range stateNames {
		if n == name {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown container state %q", name)
}

// The restart policies' names, as in the Engine API. The empty name means No.
const (
	No            = "no"
	Always        = "always"
	UnlessStopped = "unless-stopped"
	OnFailure     = "on-failure"
	// OnUnhealthy is Pier's own: as OnFailure, and a container whose health check says unhealthy is stopped for it.
	OnUnhealthy = "on-unhealthy"
)

// Policy says when a container that ended is started again.
type Policy struct {
	Name string
	// Max bounds the restarts of OnFailure and OnUnhealthy; 0: no bound.
	Max int
}

// Container is all that the life cycle knows of one container. It is a plain value, part of the container's record.
type Container struct {
	State State
	// Stopped is set when the user ended it: the restart policy rests until the next start.
	Stopped bool `json:",omitempty"`
	// Kept is set while a restart by the user stops it: then it is not removed at its end, whatever the rules say.
	Kept bool `json:",omitempty"`
	// Brief is set while it is paused for the length of an operation: whoever wanted that cannot outlive the daemon.
	Brief bool `json:",omitempty"`
	// Sick is set while it is stopped for being unhealthy, Well once this run was healthy.
	Sick bool `json:",omitempty"`
	Well bool `json:",omitempty"`
	// Ran is set by the first start that succeeded.
	Ran bool `json:",omitempty"`
	// Restarts counts the policy's restarts since the last start by the user.
	Restarts int `json:",omitempty"`
	// Backoff is the pause before the next restart.
	Backoff    time.Duration `json:",omitempty"`
	ExitCode   int           `json:",omitempty"`
	OOM        bool          `json:",omitempty"`
	Error      string        `json:",omitempty"` // why the last start failed
	StartedAt  time.Time     `json:",omitzero"`
	FinishedAt time.Time     `json:",omitzero"`
}

// Rules are the parts of a container's configuration that its life depends on.
type Rules struct {
	Policy     Policy
	AutoRemove bool
}

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = time.Minute
	// settled is how long a container must have run for its back-off to begin anew.
	settled = 10 * time.Second
)

// UnknownExit is the exit code recorded where nobody could learn it.
const UnknownExit = 255

// mayRestart reports whether the policy wants a container that ended as c did to run again.
func mayRestart(c Container, p Policy) bool {
	if c.Stopped {
		return false
	}
	switch p.Name {
	case Always, UnlessStopped:
		return true
	case OnFailure:
		return c.ExitCode != 0 && (p.Max == 0 || c.Restarts < p.Max)
	case OnUnhealthy:
		return (c.Sick || c.ExitCode != 0) && (p.Max == 0 || c.Restarts < p.Max)
	}
	return false
}

// nextBackoff doubles the pause, from the beginning where the container had settled. One that is stopped for being
// unhealthy has run long without it: it has settled only if it was healthy meanwhile.
func nextBackoff(c Container) time.Duration {
	if c.Backoff == 0 || c.FinishedAt.Sub(c.StartedAt) >= settled && (!c.Sick || c.Well) {
		return firstBackoff
	}
	return min(2*c.Backoff, maxBackoff)
}
