package describe

import (
	"strings"

	"github.com/moby/moby/api/types/events"
)

// ExecAction is the action of an event, "exec_create" or "exec_start", of a further process with its command.
func ExecAction(what string, command []string) events.Action {
	return events.Action(what + ": " + strings.Join(command, " "))
}
