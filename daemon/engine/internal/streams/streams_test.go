package streams

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrames(t *testing.T) {
	var b []byte
	b = AppendFrame(b, Stdout, []byte("one "))
	b = AppendFrame(b, Stderr, []byte("two "))
	b = AppendFrame(b, Stdout, nil)
	b = AppendFrame(b, Stdout, bytes.Repeat([]byte("x"), 70000))
	all, err := io.ReadAll(iotest.OneByteReader(Unframe(bytes.NewReader(b))))
	if err != nil || len(all) != 8+70000 || !strings.HasPrefix(string(all), "one two x") {
		t.Fatalf("Unframe: %d bytes, %v", len(all), err)
	}
	var out, errs bytes.Buffer
	if err := Split(bytes.NewReader(b), &out, &errs); err != nil || out.Len() != 4+70000 || errs.String() != "two " {
		t.Fatalf("Split: %d, %q, %v", out.Len(), errs.String(), err)
	}
	if err := Split(bytes.NewReader(b[:len(b)-1]), io.Discard, nil); err == nil {
		t.Fatal("a truncated last frame passed for a whole one")
	}
	if _, err := io.ReadAll(Unframe(bytes.NewReader([]byte{1, 0, 0, 0, 255, 255, 255, 255}))); err == nil {
		t.Fatal("a frame of 4 GiB was accepted")
	}
}

func TestEscape(t *testing.T) {
	for _, tt := range []struct {
		in     string // pieces separated by |
		pass   string
		detach bool
	}{
		{"hello", "hello", false},
		{"\x10\x11", "", true},
		{"abc\x10\x11def", "abc", true},
		{"abc\x10|\x11", "abc", true},
		{"a\x10b", "a\x10b", false},
		{"\x10\x10\x11", "\x10", true},
		{"\x10|x|\x10|\x10|y", "\x10x\x10\x10y", false},
		{"\x11\x10", "\x11", false},
	} {
		keys, _ := ParseKeys("")
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
			t.Errorf("%q: passed %q, detach %v; want %q, %v", tt.in, got, detached, tt.pass, tt.detach)
		}
	}
}

func TestParseKeys(t *testing.T) {
	for in, want := range map[string]string{"": "\x10\x11", "ctrl-a": "\x01", "a,b": "ab", "ctrl-@,ctrl-_": "\x00\x1f", "ctrl-[": "\x1b"} {
		if got, err := ParseKeys(in); err != nil || string(got) != want {
			t.Errorf("ParseKeys(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"ctrl-", "ctrl-A", "ab", "ctrl-é", ","} {
		if _, err := ParseKeys(in); err == nil {
			t.Errorf("ParseKeys(%q) succeeded", in)
		}
	}
}
