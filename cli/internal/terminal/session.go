package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"golang.org/x/term"

	"pier/api/docker"
	"pier/client"
)

// ErrDetached says that the user typed the detach keys.
var ErrDetached = errors.New("read escape sequence")

// Session connects the standard streams with a hijacked connection.
type Session struct {
	Conn *client.Conn
	// TTY: the output is raw and the input terminal, if there is one, is switched to raw mode.
	TTY  bool
	In   io.Reader // nil: no input is sent
	Out  io.Writer // nil: standard output is dropped
	Err  io.Writer // nil: standard error is dropped
	Keys string    // detach keys, "" for ctrl-p,ctrl-q
}

// Run copies until the output ends or the user detaches (ErrDetached). It restores the terminal.
func (s *Session) Run(ctx context.Context) error {
	defer s.Conn.Close()
	restore := func() {}
	if fd, ok := Of(s.In); s.TTY && s.In != nil && ok {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("terminal: raw mode: %w", err)
		}
		restore = func() { _ = term.Restore(fd, old) }
	}
	defer restore()
	if s.In == nil { // nothing else to do meanwhile: another goroutine would only cost
		defer context.AfterFunc(ctx, func() { s.Conn.Close() })()
		err := s.output()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.output() }()
	input := make(chan error, 1)
	go func() { input <- s.input() }()
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

func (s *Session) output() error {
	out, errOut := s.Out, s.Err
	if out == nil {
		out = io.Discard
	}
	if errOut == nil {
		errOut = io.Discard
	}
	var err error
	if s.TTY {
		_, err = io.Copy(out, s.Conn)
	} else {
		_, err = stdcopy.StdCopy(out, errOut, s.Conn)
	}
	if err != nil && (errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "use of closed")) {
		return nil
	}
	return err
}

func (s *Session) input() error {
	defer s.Conn.CloseWrite()
	in := s.In
	if s.TTY {
		keys, err := ParseKeys(s.Keys)
		if err != nil {
			return err
		}
		in = &escapeReader{r: s.In, escape: docker.Escape{Keys: keys}}
	}
	_, err := io.Copy(s.Conn, in)
	if errors.Is(err, ErrDetached) {
		return err
	}
	return nil // the container closed its input: its own business
}
