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
