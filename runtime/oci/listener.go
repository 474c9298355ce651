package oci

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"pier/kernel/spawn"
	"pier/runtime/oci/internal/agent"
	"pier/runtime/oci/internal/calls"
	"pier/runtime/oci/internal/meeting"
)

// listener is the way of a seccomp listener to the agent that answers it (runtime-spec config-linux.md "Seccomp"):
//
//	child                                   parent (in the meeting)             agent
//	-----                                   -----------------------             -----
//	"I am about to" ----------------------> look into the child's table
//	seccomp: its result is the listener     until a listener is there, take it
//	  (from here on any of its calls        send state and listener ----------> listenerPath
//	  may wait for the agent)
//	read <--------------------------------- done
//
// The parent asks nothing of the child meanwhile: whatever the profile hands on, none waits for the other.
type listener struct {
	*meeting.Meeting
	agent *agent.Agent
}

// openListener connects to the agent, before anything is done for the container.
func (t *task) openListener(p *specs.LinuxSeccomp, state specs.State) error {
	a, err := agent.Dial(p, state)
	if err != nil {
		return t.fail("connect to seccomp listener", p.ListenerPath, err)
	}
	t.listener = &listener{agent: a}
	t.listener.Meeting, err = t.arrange("seccomp listener", a.Deliver)
	return err
}

// leave adds what the child does when the filter is loaded. Then it closes what it had for the meeting.
func (l *listener) leave(b *calls.Builder) {
	l.Await(b)
	for _, fd := range l.Descriptors() {
		b.Add("close", "", unix.SYS_CLOSE, spawn.Int(fd)).Tolerate()
	}
}
