package terminal

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
}

// TestCopyFrames wants both streams in the order in which they came, and nothing held back at a pause.
func TestCopyFrames(t *testing.T) {
	in := frame(1, "a\n") + frame(2, "b\n") + frame(1, "c\n") + frame(1, strings.Repeat("d", 50000)) + frame(2, "e")
	for _, src := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
		var both bytes.Buffer
		if err := CopyFrames(&both, &both, src); err != nil || both.String() != "a\nb\nc\n"+strings.Repeat("d", 50000)+"e" {
			t.Errorf("%d bytes, %v", both.Len(), err)
		}
	}
	r, w := io.Pipe()
	got, out := io.Pipe()
	go func() { _ = CopyFrames(out, io.Discard, r) }()
	for range 3 {
		if _, err := io.WriteString(w, frame(1, "tick")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(got, b); err != nil || string(b) != "tick" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	_ = w.Close()
}
