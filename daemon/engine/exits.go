package engine

import (
	"pier/api/shim"
	"pier/daemon/engine/internal/lifecycle"
	"pier/lib/feed"
)

// followExits gives every exit to whom it belongs: a container's worker, an exec, a build step. It ends with the engine.
func (e *Engine) followExits(exits *feed.Reader[shim.Exit]) {
	for {
		x, missed, err := exits.Next(e.ctx)
		if err != nil {
			return
		}
		if missed > 0 {
			e.o.Log.Error("exits missed, looking at all tasks", "missed", missed)
			e.catchUp()
		}
		e.exited(x)
	}
}

func (e *Engine) exited(x shim.Exit) {
	switch c := e.index.Get(x.ID); {
	case x.Exec != "":
		e.execExited(x)
	case c != nil:
		c.work.Post(func() {
			r := c.row()
			if r.Gone || r.Pid != x.Pid { // of an earlier run
				return
			}
			_ = e.apply(c, ended(x), c.id)
		})
	default:
		e.steps.Exited(x)
	}
}

func ended(x shim.Exit) lifecycle.Input {
	return lifecycle.Input{Kind: lifecycle.Ended, Code: x.Code, OOM: x.OOM, At: x.At.UTC()}
}

// catchUp asks for all tasks, where the feed was faster than we.
func (e *Engine) catchUp() {
	tasks, err := e.o.Custody.Tasks(e.ctx)
	if err != nil {
		e.o.Log.Error("tasks not listed", "error", err)
		return
	}
	for _, t := range tasks {
		if t.Exit != nil {
			e.exited(*t.Exit)
		}
	}
}
