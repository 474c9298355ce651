package terminal

import (
	"io"

	"pier/api/docker"
	"pier/lib/errkind"
)

// ParseKeys is docker.DetachKeys, with an error that says what they may be.
func ParseKeys(spec string) ([]byte, error) {
	keys, ok := docker.DetachKeys(spec)
	if !ok {
		return nil, errkind.New(errkind.Invalid, "invalid detach keys (%s): want, separated by commas, single characters or ctrl-<value>, where value is one of a-z @ ^ [ \\ ] _", spec)
	}
	return keys, nil
}

// escapeReader passes its input on until the keys appear in a row, and then fails with ErrDetached.
type escapeReader struct {
	r      io.Reader
	escape docker.Escape
	held   []byte // to be passed on
	over   bool   // the keys were typed; what came before them is still passed on
}

func (e *escapeReader) Read(p []byte) (int, error) {
	for {
		if len(e.held) > 0 {
			n := copy(p, e.held)
			e.held = e.held[n:]
			return n, nil
		}
		if e.over {
			return 0, ErrDetached
		}
		buf := make([]byte, max(len(p), 1))
		n, err := e.r.Read(buf)
		e.held, e.over = e.escape.Filter(buf[:n])
		if e.over || len(e.held) > 0 {
			continue
		}
		if err != nil || n == 0 {
			return 0, err
		}
	}
}
