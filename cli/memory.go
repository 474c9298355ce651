package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/events"

	"pier/client"
)

// exitKilled is the exit code of a process that SIGKILL ended.
const exitKilled = 137

// noteMemory says so where the run of a container that ended with err was ended by the kernel, for memory. It returns err.
func (a *app) noteMemory(ctx context.Context, c *client.Client, id string, err error) error {
	if exit, ok := err.(*exitError); !ok || exit.code != exitKilled {
		return err
	}
	// The events know it even of a container that is removed by now.
	name, killed := "", false
	filters := client.Filters{"container": {id: true}, "event": {string(events.ActionOOM): true, string(events.ActionStart): true}}
	now := time.Now()
	until := fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	_ = c.System().Events(ctx, "1", until, filters, func(m events.Message) error {
		name, killed = m.Actor.Attributes["name"], m.Action == events.ActionOOM
		return nil
	})
	if killed {
		a.warnf("%s: the kernel killed it because it needed more memory than its limit: raise it with --memory, or let the program use less", name)
	}
	return err
}
