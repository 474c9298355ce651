package docker

import (
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for _, tt := range []struct {
		keys   string
		in     string // pieces separated by |
		pass   string
		detach bool
	}{
		{"", "hello", "hello", false},
		{"", "\x10\x11", "", true},
		{"", "abc\x10\x11def", "abc", true},
		{"", "abc\x10|\x11", "abc", true},
		{"", "a\x10b", "a\x10b", false},
		{"", "\x10\x10\x11", "\x10", true},
		{"", "\x10|x|\x10|\x10|y", "\x10x\x10\x10y", false},
		{"", "\x11\x10", "\x11", false},
		{"ctrl-a", "abc\x01def", "abc", true},
		{"ctrl-a", "abc|\x01", "abc", true},
		{"ctrl-a", "\x01", "", true},
		{"a,a", "xaay", "x", true},
		{"a,b,c", "xabxabc", "xabx", true},
	} {
		keys, _ := DetachKeys(tt.keys)
		e := Escape{Keys: keys}
		var got []byte
		detached := false
		for piece := range strings.SplitSeq(tt.in, "|") {
			pass, d := e.Filter([]byte(piece))
			got = append(got, pass...)
			if detached = d; d {
				break
			}
		}
		if string(got) != tt.pass || detached != tt.detach {
			t.Errorf("%q: %q: passed %q, detach %v; want %q, %v", tt.keys, tt.in, got, detached, tt.pass, tt.detach)
		}
	}
}

func TestDetachKeys(t *testing.T) {
	for in, want := range map[string]string{"": "\x10\x11", "ctrl-a": "\x01", "a,b": "ab", "ctrl-@,ctrl-_": "\x00\x1f", "ctrl-[": "\x1b", "ctrl-\\,x": "\x1cx"} {
		if got, ok := DetachKeys(in); !ok || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{"ctrl-", "ctrl-A", "ab", "ctrl-é", ",", "ctrl-p,", "ctrl-1"} {
		if got, ok := DetachKeys(in); ok {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "web_1.x-Y": true, "0": true, "": false, "_a": false, ".a": false, "-a": false, "a b": false, "ä": false, "a/b": false, "a\x00": false,
	} {
		if IsName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
