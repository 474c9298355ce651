package criu

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"
)

// dyingFor is how long the first process may be on its way out before criu is taken to be stuck over it.
const dyingFor = time.Second

// whileAlive is ctx until p has been dying for so long. stop ends the watch.
//
// criu waits for a process that it has stopped to stop once more, or to end. The first one of a pid namespace cannot end when it is
// killed: it waits for the others to be reaped, and those that were killed with it, being traced, wait for criu. Only the end
// of criu helps. It harms nobody: what it leaves half done dies with the namespace.
func whileAlive(ctx context.Context, p process) (alive context.Context, stop context.CancelFunc) {
	alive, stop = context.WithCancel(ctx)
	go func() {
		const looks = 4
		tick := time.NewTicker(dyingFor / looks)
		defer tick.Stop()
		for seen := 0; seen < looks; {
			select {
			case <-tick.C:
			case <-alive.Done():
				return
			}
			if seen++; !p.dying() {
				seen = 0
			}
		}
		stop()
	}()
	return alive, stop
}

// dying reports whether a process is exiting, or gone.
func (p process) dying() bool {
	text, err := os.ReadFile(p.path("stat"))
	if err != nil {
		return true
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // from the third on: state, ppid, pgrp, session, tty, tpgid, flags
	if len(fields) < 7 {
		return true
	}
	const exiting = 0x4 // PF_EXITING
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&exiting != 0
}
