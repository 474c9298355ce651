package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	signals "github.com/moby/sys/signal"
	"golang.org/x/term"

	"pier/cli/internal/terminal"
)

// View is what a screen shows. Its methods are called by one goroutine.
type View interface {
	// Lines is the picture for a terminal of that size: at most height lines of at most width characters, besides colours.
	Lines(width, height int) []string
	// Key takes a key: its character, or up, down, enter, escape. It reports whether the view is over.
	Key(key string) (over bool)
}

// interval is how often a picture is drawn anew.
const interval = time.Second

// Codes for terminals (ECMA-48 and xterm's). A picture between begin and end of an update is shown at once where the
// terminal knows how; others ignore both.
const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, long lines are cut
	leave = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	begin = "\x1b[?2026h\x1b[H"
	end   = "\x1b[J\x1b[?2026l"
)

// Ended says that a signal ended the show.
type Ended struct{ Signal os.Signal }

// Code is the exit code that a program ended by the signal has.
func (e *Ended) Code() int {
	n, _ := strconv.Atoi(fmt.Sprintf("%d", e.Signal)) // package os shows the number only in print
	return 128 + n
}

func (e *Ended) Error() string { return fmt.Sprintf("ended by signal: %v", e.Signal) }

// Show draws v on the terminal out once a second, at every key and at every change of size, until a key or ctx ends it
// (nil), over gives an error or is closed (that error), or a signal comes (*Ended; nil for an interrupt). Keys are read
// from in where that is a terminal too. The terminal's state is given back on every way out, and while ctrl-z stops pier.
func Show(ctx context.Context, in io.Reader, out io.Writer, v View, over <-chan error) error {
	s := &screen{in: in, out: out}
	defer s.leave()
	if err := s.enter(); err != nil {
		return err
	}
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, listed("INT", "TERM", "HUP", "QUIT", "WINCH", "TSTP", "CONT")...)
	defer signal.Stop(caught)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	keys := s.keys(ctx)
	for {
		s.draw(v)
		select {
		case <-tick.C:
		case key := <-keys:
			switch key {
			case "ctrl-c":
				return nil
			case "ctrl-z":
				s.stop()
			default:
				if v.Key(key) {
					return nil
				}
			}
		case sig := <-caught:
			switch sig {
			case signals.SignalMap["INT"]:
				return nil
			case signals.SignalMap["TSTP"]:
				s.stop()
			case signals.SignalMap["WINCH"]:
			case signals.SignalMap["CONT"]:
				if err := s.enter(); err != nil {
					return err
				}
			default:
				return &Ended{sig}
			}
		case err := <-over:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func listed(names ...string) []os.Signal {
	list := make([]os.Signal, len(names))
	for i, n := range names {
		list[i] = signals.SignalMap[n]
	}
	return list
}

// screen is a terminal with or without a picture on it.
type screen struct {
	in  io.Reader
	out io.Writer
	on  bool
	old *term.State // of the input, nil where that is not a terminal
}

func (s *screen) enter() error {
	if s.on {
		return nil
	}
	if fd, ok := terminal.Of(s.in); ok {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("terminal: raw mode: %w", err)
		}
		s.old = old
	}
	s.on = true
	_, err := io.WriteString(s.out, enter)
	return err
}

func (s *screen) leave() {
	if !s.on {
		return
	}
	s.on = false
	_, _ = io.WriteString(s.out, leave) // a terminal that is gone has no state to give back
	if fd, ok := terminal.Of(s.in); ok && s.old != nil {
		_ = term.Restore(fd, s.old)
	}
}

// stop gives the terminal back and stops this process, as the shell expects of ctrl-z; the signal CONT goes on.
func (s *screen) stop() {
	s.leave()
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Signal(signals.SignalMap["STOP"])
	}
}

func (s *screen) draw(v View) {
	if !s.on {
		return
	}
	width, height := 80, 24
	if size := terminal.Size(s.out); size[0] > 0 {
		width, height = int(size[1]), int(size[0])
	}
	lines := v.Lines(width, height)
	var b bytes.Buffer
	b.WriteString(begin)
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString(end)
	_, _ = s.out.Write(b.Bytes()) // as above
}

// keys reads the keyboard; without one the channel is nil.
func (s *screen) keys(ctx context.Context) <-chan string {
	if s.old == nil {
		return nil
	}
	out := make(chan string)
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := s.in.Read(buf)
			for _, key := range split(string(buf[:n])) {
				select {
				case out <- key:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// split cuts what a keyboard sent into keys. What it does not know is left out.
func split(typed string) []string {
	var keys []string
	for typed != "" {
		known := false
		for _, k := range []struct{ code, key string }{
			{"\x1b[A", "up"}, {"\x1bOA", "up"}, {"\x1b[B", "down"}, {"\x1bOB", "down"}, {"\r", "enter"}, {"\n", "enter"}, {"\x03", "ctrl-c"}, {"\x1a", "ctrl-z"},
		} {
			if rest, ok := strings.CutPrefix(typed, k.code); ok {
				keys, typed, known = append(keys, k.key), rest, true
				break
			}
		}
		switch {
		case known:
		case typed[0] != '\x1b':
			if typed[0] >= ' ' && typed[0] < 0x7f {
				keys = append(keys, typed[:1])
			}
			typed = typed[1:]
		case len(typed) == 1:
			return append(keys, "escape")
		default: // a sequence that means nothing here ends with a letter or a tilde
			i := strings.IndexFunc(typed[1:], func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' && r != 'O' || r == '~' })
			if i < 0 {
				return keys
			}
			typed = typed[i+2:]
		}
	}
	return keys
}
