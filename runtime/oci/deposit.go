package oci

import (
	"golang.org/x/sys/unix"

	"pier/kernel/fdsock"
	"pier/kernel/spawn"
)

// The kinds of messages in a deposit (Container.Deposit).
const (
	DepositTerminal = 't' // with the terminal's master
	DepositProcess  = 'p' // sent by the process itself
)

// putTerminal puts the terminal's master in the deposit. Without it the start goes on: it serves in a crash alone.
func (t *task) putTerminal() {
	if t.deposit != nil && t.terminal != nil && t.terminal.Master != nil {
		_ = fdsock.Put(t.deposit, DepositTerminal, t.terminal.Master)
	}
}

// putItself has the child put itself in the deposit, as the sender of a message; nobody else could be sure to name it before
// it is gone. It comes before the descriptors are closed.
func (t *task) putItself() {
	if t.deposit != nil {
		t.Add("sendto", "deposit", unix.SYS_SENDTO, t.File(t.deposit), t.String(string(rune(DepositProcess))), spawn.Int(1),
			spawn.Int(unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), spawn.Int(0), spawn.Int(0)).Tolerate()
	}
}
