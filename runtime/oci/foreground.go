package oci

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"pier/kernel/pidfd"
)

// finish waits for p, a child of ours, and reaps it. If ctx ends before, p is killed first.
func finish(ctx context.Context, p *Process) (pidfd.Status, error) {
	status, err := pidfd.Take(ctx, p.Pidfd)
	if err == nil || ctx.Err() == nil {
		return status, err
	}
	_ = pidfd.Signal(p.Pidfd, int(unix.SIGKILL))
	status, killed := pidfd.Take(context.WithoutCancel(ctx), p.Pidfd)
	if killed != nil {
		return status, killed
	}
	return status, err
}

// Foreground waits for p, a child of ours, passing on every signal that we get meanwhile, and returns how it ended.
// Resized is called for each SIGWINCH instead, if it is not nil. If ctx ends before, p is killed.
func Foreground(ctx context.Context, p *Process, resized func()) (pidfd.Status, error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				switch s {
				case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE: // our own affairs
				case unix.SIGWINCH:
					if resized != nil {
						resized()
					}
				default:
					_ = pidfd.Signal(p.Pidfd, int(s.(unix.Signal)))
				}
			}
		}
	}()
	return finish(ctx, p)
}
