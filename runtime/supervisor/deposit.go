package supervisor

import (
	"os"

	"pier/kernel/fdsock"
	"pier/runtime/oci"
)

// A deposit (shim.Launch.HasDeposit) bridges the time in which a task has begun and only this supervisor knows of it. Whoever
// writes and ends in the very moment in which that dies would have written for nobody: what a FIFO holds is gone when nobody
// has it open; and where another process than pierd reaps it, its exit code is gone as well.

// depositOutput is a message in a deposit with the FIFOs of the output. oci has the other kinds.
const depositOutput = 'o'

// putOutput puts the FIFOs of t in a deposit. Without it the start goes on: it serves in a crash alone.
func (t *task) putOutput(deposit *os.File) {
	var fifos []*os.File
	for _, s := range t.streams {
		fifos = append(fifos, s.fifo)
	}
	if err := fdsock.Put(deposit, depositOutput, fifos...); err != nil {
		t.sup.log.Warn("the output of a task would not outlive a crash now", "task", t.ref, "err", err)
	}
}

// withdraw completes g by what its deposit has of the process. The output stays there: it is opened by its name.
func (g *given) withdraw() error {
	if g.deposit == nil {
		return nil
	}
	held := g.pidfd != nil
	all, err := fdsock.Look(g.deposit)
	for i := range all {
		m := &all[i]
		switch {
		case m.Kind == oci.DepositTerminal && len(m.Files) == 1:
			g.master, m.Files[0] = m.Files[0], g.master // an exec that was tried twice has put two there: the last is the process's
		case m.Kind == oci.DepositProcess && !held: // so has one that was begun again because a supervisor had died over it
			g.pidfd, m.Sender = m.Sender, g.pidfd
		}
		m.Close()
	}
	return err
}
