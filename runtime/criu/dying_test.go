package criu

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestWhileAlive(t *testing.T) {
	if process(os.Getpid()).dying() {
		t.Error("who asks is dying")
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := process(cmd.Process.Pid)
	alive, stop := whileAlive(t.Context(), p)
	defer stop()
	if p.dying() || alive.Err() != nil {
		t.Error("it is dying before anybody kills it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-alive.Done(): // it is dead, and nobody has reaped it
	case <-time.After(time.Minute):
		t.Error("nobody sees that it is dead")
	}
	_ = cmd.Wait()
	if !p.dying() {
		t.Error("who is gone is not dying")
	}
}
