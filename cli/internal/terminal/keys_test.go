package terminal

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pier/api/docker"
)

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
			got, err := io.ReadAll(&escapeReader{r: r, escape: docker.Escape{Keys: []byte{16, 17}}})
			if errors.Is(err, ErrDetached) != test.detached || err != nil && !test.detached {
				t.Errorf("%q %s: %v", test.in, name, err)
			}
			if string(got) != test.out {
				t.Errorf("%q %s: passed %q, want %q", test.in, name, got, test.out)
			}
		}
	}
}
