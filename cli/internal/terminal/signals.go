package terminal

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	signals "github.com/moby/sys/signal"
	"golang.org/x/term"
)

// Numbers of the Linux signals that are not forwarded to a container, and of the one that says the window changed.
const (
	sigKill, sigPipe, sigChild, sigStop, sigURG, sigWindow = 9, 13, 17, 19, 23, 28
)

// FollowSize keeps the remote terminal as large as the local one until ctx ends. resize may fail while the process is
// not up yet; it is tried again.
func FollowSize(ctx context.Context, out any, resize func(height, width uint) error) {
	fd, ok := Of(out)
	if !ok {
		return
	}
	set := func() error {
		width, height, err := term.GetSize(fd)
		if err != nil || width <= 0 || height <= 0 {
			return nil
		}
		return resize(uint(height), uint(width))
	}
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, signals.SignalMap["WINCH"])
	go func() {
		defer signal.Stop(caught)
		for try := 0; set() != nil && try < 10; try++ {
			time.Sleep(time.Duration(try+1) * 10 * time.Millisecond)
		}
		for {
			select {
			case <-caught:
				_ = set() // the next change tries again
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Catching one signal costs two switches of threads, catching all of them a millisecond, and most containers that are
// waited for live no longer than a few. So those that people and their tools send are caught at once, the others later.
const othersLater = 50 * time.Millisecond

func usualSignals() []os.Signal {
	var list []os.Signal
	for _, name := range []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2"} {
		list = append(list, signals.SignalMap[name])
	}
	return list
}

// manyEnds is how often pier is told to end before it does, whatever becomes of the container.
const manyEnds = 3

// ForwardSignals sends the signals that reach pier to the container until ctx ends. At the third one that tells pier to
// end, it calls giveUp.
func ForwardSignals(ctx context.Context, send func(signal string) error, giveUp func()) {
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, usualSignals()...)
	go func() {
		defer signal.Stop(caught)
		later := time.NewTimer(othersLater)
		defer later.Stop()
		ends := 0
		for {
			select {
			case <-later.C:
				signal.Notify(caught)
			case s := <-caught:
				if s == os.Interrupt || s == signals.SignalMap["TERM"] {
					if ends++; ends == manyEnds {
						giveUp()
						return
					}
				}
				switch n := number(s); n {
				case sigChild, sigPipe, sigURG, sigWindow, sigKill, sigStop:
				default:
					_ = send(strconv.Itoa(n)) // a container that is gone needs no signal
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// number is a signal's number; package os shows it only in print.
func number(s os.Signal) int {
	n, _ := strconv.Atoi(fmt.Sprintf("%d", s))
	return n
}
