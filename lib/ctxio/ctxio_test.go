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
	if text, err := io.ReadAll(Reader(context.Background(), strings.NewReader("abc"))); string(text) != "abc" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
