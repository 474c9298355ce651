package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"golang.org/x/term"

	"pier/client"
)

// Numbers of the Linux signals that are not forwarded to a container, and of the one that says the window changed.
const (
	sigKill, sigPipe, sigChild, sigStop, sigURG, sigWindow = 9, 13, 17, 19, 23, 28
)

// errDetached says that the user typed the detach keys.
var errDetached = errors.New("read escape sequence")

// session connects the standard streams with a hijacked connection.
type session struct {
	conn *client.Conn
	// tty: the output is raw and the input terminal, if there is one, is switched to raw mode.
	tty    bool
	in     io.Reader // nil: no input is sent
	out    io.Writer // nil: standard output is dropped
	err    io.Writer
	detach string // detach keys, "" for ctrl-p,ctrl-q
}

// run copies until the output ends or the user detaches (errDetached). It restores the terminal.
func (s *session) run(ctx context.Context) error {
	defer s.conn.Close()
	restore := func() {}
	if fd, ok := terminalOf(s.in); s.tty && s.in != nil && ok {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("terminal: raw mode: %w", err)
		}
		restore = func() { _ = term.Restore(fd, old) }
	}
	defer restore()
	ended := make(chan error, 1)
	go func() { ended <- s.output() }()
	input := make(chan error, 1)
	if s.in != nil {
		go func() { input <- s.input() }()
	}
	for {
		select {
		case err := <-ended:
			return err
		case err := <-input:
			if err != nil {
				return err
			}
			input = nil // input is over, output goes on
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session) output() error {
	out, errOut := s.out, s.err
	if out == nil {
		out = io.Discard
	}
	if errOut == nil {
		errOut = io.Discard
	}
	var err error
	if s.tty {
		_, err = io.Copy(out, s.conn)
	} else {
		_, err = stdcopy.StdCopy(out, errOut, s.conn)
	}
	if err != nil && (errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "use of closed")) {
		return nil
	}
	return err
}

func (s *session) input() error {
	defer s.conn.CloseWrite()
	in := s.in
	if s.tty {
		keys, err := parseKeys(s.detach)
		if err != nil {
			return err
		}
		in = &escapeReader{r: s.in, keys: keys}
	}
	_, err := io.Copy(s.conn, in)
	if errors.Is(err, errDetached) {
		return err
	}
	return nil // the container closed its input: its own business
}

// parseKeys reads "ctrl-p,ctrl-q" into the bytes a terminal sends.
func parseKeys(spec string) ([]byte, error) {
	if spec == "" {
		return []byte{16, 17}, nil
	}
	var keys []byte
	for _, word := range strings.Split(spec, ",") {
		switch control, ok := strings.CutPrefix(word, "ctrl-"); {
		case len(word) == 1:
			keys = append(keys, word[0])
		case ok && len(control) == 1 && strings.Contains("abcdefghijklmnopqrstuvwxyz@[\\]^_", control):
			keys = append(keys, control[0]&0x1f)
		default:
			return nil, invalid("invalid detach keys (%s): %q is neither one character nor ctrl-<value>, where value is one of a-z @ ^ [ \\ ] _", spec, word)
		}
	}
	return keys, nil
}

// escapeReader passes its input on until the keys appear in a row, and then fails with errDetached.
type escapeReader struct {
	r       io.Reader
	keys    []byte
	matched int
	held    []byte // bytes that began like the keys but did not go on so
}

func (e *escapeReader) Read(p []byte) (int, error) {
	for {
		if len(e.held) > 0 {
			n := copy(p, e.held)
			e.held = e.held[n:]
			return n, nil
		}
		buf := make([]byte, max(len(p), 1))
		n, err := e.r.Read(buf)
		var pass bytes.Buffer
		for _, b := range buf[:n] {
			if b != e.keys[e.matched] {
				pass.Write(e.keys[:e.matched])
				e.matched = 0
			}
			if b != e.keys[e.matched] {
				pass.WriteByte(b)
				continue
			}
			if e.matched++; e.matched == len(e.keys) {
				return 0, errDetached
			}
		}
		e.held = pass.Bytes()
		if len(e.held) == 0 && err != nil {
			return 0, err
		}
		if len(e.held) == 0 && n == 0 {
			return 0, nil
		}
	}
}

// followSize keeps the remote terminal as large as the local one until ctx ends. resize may fail while the process is
// not up yet; it is tried again.
func (a *app) followSize(ctx context.Context, resize func(height, width uint) error) {
	fd, ok := terminalOf(a.Out)
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
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	go func() {
		defer signal.Stop(signals)
		for try := 0; set() != nil && try < 10; try++ {
			time.Sleep(time.Duration(try+1) * 10 * time.Millisecond)
		}
		for {
			select {
			case s := <-signals:
				if number(s) == sigWindow {
					_ = set() // the next change tries again
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// forwardSignals sends the signals that reach pier to the container until ctx ends.
func forwardSignals(ctx context.Context, send func(signal string) error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case s := <-signals:
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

// initialSize is the size to create a terminal with, height and width, or zeros.
func (a *app) initialSize() [2]uint {
	if fd, ok := terminalOf(a.Out); ok {
		if width, height, err := term.GetSize(fd); err == nil && width > 0 && height > 0 {
			return [2]uint{uint(height), uint(width)}
		}
	}
	return [2]uint{}
}
