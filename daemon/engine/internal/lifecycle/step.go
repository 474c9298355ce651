package lifecycle

import (
	"time"

	"pier/lib/errkind"
)

// Kind is what happened to a container, or what somebody wants of it.
type Kind uint8

// The inputs. The first group are wishes and may be refused; the second are facts and never are.
const (
	Start   Kind = iota // run it
	Stop                // end it: asks and marks; the signal is the caller's. Input.Keep: it will be started again
	Kill                // send a signal; Input.Ends tells one that is meant to end it
	Pause               // freeze all processes; Input.Brief: for the length of an operation
	Unpause             // thaw them
	Remove              // delete it; Input.Force allows it for a living one, once its process is dead

	Started      // the process runs
	StartFailed  // it could not be started: Code, Error
	Ended        // the process ended: Code, OOM
	Due          // the back-off is over
	Healthy      // its health check says so, for the first time or again
	Unhealthy    // its health check says so
	RemoveFailed // deleting it failed half way: Error
	Boot         // the daemon started: Alive or not, Code where Known
)

// Input is one happening. Only the fields that its Kind names count.
type Input struct {
	Kind  Kind
	At    time.Time
	Code  int
	OOM   bool
	Error string
	Ends  bool // Kill: the signal is the stop signal or SIGKILL
	Force bool // Remove
	Keep  bool // Stop
	Brief bool // Pause
	Alive bool // Boot: its process was found
	Still bool // Boot: it is frozen
	Known bool // Boot: Code says how it ended
}

// Effect is one thing to do. Effects are done in order.
type Effect uint8

// The effects.
const (
	Save       Effect = iota // write the record
	Launch                   // start the process, then feed Started or StartFailed
	Thaw                     // let frozen processes go on
	Freeze                   // stop them
	Release                  // give back network, mounts, cgroup and the supervisor's memory of the process
	Schedule                 // wait Backoff, then feed Due
	Unschedule               // forget a pending Due
	Delete                   // remove everything, then the record; feed RemoveFailed where that fails
	SayStart                 // publish the events of that name, with what they carry
	SayDie
	SayOOM
	SayPause
	SayUnpause
	SayHealth
	End        // ask the process to end and see to it, in the background; Ended follows
	SayRestart // one more restart by the policy begins: no event of Docker's, the health check starts afresh
)

var effectNames = [...]string{"save", "launch", "thaw", "freeze", "release", "schedule", "unschedule", "delete",
	"say-start", "say-die", "say-oom", "say-pause", "say-unpause", "say-health", "end", "say-restart"}

// String names the effect, for transcripts.
func (e Effect) String() string { return effectNames[e] }

// Step applies one input. ref is how the user called the container, name how it is called: they appear in refusals,
// which have Docker's words and kind Conflict or NotModified and leave c as it was.
func Step(c Container, r Rules, in Input, ref, name string) (Container, []Effect, error) {
	switch in.Kind {
	case Start:
		return start(c, ref)
	case Stop:
		return stop(c, in, ref)
	case Kill:
		return kill(c, in, ref)
	case Pause:
		return pause(c, in, ref)
	case Unpause:
		if c.State != Paused {
			return c, nil, errkind.New(errkind.Conflict, "Container %s is not paused", ref)
		}
		c.State, c.Brief = Running, false
		return c, []Effect{Thaw, Save, SayUnpause}, nil
	case Remove:
		return remove(c, in, ref, name)
	}
	next, effects := fact(c, r, in)
	return next, effects, nil
}

func start(c Container, ref string) (Container, []Effect, error) {
	switch c.State {
	case Running, Restarting:
		return c, nil, errkind.New(errkind.NotModified, "container %s is already running", ref)
	case Paused:
		return c, nil, errkind.New(errkind.Conflict, "cannot start a paused container, try unpause instead")
	case Removing, Dead:
		return c, nil, errkind.New(errkind.Conflict, "container is marked for removal and cannot be started")
	}
	c.Stopped, c.Kept, c.Restarts, c.Backoff = false, false, 0, 0
	return c, []Effect{Launch}, nil
}

func stop(c Container, in Input, ref string) (Container, []Effect, error) {
	switch c.State {
	case Running, Paused:
		c.Stopped, c.Kept = true, in.Keep
		return c, []Effect{Save}, nil
	case Restarting:
		c.Stopped, c.State = true, Exited
		return c, []Effect{Unschedule, Save}, nil
	}
	return c, nil, errkind.New(errkind.NotModified, "container %s is already stopped", ref)
}

func kill(c Container, in Input, ref string) (Container, []Effect, error) {
	switch {
	case c.State == Restarting && in.Ends:
		c.Stopped, c.State = true, Exited
		return c, []Effect{Unschedule, Save}, nil
	case !c.State.Alive():
		return c, nil, errkind.New(errkind.Conflict, "cannot kill container: %s: container %s is not running", ref, ref)
	case !in.Ends:
		return c, nil, nil
	}
	c.Stopped = true
	if c.State == Paused { // a frozen process dies of its signal only when it moves again
		c.State, c.Brief = Running, false
		return c, []Effect{Thaw, Save, SayUnpause}, nil
	}
	return c, []Effect{Save}, nil
}

func pause(c Container, in Input, ref string) (Container, []Effect, error) {
	switch c.State {
	case Running:
		c.State, c.Brief = Paused, in.Brief
		return c, []Effect{Freeze, Save, SayPause}, nil
	case Paused:
		return c, nil, errkind.New(errkind.Conflict, "Container %s is already paused", ref)
	case Restarting:
		return c, nil, errkind.New(errkind.Conflict, "Container %s is restarting, wait until the container is running", ref)
	}
	return c, nil, errkind.New(errkind.Conflict, "Container %s is not running", ref)
}

func remove(c Container, in Input, ref, name string) (Container, []Effect, error) {
	var effects []Effect
	switch {
	case c.State == Removing:
		return c, nil, errkind.New(errkind.Conflict, "removal of container %s is already in progress", ref)
	case c.State == Running:
		return c, nil, errkind.New(errkind.Conflict,
			"cannot remove container %q: container is running: stop the container before removing or force remove", name)
	case c.State == Paused:
		return c, nil, errkind.New(errkind.Conflict,
			"cannot remove container %q: container is paused and must be unpaused first", name)
	case c.State == Restarting && !in.Force:
		return c, nil, errkind.New(errkind.Conflict,
			"cannot remove container %q: container is restarting: stop the container before removing or force remove", name)
	case c.State == Restarting:
		effects = append(effects, Unschedule)
	}
	c.State, c.Stopped = Removing, true
	return c, append(effects, Save, Delete), nil
}

func fact(c Container, r Rules, in Input) (Container, []Effect) {
	switch in.Kind {
	case Started:
		c.State, c.Ran, c.Error, c.OOM, c.ExitCode = Running, true, "", false, 0
		c.Sick, c.Well = false, false
		c.StartedAt = in.At
		return c, []Effect{Save, SayStart}
	case StartFailed:
		return startFailed(c, r, in)
	case Ended:
		if !c.State.Alive() { // told twice
			return c, nil
		}
		return ended(c, r, in)
	case Due:
		if c.State != Restarting {
			return c, nil
		}
		c.Restarts++
		return c, []Effect{SayRestart, Launch}
	case Healthy:
		c.Well = true
		return c, []Effect{Save, SayHealth}
	case Unhealthy:
		if r.Policy.Name != OnUnhealthy || c.State != Running || c.Stopped || c.Sick || r.Policy.Max > 0 && c.Restarts >= r.Policy.Max {
			return c, []Effect{Save, SayHealth}
		}
		c.Sick = true
		return c, []Effect{Save, SayHealth, End}
	case RemoveFailed:
		c.State, c.Error = Dead, in.Error
		return c, []Effect{Save}
	case Boot:
		return boot(c, r, in)
	}
	return c, nil
}

// startFailed leaves a container as it was before the attempt, with the reason; a restart that fails is the last.
func startFailed(c Container, r Rules, in Input) (Container, []Effect) {
	c.Error, c.ExitCode = in.Error, in.Code
	if c.State == Restarting {
		c.State = Exited
	}
	if r.AutoRemove {
		c.State = Removing
		return c, []Effect{Release, Delete}
	}
	return c, []Effect{Release, Save}
}

func ended(c Container, r Rules, in Input) (Container, []Effect) {
	c.ExitCode, c.OOM, c.FinishedAt = in.Code, in.OOM, in.At
	var effects []Effect
	if in.OOM {
		effects = append(effects, SayOOM)
	}
	effects = append(effects, SayDie, Release)
	switch {
	case mayRestart(c, r.Policy):
		c.Backoff = nextBackoff(c)
		c.State = Restarting
		return c, append(effects, Save, Schedule)
	case r.AutoRemove && !c.Kept:
		c.State = Removing
		return c, append(effects, Delete)
	}
	c.State = Exited
	return c, append(effects, Save)
}

// boot compares the record with what the daemon found when it started.
func boot(c Container, r Rules, in Input) (Container, []Effect) {
	c.Kept = false // whoever wanted to start it again is gone
	if in.Alive {
		if c.State.Alive() && c.Sick {
			return c, []Effect{End} // who was ending it is gone
		}
		switch frozen := c.State == Paused && !c.Brief; {
		case c.State.Alive() && in.Still && !frozen: // who wanted it paused never heard that it is, or is gone
			c.State, c.Brief = Running, false
			return c, []Effect{Thaw, Save}
		case c.State == Paused && !in.Still: // it went on, and the daemon died before it could write so
			c.State, c.Brief = Running, false
			return c, []Effect{Save}
		case c.State.Alive():
			return c, nil
		}
		// The process was started and the daemon died before it could write so.
		c.State, c.Ran, c.Error, c.ExitCode, c.StartedAt = Running, true, "", 0, in.At
		return c, []Effect{Save, SayStart}
	}
	switch c.State {
	case Running, Paused:
		if !in.Known {
			in.Code = UnknownExit
		}
		return ended(c, r, in)
	case Restarting:
		c.Restarts++
		return c, []Effect{SayRestart, Launch}
	case Removing, Dead:
		c.State = Removing
		return c, []Effect{Delete}
	}
	switch {
	case r.AutoRemove:
		c.State = Removing
		return c, []Effect{Delete}
	case c.State == Exited && c.Ran && r.Policy.Name == Always: // even where the user had stopped it
		c.Stopped = false
		return c, []Effect{Launch}
	}
	return c, nil
}
