package terminal

import (
	"bytes"
	"io"
	"strings"

	"pier/lib/errkind"
)

// ParseKeys reads "ctrl-p,ctrl-q" into the bytes a terminal sends.
func ParseKeys(spec string) ([]byte, error) {
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
			return nil, errkind.New(errkind.Invalid, "invalid detach keys (%s): %q is neither one character nor ctrl-<value>, where value is one of a-z @ ^ [ \\ ] _", spec, word)
		}
	}
	return keys, nil
}

// escapeReader passes its input on until the keys appear in a row, and then fails with ErrDetached.
type escapeReader struct {
	r       io.Reader
	keys    []byte
	matched int
	held    []byte // bytes to be passed on: ordinary ones, and those that began like the keys but did not go on so
	over    bool   // the keys were typed; what came before them is still passed on
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
				e.over = true
				break
			}
		}
		e.held = pass.Bytes()
		if e.over {
			continue
		}
		if len(e.held) == 0 && err != nil {
			return 0, err
		}
		if len(e.held) == 0 && n == 0 {
			return 0, nil
		}
	}
}
