package ctxio

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := Reader(ctx, strings.NewReader("abc"))
	b := make([]byte, 2)
	if n, err := r.Read(b); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	cancel()
	if n, err := r.Read(b); n != 0 || err != context.Canceled {
		t.Errorf("after its end: %d, %v", n, err)
	}
	caused, end := context.WithCancelCause(context.Background())
	end(io.ErrClosedPipe)
	if _, err := Reader(caused, strings.NewReader("abc")).Read(b); err != io.ErrClosedPipe {
		t.Errorf("after an end with a cause: %v", err)
	}
	if text, err := io.ReadAll(Reader(context.Background(), strings.NewReader("abc"))); string(text) != "abc" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
