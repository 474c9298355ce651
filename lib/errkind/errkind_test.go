package errkind

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"testing"
)

func TestOf(t *testing.T) {
	tests := []struct {
		err  error
		want Kind
	}{
		{New(NotFound, "no such container: %s", "web"), NotFound},
		{fmt.Errorf("start: %w", New(Conflict, "name taken")), Conflict},
		{New(Invalid, "outer: %w", New(NotFound, "inner")), Invalid},
		{fmt.Errorf("read: %w", context.Canceled), Canceled},
		{context.DeadlineExceeded, Timeout},
		{fmt.Errorf("open: %w", fs.ErrNotExist), NotFound},
		{io.ErrUnexpectedEOF, Internal},
	}
	for _, tt := range tests {
		if got := Of(tt.err); got != tt.want {
			t.Errorf("Of(%q) = %v, want %v", tt.err, got, tt.want)
		}
	}
	if Is(nil, Internal) {
		t.Error("Is(nil, Internal) = true")
	}
}
