package terminal

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestParseKeys(t *testing.T) {
	for spec, want := range map[string]string{"": "\x10\x11", "ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-@,ctrl-[,ctrl-_": "\x00\x1b\x1f", "ctrl-\\,x": "\x1cx"} {
		if got, err := ParseKeys(spec); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", spec, got, err)
		}
	}
	for _, spec := range []string{"ab", "ctrl-", "ctrl-A", "ctrl-p,", "ctrl-1"} {
		if got, err := ParseKeys(spec); err == nil {
			t.Errorf("%q: %q, want an error", spec, got)
		}
	}
}

func TestEscapeReader(t *testing.T) {
	tests := []struct {
		in, out  string
		detached bool
	}{
		{"plain", "plain", false},
		{"ab\x10\x11cd", "ab", true},
		{"\x10x", "\x10x", false},
		{"\x10\x10\x11", "\x10", true},
		{"\x11\x10", "\x11", false}, // the end of input may hide a key that began the sequence
		{"a\x10b\x10\x11", "a\x10b", true},
	}
	for _, test := range tests {
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader([]byte(test.in)), "by byte": iotest.OneByteReader(bytes.NewReader([]byte(test.in)))} {
			got, err := io.ReadAll(&escapeReader{r: r, keys: []byte{16, 17}})
			if errors.Is(err, ErrDetached) != test.detached || err != nil && !test.detached {
				t.Errorf("%q %s: %v", test.in, name, err)
			}
			if string(got) != test.out {
				t.Errorf("%q %s: passed %q, want %q", test.in, name, got, test.out)
			}
		}
	}
}
