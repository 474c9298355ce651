package docker

import "strings"

// DetachKeys are the bytes that a terminal sends for detach keys: single characters or "ctrl-" and one of a-z @ [ \ ] ^ _,
// separated by commas. "" is "ctrl-p,ctrl-q". ok is false for anything else.
func DetachKeys(s string) (keys []byte, ok bool) {
	if s == "" {
		s = "ctrl-p,ctrl-q"
	}
	for key := range strings.SplitSeq(s, ",") {
		switch control, isControl := strings.CutPrefix(key, "ctrl-"); {
		case len(key) == 1:
			keys = append(keys, key[0])
		case isControl && len(control) == 1 && strings.Contains(`abcdefghijklmnopqrstuvwxyz@[\]^_`, control):
			keys = append(keys, control[0]&0x1f)
		default:
			return nil, false
		}
	}
	return keys, true
}

// Escape finds detach keys in what is typed, also when they come in several pieces. Keys that turn out not to detach
// are passed on in full.
type Escape struct {
	Keys []byte
	seen int // keys held back
}

// Filter returns what is to be passed on, valid until the next call at the latest, and whether the keys were completed:
// then nothing after them counts. p is not changed.
func (e *Escape) Filter(p []byte) (pass []byte, detach bool) {
	if len(e.Keys) == 0 {
		return p, false
	}
	for i, b := range p {
		if b == e.Keys[e.seen] {
			if pass == nil && e.seen == 0 {
				pass = append([]byte{}, p[:i]...)
			} else if pass == nil {
				pass = []byte{}
			}
			if e.seen++; e.seen == len(e.Keys) {
				e.seen = 0
				return pass, true
			}
			continue
		}
		if e.seen == 0 && pass == nil {
			continue // nothing held back so far: p itself is passed on
		}
		pass = append(pass, e.Keys[:e.seen]...)
		e.seen = 0
		if b == e.Keys[0] {
			e.seen = 1
			continue
		}
		pass = append(pass, b)
	}
	if pass == nil && e.seen == 0 {
		return p, false
	}
	return pass, false
}
